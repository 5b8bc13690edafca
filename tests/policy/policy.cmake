# Rules that a reviewer need not look for. Each script also checks that it finds made-up violations.
find_package(Python3 REQUIRED COMPONENTS Interpreter)
set(policy ${PROJECT_SOURCE_DIR}/tests/policy)

add_test(NAME policy_layers COMMAND Python3::Interpreter ${policy}/layers.py ${PROJECT_SOURCE_DIR})
add_test(NAME policy_files COMMAND Python3::Interpreter ${policy}/files.py ${PROJECT_SOURCE_DIR})
add_test(NAME policy_links COMMAND Python3::Interpreter ${policy}/links.py ${PROJECT_SOURCE_DIR})
set(results ${PROJECT_SOURCE_DIR}/docs/results)
add_test(NAME policy_picture COMMAND Python3::Interpreter ${PROJECT_SOURCE_DIR}/bench/kl_bits.py
  ${results}/recipes.md ${results}/quality.md --svg ${results}/kl-bits.svg --check)
set_tests_properties(policy_layers policy_files policy_links policy_picture PROPERTIES LABELS fast)

# Sanitizers and coverage counters bring symbols of their own.
if(NOT KRAIT_SANITIZE AND NOT CMAKE_CXX_FLAGS MATCHES "coverage")
  add_test(NAME policy_library_symbols COMMAND Python3::Interpreter ${policy}/library_symbols.py
    $<TARGET_FILE:krait> ${CMAKE_NM} $<$<CONFIG:Debug>:--debug>)
  add_test(NAME policy_library_exports COMMAND Python3::Interpreter ${policy}/library_symbols.py
    $<TARGET_FILE:krait_shared> ${CMAKE_NM} --exports ${PROJECT_SOURCE_DIR})
endif()

if(NOT KRAIT_SANITIZE)
  add_test(NAME policy_operations COMMAND Python3::Interpreter ${policy}/operations.py
    ${PROJECT_SOURCE_DIR} ${CMAKE_NM} $<TARGET_OBJECTS:krait_kernels_objects> --
    $<TARGET_OBJECTS:krait_models_objects> $<TARGET_OBJECTS:krait_runtime_objects>
    COMMAND_EXPAND_LISTS)
  set_tests_properties(policy_operations PROPERTIES LABELS fast)
endif()

if(KRAIT_SUFFIXES)
  foreach(isa IN LISTS KRAIT_SUFFIXES)
    set(command Python3::Interpreter ${policy}/isa_objects.py ${PROJECT_SOURCE_DIR}
      ${CMAKE_CXX_COMPILER} ${CMAKE_NM} ${isa} ${KRAIT_FLAGS_${isa}})
    add_test(NAME policy_isa_objects_${isa} COMMAND ${command})
  endforeach()
  add_test(NAME policy_isa_objects_self_test COMMAND ${command} --self-test)
endif()

if("avx2" IN_LIST KRAIT_SUFFIXES AND CMAKE_BUILD_TYPE STREQUAL "Release")
  add_test(NAME policy_upper_halves COMMAND Python3::Interpreter ${policy}/upper_halves.py
    ${CMAKE_OBJDUMP} $<TARGET_OBJECTS:krait_kernels_objects> COMMAND_EXPAND_LISTS)
endif()

if(TARGET krait_cli AND NOT CMAKE_CROSSCOMPILING)
  foreach(script readme_commands guide sites)
    add_test(NAME policy_${script} COMMAND Python3::Interpreter ${policy}/${script}.py
      ${PROJECT_SOURCE_DIR} $<TARGET_FILE:krait_cli>)
  endforeach()
endif()
