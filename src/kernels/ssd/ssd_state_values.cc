#include <cmath>

#include "core/float16.h"
#include "kernels/cpu_operations.h"
#include "kernels/ssd/ssd.h"

namespace krait {
namespace {

/// The scale of state n of channel p of a head.
float int8_scale(const SsdParams& params, const SsdState& state, std::int64_t head, std::int64_t n,
                 std::int64_t p) {
  const std::int64_t channel = head * params.head_dim + p;
  if (state.row_scale) return state.row_scale[channel];
  if (state.scale) return state.scale[channel];
  const SsdClusterScales& by = state.clusters;
  return by.scale[(by.table[head] * params.states + n) * kSsdClusters + by.slot[channel]];
}

}  // namespace

void cpu::ssd_state_values(Context&, const SsdParams& params, const SsdState& state,
                           std::int64_t position, const Activation& values) {
  Activation rows = values;
  const std::int64_t P = params.head_dim, N = params.states, per_head = N * P;
  const std::int64_t recent = state.recent.dx ? position % kSsdChunk : 0;
  for (std::int64_t i = 0; i < params.heads * per_head; ++i) {
    const std::int64_t head = i / per_head, n = i / P % N, p = i % P;
    float& value = rows.f32(head * P + p)[n];
    if (state.dtype == DType::f32) value = static_cast<const float*>(state.data)[i];
    if (state.dtype == DType::f16) {
      value = f16_to_f32(static_cast<const std::uint16_t*>(state.data)[i]);
    }
    if (state.dtype == DType::i8) {
      value = static_cast<float>(static_cast<const std::int8_t*>(state.data)[i]) *
              int8_scale(params, state, head, n, p);
    }
    if (recent == 0) continue;
    const float* const decay = state.recent.decay + head * kSsdChunk;
    const float* const dx = state.recent.dx + head * (kSsdChunk - 1) * P + p;
    const std::int64_t group = head / (params.heads / params.groups);
    const float* const B = state.recent.B + (group * N + n) * kSsdChunk;
    value *= decay[0];
    for (std::int64_t s = 0; s < recent; ++s) {
      value = std::fma(B[s], decay[s + 1] * dx[s * P], value);
    }
  }
}

}  // namespace krait
