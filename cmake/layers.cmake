# One object library for each folder of src/, by the table of layers: a change reaches only the tests of
# the folders above it.
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS src/layers.txt)
file(STRINGS src/layers.txt layers REGEX "^[a-z]")
foreach(layer IN LISTS layers)
  string(REGEX MATCHALL "[a-z]+" used "${layer}")
  list(POP_FRONT used folder)
  list(APPEND KRAIT_FOLDERS ${folder})

  file(GLOB_RECURSE sources CONFIGURE_DEPENDS src/${folder}/*.cc)
  list(FILTER sources EXCLUDE REGEX "_(test|bench)\\.cc$|/src/cli/main\\.cc$")
  krait_isa_options(sources)
  add_library(krait_${folder}_objects OBJECT ${sources})
  # But for what include/krait marks as KRAIT_API.
  set_target_properties(krait_${folder}_objects PROPERTIES
    CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  target_include_directories(krait_${folder}_objects PUBLIC include src)
  target_link_libraries(krait_${folder}_objects PUBLIC krait_options Threads::Threads fmt::fmt
    nlohmann_json::nlohmann_json PkgConfig::UTF8PROC PkgConfig::PCRE2)

  # Where speed is of no use, compiling is faster.
  if(folder MATCHES "^(cli|report)$")
    target_compile_options(krait_${folder}_objects PRIVATE $<$<CONFIG:Release>:-O1>)
  endif()

  # What a program that uses the folder is linked with.
  set(KRAIT_OBJECTS_${folder} krait_${folder}_objects)
  foreach(other IN LISTS used)
    list(APPEND KRAIT_OBJECTS_${folder} krait_${other}_objects)
  endforeach()
endforeach()
