# The program from outside.

# Under an emulator the program is only asked which instruction set it found.
if(CMAKE_CROSSCOMPILING)
  foreach(cpu level IN ZIP_LISTS KRAIT_EMULATED_CPUS KRAIT_EMULATED_LEVELS)
    add_test(NAME cli_info.${cpu}
      COMMAND ${KRAIT_EMULATOR} ${cpu} $<TARGET_FILE:krait_cli> info --json)
    set_tests_properties(cli_info.${cpu} PROPERTIES LABELS ${cpu}
      PASS_REGULAR_EXPRESSION "\"isa\": *\"${level}\"")
  endforeach()
  return()
endif()

foreach(test cli:Commands cli:Measures usage:Usage usage:Streams generate:Generate chat:Chat)
  string(REPLACE ":" ";" test ${test})
  list(GET test 0 file)
  list(GET test 1 class)
  add_test(NAME cli_${class} COMMAND Python3::Interpreter
    ${PROJECT_SOURCE_DIR}/tests/cli/${file}_test.py $<TARGET_FILE:krait_cli> ${class})
  set_tests_properties(cli_${class} PROPERTIES TIMEOUT 900)
endforeach()
