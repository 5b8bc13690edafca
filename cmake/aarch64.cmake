# Toolchain of the preset aarch64: Debian's cross compiler, the libraries that ./packages.sh aarch64
# unpacks, and qemu to run what is built.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)

get_filename_component(sysroot ${CMAKE_CURRENT_LIST_DIR}/../build/sysroot-aarch64 ABSOLUTE)
if(NOT IS_DIRECTORY ${sysroot})
  message(FATAL_ERROR "no ${sysroot}: ./packages.sh aarch64 makes it")
endif()
set(CMAKE_FIND_ROOT_PATH ${sysroot} /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_LIBDIR}
  ${sysroot}/usr/lib/aarch64-linux-gnu/pkgconfig:${sysroot}/usr/share/pkgconfig)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${sysroot})

# Programs run on the last of these CPUs, the tests on each of them (cmake/tests.cmake): Armv8.0 (as in
# Raspberry Pi 4), with dot product (Raspberry Pi 5), and with int8 matrix products.
set(KRAIT_EMULATOR qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu)
set(KRAIT_EMULATED_CPUS cortex-a72 cortex-a76 max)
set(KRAIT_EMULATED_LEVELS neon neon_dotprod neon_i8mm)
set(CMAKE_CROSSCOMPILING_EMULATOR ${KRAIT_EMULATOR} max)
