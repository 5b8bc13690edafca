#include "kernels/selective_scan/selective_scan.h"

#include <algorithm>
#include <cassert>

#include "kernels/quantize/quantize.h"
#include "kernels/selective_scan/selective_scan_kernels.h"

namespace krait {
namespace {

// A task works through blocks of kBlock channels, and each block through chunks of kChunk tokens,
// so that a block's state and a chunk's inputs stay in the first caches.
constexpr std::int64_t kBlock = 512;
constexpr std::int64_t kChunk = 16;
// Updates of one h below which a parallel region costs more than it saves.
constexpr std::int64_t kSerialUpdates = 16384;

using Microkernel = void (*)(const ScanRun&);

Microkernel microkernel(const SelectiveScanKernels& kernels, DType state) {
  assert(state == DType::f32 || state == DType::f16 || state == DType::i8);
  if (state == DType::f16) return kernels.scan_f16;
  return state == DType::i8 ? kernels.scan_i8 : kernels.scan_f32;
}

/// All of B or C in f32.
ScanRows widened(Context& ctx, const Activation& x) {
  if (x.dtype == DType::f32) return {x.f32(), x.stride};
  const Activation wide = f32_activation(ctx.arena.take<float>(x.rows * x.cols), x.rows, x.cols);
  dequantize(ctx, x, wide);
  return {wide.f32(), wide.stride};
}

/// Tokens [t0, t1), channels [c0, c1) of u, dt or z in f32, in `scratch` where they are int8.
ScanRows piece(const QuantizeKernels& kernels, const Activation& x, std::int64_t t0,
               std::int64_t t1, std::int64_t c0, std::int64_t c1, float* scratch) {
  if (!x.data) return {nullptr, 0};
  if (x.dtype == DType::f32) return {x.f32(t0) + c0, x.stride};
  for (std::int64_t t = t0; t < t1; ++t) {
    load_row(kernels, x, t, c0, c1, scratch + (t - t0) * kBlock);
  }
  return {scratch, kBlock};
}

}  // namespace

void selective_scan(Context& ctx, const ScanParams& params, const ScanInputs& in, ScanState state,
                    const Activation& y) {
  const std::int64_t tokens = in.u.rows, channels = in.u.cols, states = params.states;
  assert(in.dt.rows == tokens && in.dt.cols == channels);
  assert(in.B.rows == tokens && in.B.cols == states && in.C.rows == tokens && in.C.cols == states);
  assert(!in.z.data || (in.z.rows == tokens && in.z.cols == channels));
  assert(y.dtype == DType::f32 && y.rows == tokens && y.cols == channels);
  assert(state.data && (state.dtype != DType::i8 || state.scale));
  const Arena::Scope scope(ctx.arena);
  const ScanRows B = widened(ctx, in.B), C = widened(ctx, in.C);
  const std::int64_t wide_floats = 3 * kChunk * kBlock, state_floats = 2 * 16 * states;
  const std::int64_t per_thread = wide_floats + state_floats;
  float* scratch = ctx.arena.take<float>(ctx.threads.threads() * per_thread);
  const Microkernel scan = microkernel(*ctx.kernels.selective_scan, state.dtype);
  const QuantizeKernels& quantize = *ctx.kernels.quantize;
  const auto element = static_cast<std::int64_t>(size_of(state.dtype));

  const auto run_channels = [&](std::int64_t c0, std::int64_t c1, float* wide, float* own) {
    for (std::int64_t t0 = 0; t0 < tokens; t0 += kChunk) {
      const std::int64_t t1 = std::min(t0 + kChunk, tokens);
      Activation out = y;
      scan({.tokens = t1 - t0,
            .channels = c1 - c0,
            .states = states,
            .a2 = params.a2 + c0,
            .D = params.D + c0,
            .dt_bias = params.dt_bias ? params.dt_bias + c0 : nullptr,
            .u = piece(quantize, in.u, t0, t1, c0, c1, wide),
            .dt = piece(quantize, in.dt, t0, t1, c0, c1, wide + kChunk * kBlock),
            .z = piece(quantize, in.z, t0, t1, c0, c1, wide + 2 * kChunk * kBlock),
            .B = {B.data + t0 * B.stride, B.stride},
            .C = {C.data + t0 * C.stride, C.stride},
            .h = static_cast<char*>(state.data) + c0 * element,
            .h_scale = state.dtype == DType::i8 ? state.scale + c0 : nullptr,
            .channel_stride = channels,
            .y = out.f32(t0) + c0,
            .y_stride = y.stride,
            .scratch = own,
            .delta = wide + kChunk * kBlock,
            .gate = wide + 2 * kChunk * kBlock,
            .wide_stride = kBlock});
    }
  };
  const std::int64_t grain = tokens * channels * states < kSerialUpdates ? channels : 64;
  ctx.threads.parallel_for(channels, grain, [&](std::int64_t begin, std::int64_t end, int thread) {
    float* wide = scratch + thread * per_thread;
    for (std::int64_t c = begin; c < end; c += kBlock) {
      run_channels(c, std::min(c + kBlock, end), wide, wide + wide_floats);
    }
  });
}

}  // namespace krait
