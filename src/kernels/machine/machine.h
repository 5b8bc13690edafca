// What this machine could do at best: the bounds that benchmarks are compared with.
//
// Decode reads every weight once per token, so its bound is the bandwidth of memory; prefill of
// long prompts is bound by the int8 units. Both are measured, not looked up.
#pragma once

#include <cstddef>

#include "core/cpu_info.h"
#include "core/thread_pool.h"

namespace krait {

struct MachinePeaks {
  double read_bandwidth = 0;  ///< bytes per second, sequential reads of memory
  double int8_ops = 0;        ///< multiplications and additions of int8 dot products per second
  double fp32_flops = 0;      ///< the same of fp32 fused multiply-adds
};

/// Measures with all threads of the pool, in about 0.3 seconds: reads of a buffer several times
/// larger than the caches, and chains of independent dot products that stay in registers, with the
/// instructions of `isa`. The best of several rounds counts, so that a busy neighbour disturbs
/// little. Errors: io_error if there is no memory for the buffer.
MachinePeaks measure_machine(ThreadPool& threads, Isa isa);

/// Sequential read bandwidth alone.
double measure_read_bandwidth(ThreadPool& threads, Isa isa);

}  // namespace krait
