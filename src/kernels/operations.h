// Everything that a model computes: one function for each contract. The contracts, with shapes and
// numerics, stand in the headers of the folders here; there linear(ctx, ...) calls
// ctx.operations.linear. What runs is the table of the device that the context is for: models and
// sequences are the same for all.
//
// What a table promises.
//  * Values, on every device: outputs and states are those of the contract but for the order and
//    the roundings of floating-point sums. What follows from the same inputs differs by at most
//    4e-6 times the sum of the absolute values of all terms; products of integers, their scaling
//    and the rounding of equal values to integers are exact.
//  * Bits, on CPUs and on devices whose arithmetic is complete (every float operation rounded once,
//    to nearest even, fma too, denormal values kept): those that the contracts tell, for any number
//    of threads, instruction set, tiles, batches and cuts of a sequence into calls.
//
// Pointers and the data of activations point into ctx.arena.memory() or hold what was loaded; only
// operations look at what lies there. Lists in a std::span are the host's.
#pragma once

#include <cstdint>
#include <span>

namespace krait {

struct Activation;
struct AttentionInputs;
struct Context;
struct ConvWeight;
struct HeadCache;
struct HeadRows;
struct ScanInputs;
struct ScanParams;
struct SequenceRows;
struct SsdInputs;
struct SsdParams;
struct SsdState;
struct Weight;
struct Routing;
enum class Gelu;
template <typename State>
struct SequenceRun;

struct Operations {
  // kernels/linear
  void (*pack)(Context&, Weight& weight);
  void (*linear)(Context&, const Weight& weight, const Activation& x, const Activation& y);
  void (*embedding)(Context&, const Weight& table, std::span<const std::int32_t> ids, float* out);
  // kernels/causal_conv1d
  void (*causal_conv1d)(Context&, const ConvWeight& weight, const Activation& x,
                        std::span<const SequenceRun<void*>> sequences, const Activation& u);
  // kernels/selective_scan
  void (*selective_scan)(Context&, const ScanParams& params, const ScanInputs& in,
                         std::span<const SequenceRun<void*>> sequences, const Activation& y);
  // kernels/ssd
  void (*ssd)(Context&, const SsdParams& params, const SsdInputs& in,
              std::span<const SequenceRun<SsdState>> sequences, const Activation& y);
  void (*ssd_state_values)(Context&, const SsdParams& params, const SsdState& state,
                           std::int64_t position, const Activation& values);
  // kernels/attention
  void (*attention)(Context&, const AttentionInputs& in,
                    std::span<const SequenceRun<const HeadCache*>> sequences, const Activation& y);
  void (*rotary_angles)(Context&, std::span<const float> inverse_frequencies,
                        std::span<const SequenceRows> sequences, float* cos, float* sin);
  void (*rotary)(Context&, const float* cos, const float* sin, std::int64_t half, const HeadRows& x,
                 std::int64_t tokens, std::int64_t heads);
  // kernels/norm, kernels/gated_norm
  void (*add_rms_norm)(Context&, float* residual, const float* add, const float* weight, float eps,
                       const Activation& y);
  void (*add_layer_norm)(Context&, float* residual, const float* add, const float* weight,
                         const float* bias, float eps, const Activation& y);
  void (*gated_rms_norm)(Context&, const Activation& y, const Activation& z, const float* weight,
                         float eps, std::int64_t groups, const Activation& out);
  // kernels/rows
  void (*add_rows)(Context&, float* x, const float* add, std::int64_t rows, std::int64_t cols);
  void (*scale_rows)(Context&, float* x, float scale, std::int64_t rows, std::int64_t cols);
  void (*copy_rows)(Context&, const Activation& x, const Activation& y);
  void (*gather_rows)(Context&, const Activation& x, std::span<const std::int32_t> rows,
                      const Activation& y);
  void (*scatter_add)(Context&, const Activation& y, std::span<const std::int32_t> rows,
                      std::span<const float> weights, float* out);
  void (*clear_rows)(Context&, float* x, std::int64_t rows, std::int64_t cols);
  // kernels/quantize
  void (*quantize)(Context&, const Activation& x, const Activation& y);
  void (*dequantize)(Context&, const Activation& x, const Activation& y);
  // kernels/hadamard
  void (*hadamard)(Context&, const Activation& x, std::int64_t block, const Activation& y);
  void (*hadamard_inverse)(Context&, const Activation& x, std::int64_t block);
  // kernels/nonlinearity
  void (*gelu)(Context&, Gelu form, const Activation& x, const Activation& y);
  void (*silu_product)(Context&, const Activation& gate, const Activation& up, const Activation& y);
  // kernels/routing
  Routing (*top_experts)(Context&, const Activation& logits, std::int64_t k);
};

/// On the CPU, by the microkernels of the context.
extern const Operations cpu_operations;

}  // namespace krait
