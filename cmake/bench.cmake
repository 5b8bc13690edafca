# Kernel benchmarks: src/**/*_bench.cc in one program, each printing bytes/s and operations/s.
find_package(benchmark REQUIRED)
file(GLOB_RECURSE benches CONFIGURE_DEPENDS src/*_bench.cc)
if(benches)
  add_executable(krait_bench ${benches})
  target_include_directories(krait_bench PRIVATE src)
  target_link_libraries(krait_bench PRIVATE krait krait_options fmt::fmt benchmark::benchmark_main)
endif()
