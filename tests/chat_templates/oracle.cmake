# Chat templates against jinja2, where the interpreter has it.
find_package(Python3 REQUIRED COMPONENTS Interpreter)
execute_process(COMMAND ${Python3_EXECUTABLE} -c "import jinja2" RESULT_VARIABLE missing OUTPUT_QUIET
  ERROR_QUIET)
if(missing)
  message(STATUS "chat templates are not compared with jinja2: ${Python3_EXECUTABLE} has none")
else()
  add_test(NAME chat_template_oracle COMMAND Python3::Interpreter -W ignore
    ${PROJECT_SOURCE_DIR}/tests/chat_templates/oracle.py --program $<TARGET_FILE:jinja_render>)
  set_tests_properties(chat_template_oracle PROPERTIES TIMEOUT 600)
endif()
