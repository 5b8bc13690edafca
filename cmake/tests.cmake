# A test program for each folder of src/, of its *_test.cc, and one of tests/*_test.cc.
find_package(GTest REQUIRED)

# krait_test_program(NAME LINKED SOURCE...): with ctest its cases run in a few processes, each every
# KRAIT_SHARDS-th of them; --gtest_filter runs one by hand.
set(KRAIT_SHARDS 4)
add_custom_target(fast)
function(krait_test_program name linked)
  add_executable(${name} ${ARGN})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/src)
  target_compile_definitions(${name} PRIVATE KRAIT_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  target_link_libraries(${name} PRIVATE ${linked} krait_options fmt::fmt
    nlohmann_json::nlohmann_json GTest::gtest_main)
  # Checks themselves need no speed; what they check is compiled as ever.
  target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O1>)
  # test.sh runs "parser" tests under sanitizers and "whole" ones (of models) on every instruction set;
  # "fast" ones are for after every edit.
  set(labels fast)
  if(name MATCHES "^(io|text|tokenizer)_")
    list(APPEND labels parser)
  elseif(name MATCHES "^(models|runtime|eval)_")
    list(APPEND labels whole)
  elseif(name MATCHES "^(quant|path)_")
    set(labels whole)
  endif()
  if("fast" IN_LIST labels)
    add_dependencies(fast ${name})
  endif()
  if(NOT KRAIT_EMULATED_CPUS)
    math(EXPR last "${KRAIT_SHARDS} - 1")
    foreach(shard RANGE ${last})
      add_test(NAME ${name}.${shard} COMMAND ${name})
      set_tests_properties(${name}.${shard} PROPERTIES TIMEOUT 600 LABELS "${labels}"
        ENVIRONMENT "GTEST_TOTAL_SHARDS=${KRAIT_SHARDS};GTEST_SHARD_INDEX=${shard}")
    endforeach()
    return()
  endif()
  # One test per emulated CPU: starting the emulator for each case would take longer than the cases.
  foreach(cpu IN LISTS KRAIT_EMULATED_CPUS)
    add_test(NAME ${name}.${cpu} COMMAND ${KRAIT_EMULATOR} ${cpu} $<TARGET_FILE:${name}>
      --gtest_brief=1)
    set_tests_properties(${name}.${cpu} PROPERTIES TIMEOUT 3000 LABELS "${labels};${cpu}")
  endforeach()
endfunction()

foreach(folder IN LISTS KRAIT_FOLDERS)
  file(GLOB_RECURSE tests CONFIGURE_DEPENDS src/${folder}/*_test.cc)
  if(tests)
    krait_test_program(${folder}_tests "${KRAIT_OBJECTS_${folder}}" ${tests})
  endif()
endforeach()
if(NOT KRAIT_EMULATED_CPUS AND NOT KRAIT_SANITIZE)
  # By a second table of operations, in memory that nothing else may touch: src/models/test_operations.h.
  add_test(NAME models_tests.guarded COMMAND models_tests)
  set_tests_properties(models_tests.guarded PROPERTIES TIMEOUT 600 LABELS fast
    ENVIRONMENT KRAIT_TEST_GUARDED=1)
endif()
file(GLOB tests CONFIGURE_DEPENDS tests/*_test.cc)
krait_test_program(path_tests "${KRAIT_OBJECTS_quant}" ${tests})  # emulated too: no more than they use

# The "bits" tests: on each emulated CPU what its level of instructions adds to the one before it.
foreach(cpu level IN ZIP_LISTS KRAIT_EMULATED_CPUS KRAIT_EMULATED_LEVELS)
  set(filter *inear*:Machine*:*Outliers*/${level}:*Unpacked*/${level})  # products are all that differs
  if(level STREQUAL "neon")
    set(filter -*/reference)
  endif()
  add_test(NAME bits_of_kernels.${cpu} COMMAND ${KRAIT_EMULATOR} ${cpu}
    $<TARGET_FILE:kernels_tests> --gtest_brief=1 --gtest_filter=${filter})
  # Products tell the levels apart, so whole models run on the first and the last only; what is slow
  # under emulation, GPTQ, once, and in two halves.
  if(level STREQUAL "neon_dotprod")
    set(models)
  elseif(level STREQUAL "neon")
    set(models all)
    set(filter -*krait_w4a8*:*krait_w3a8*:*krait_w2a8*)
  else()
    set(models 0 1)
    set(filter *)
  endif()
  foreach(shard IN LISTS models)
    add_test(NAME bits_of_models.${cpu}.${shard} COMMAND ${KRAIT_EMULATOR} ${cpu}
      $<TARGET_FILE:path_tests> --gtest_brief=1 --gtest_filter=${filter})
    set(shards "")
    if(NOT shard STREQUAL "all")
      set(shards "GTEST_TOTAL_SHARDS=2;GTEST_SHARD_INDEX=${shard}")
    endif()
    set_tests_properties(bits_of_models.${cpu}.${shard} PROPERTIES TIMEOUT 1800 LABELS bits
      ENVIRONMENT "KRAIT_ISA=${level};${shards}")
  endforeach()
  set_tests_properties(bits_of_kernels.${cpu} PROPERTIES TIMEOUT 1800
    LABELS bits ENVIRONMENT KRAIT_ISA=${level})
endforeach()

# The objects of the folders whose headers a source includes, and of those below them.
function(krait_objects_of source out)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${source})
  file(STRINGS ${source} includes REGEX "^#include \"[a-z]+/")
  set(objects)
  foreach(include IN LISTS includes)
    string(REGEX REPLACE "^#include \"([a-z]+)/.*" "\\1" folder "${include}")
    list(APPEND objects ${KRAIT_OBJECTS_${folder}})
  endforeach()
  list(REMOVE_DUPLICATES objects)
  set(${out} ${objects} PARENT_SCOPE)
endfunction()

# Small programs that the comparison scripts in tests/ run; each is called by its file's name.
file(GLOB tools CONFIGURE_DEPENDS tests/tools/*.cc)
foreach(source IN LISTS tools)
  get_filename_component(name ${source} NAME_WE)
  krait_objects_of(${source} objects)
  add_executable(${name} ${source})
  target_link_libraries(${name} PRIVATE ${objects})
endforeach()

# Fuzz targets: libFuzzer programs under KRAIT_FUZZ, otherwise each replays its corpus as one test.
file(GLOB fuzzers CONFIGURE_DEPENDS tests/fuzz/fuzz_*.cc)
add_custom_target(fuzzers)
add_custom_target(fast_fuzzers)  # those that need few objects
foreach(source IN LISTS fuzzers)
  get_filename_component(name ${source} NAME_WE)
  string(REPLACE fuzz_ "" corpus ${name})
  krait_objects_of(${source} objects)
  add_executable(${name} ${source})
  add_dependencies(fuzzers ${name})
  set(labels fast)
  if(NOT "krait_runtime_objects" IN_LIST objects)
    list(APPEND labels parser)
    add_dependencies(fast_fuzzers ${name})
  endif()
  add_dependencies(fast ${name})
  target_link_libraries(${name} PRIVATE ${objects})
  if(KRAIT_FUZZ)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(${name} PRIVATE tests/fuzz/replay_main.cc)
    add_test(NAME ${name}_corpus COMMAND ${name} ${PROJECT_SOURCE_DIR}/tests/fuzz/corpus/${corpus})
    set_tests_properties(${name}_corpus PROPERTIES LABELS "${labels}")
  endif()
endforeach()
include(${PROJECT_SOURCE_DIR}/tests/policy/policy.cmake OPTIONAL)
include(${PROJECT_SOURCE_DIR}/tests/cli/cli.cmake OPTIONAL)
if(NOT CMAKE_CROSSCOMPILING)
  include(${PROJECT_SOURCE_DIR}/tests/install/install.cmake OPTIONAL)
  include(${PROJECT_SOURCE_DIR}/tests/chat_templates/oracle.cmake)
endif()
