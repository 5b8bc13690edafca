# Warnings, sanitizers and the flags of each instruction set.
add_library(krait_options INTERFACE)
# Contraction would let the compiler fuse a*b+c where the kernel contracts do not say fma, and
# results would differ from one instruction set to the next.
target_compile_options(krait_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion
  -Wno-sign-conversion -ffp-contract=off)
if(KRAIT_SANITIZE)
  target_compile_options(krait_options INTERFACE -fsanitize=${KRAIT_SANITIZE}
    -fno-omit-frame-pointer -fno-sanitize-recover=all)
  if(KRAIT_SANITIZE MATCHES address)
    # Half of the time of compiling, for what AddressSanitizer or the build under clang sees.
    target_compile_options(krait_options INTERFACE
      $<$<CXX_COMPILER_ID:GNU>:-fno-sanitize=null,alignment,vptr,object-size>)
  endif()
  target_link_options(krait_options INTERFACE -fsanitize=${KRAIT_SANITIZE})
endif()
if(KRAIT_FUZZ)
  target_compile_options(krait_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

# A file's suffix says which instruction set it may use; no other file gets such flags, and none of
# another architecture is compiled. *_reference.cc files are plain C++ for the baseline of the
# architecture, never vectorised beyond it.
set(KRAIT_FLAGS_avx2 -mavx2 -mfma -mf16c -mno-avx512f)
set(KRAIT_FLAGS_avx_vnni ${KRAIT_FLAGS_avx2} -mavxvnni)
set(KRAIT_FLAGS_avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vbmi -mavx512vnni -mfma
  -mf16c -mprefer-vector-width=512)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC's own AVX-512 header begins many operations from a value left uninitialised on purpose, and
  # GCC 12 warns of it (bug 105593).
  list(APPEND KRAIT_FLAGS_avx512 -Wno-uninitialized -Wno-maybe-uninitialized)
endif()
set(KRAIT_FLAGS_neon -march=armv8-a)
set(KRAIT_FLAGS_neon_dotprod -march=armv8.2-a+dotprod)
set(KRAIT_FLAGS_neon_i8mm -march=armv8.2-a+dotprod+i8mm)
set(KRAIT_SUFFIXES_x86 avx2 avx_vnni avx512)
set(KRAIT_SUFFIXES_aarch64 neon neon_dotprod neon_i8mm)
set(KRAIT_SUFFIXES)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(KRAIT_SUFFIXES ${KRAIT_SUFFIXES_x86})
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  set(KRAIT_SUFFIXES ${KRAIT_SUFFIXES_aarch64})
endif()

# Takes the files of other architectures off a list and gives the others their flags.
function(krait_isa_options list)
  foreach(suffix IN LISTS KRAIT_SUFFIXES_x86 KRAIT_SUFFIXES_aarch64)
    foreach(source IN LISTS ${list})
      if(NOT source MATCHES "_${suffix}\\.cc$")
        continue()
      elseif(suffix IN_LIST KRAIT_SUFFIXES)
        set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${KRAIT_FLAGS_${suffix}}")
      else()
        list(REMOVE_ITEM ${list} ${source})
      endif()
    endforeach()
  endforeach()
  set(${list} ${${list}} PARENT_SCOPE)
endfunction()
