# The program from outside, and the parts of it that can be tested from inside.
krait_test_program(cli_tests ${PROJECT_SOURCE_DIR}/src/cli/text_test.cc
  ${PROJECT_SOURCE_DIR}/src/cli/output.cc ${PROJECT_SOURCE_DIR}/src/cli/progress.cc
  ${PROJECT_SOURCE_DIR}/src/cli/table.cc ${PROJECT_SOURCE_DIR}/src/cli/units.cc)

# Under an emulator the program is only asked which instruction set it found.
if(CMAKE_CROSSCOMPILING)
  foreach(pair cortex-a72=neon cortex-a76=neon_dotprod max=neon_i8mm)
    string(REGEX MATCH "(.+)=(.+)" _ ${pair})
    add_test(NAME cli_info.${CMAKE_MATCH_1}
      COMMAND ${KRAIT_EMULATOR} ${CMAKE_MATCH_1} $<TARGET_FILE:krait_cli> info --json)
    set_tests_properties(cli_info.${CMAKE_MATCH_1} PROPERTIES LABELS ${CMAKE_MATCH_1}
      PASS_REGULAR_EXPRESSION "\"isa\": *\"${CMAKE_MATCH_2}\"")
  endforeach()
  return()
endif()

foreach(class Usage Streams Commands)
  add_test(NAME cli_${class} COMMAND Python3::Interpreter
    ${PROJECT_SOURCE_DIR}/tests/cli/cli_test.py $<TARGET_FILE:krait_cli> ${class})
  set_tests_properties(cli_${class} PROPERTIES TIMEOUT 900)
endforeach()
