# Sanitizers would have to be in the consumer too.
if(TARGET krait_cli AND NOT KRAIT_SANITIZE AND NOT CMAKE_CXX_FLAGS MATCHES "coverage")
  add_test(NAME install COMMAND Python3::Interpreter ${PROJECT_SOURCE_DIR}/tests/install/install_test.py
    ${PROJECT_BINARY_DIR} $<CONFIG> ${CMAKE_CXX_COMPILER})
  set_tests_properties(install PROPERTIES TIMEOUT 600)
endif()
