# The installed package: headers, library, program, demo model, find_package(krait) and pkg-config.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

if(TARGET krait_cli)
  # Where the program looks for the demo model (src/cli/command.cc): below its own prefix, then in
  # the source tree.
  target_compile_definitions(krait_cli_objects PRIVATE
    KRAIT_INSTALL_DATADIR="${CMAKE_INSTALL_DATADIR}/krait" KRAIT_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  install(TARGETS krait_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

install(TARGETS krait krait_shared EXPORT krait_targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/krait DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/models/krait-demo
  DESTINATION ${CMAKE_INSTALL_DATADIR}/krait/models OPTIONAL)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

# A static library does not carry the libraries that it uses: whoever links it needs them too.
set(krait_packages_cmake ${CMAKE_INSTALL_LIBDIR}/cmake/krait)
install(EXPORT krait_targets NAMESPACE krait:: FILE kraitTargets.cmake
  DESTINATION ${krait_packages_cmake})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/kraitConfig.cmake.in
  ${PROJECT_BINARY_DIR}/kraitConfig.cmake INSTALL_DESTINATION ${krait_packages_cmake})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/kraitConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/kraitConfig.cmake ${PROJECT_BINARY_DIR}/kraitConfigVersion.cmake
  DESTINATION ${krait_packages_cmake})

file(RELATIVE_PATH krait_pc_prefix /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
configure_file(${CMAKE_CURRENT_LIST_DIR}/krait.pc.in ${PROJECT_BINARY_DIR}/krait.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/krait.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
