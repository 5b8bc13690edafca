// The operations on the CPU: see operations.h for the table and the headers of the folders for the
// contracts. An operation that needs another calls it from here, so that what goes through a table
// is what models ask for.
#pragma once

#include "kernels/operations.h"

namespace krait::cpu {

void pack(Context&, Weight& weight);
void linear(Context&, const Weight& weight, const Activation& x, const Activation& y);
void embedding(Context&, const Weight& table, std::span<const std::int32_t> ids, float* out);
void causal_conv1d(Context&, const ConvWeight& weight, const Activation& x,
                   std::span<const SequenceRun<void*>> sequences, const Activation& u);
void selective_scan(Context&, const ScanParams& params, const ScanInputs& in,
                    std::span<const SequenceRun<void*>> sequences, const Activation& y);
void ssd(Context&, const SsdParams& params, const SsdInputs& in,
         std::span<const SequenceRun<SsdState>> sequences, const Activation& y);
void ssd_state_values(Context&, const SsdParams& params, const SsdState& state,
                      std::int64_t position, const Activation& values);
void attention(Context&, const AttentionInputs& in,
               std::span<const SequenceRun<const HeadCache*>> sequences, const Activation& y);
void rotary_angles(Context&, std::span<const float> inverse_frequencies,
                   std::span<const SequenceRows> sequences, float* cos, float* sin);
void rotary(Context&, const float* cos, const float* sin, std::int64_t half, const HeadRows& x,
            std::int64_t tokens, std::int64_t heads);
void add_rms_norm(Context&, float* residual, const float* add, const float* weight, float eps,
                  const Activation& y);
void add_layer_norm(Context&, float* residual, const float* add, const float* weight,
                    const float* bias, float eps, const Activation& y);
void gated_rms_norm(Context&, const Activation& y, const Activation& z, const float* weight,
                    float eps, std::int64_t groups, const Activation& out);
void add_rows(Context&, float* x, const float* add, std::int64_t rows, std::int64_t cols);
void scale_rows(Context&, float* x, float scale, std::int64_t rows, std::int64_t cols);
void copy_rows(Context&, const Activation& x, const Activation& y);
void gather_rows(Context&, const Activation& x, std::span<const std::int32_t> rows,
                 const Activation& y);
void scatter_add(Context&, const Activation& y, std::span<const std::int32_t> rows,
                 std::span<const float> weights, float* out);
void clear_rows(Context&, float* x, std::int64_t rows, std::int64_t cols);
void quantize(Context&, const Activation& x, const Activation& y);
void dequantize(Context&, const Activation& x, const Activation& y);
void hadamard(Context&, const Activation& x, std::int64_t block, const Activation& y);
void hadamard_inverse(Context&, const Activation& x, std::int64_t block);
void gelu(Context&, Gelu form, const Activation& x, const Activation& y);
void silu_product(Context&, const Activation& gate, const Activation& up, const Activation& y);
Routing top_experts(Context&, const Activation& logits, std::int64_t k);

}  // namespace krait::cpu
