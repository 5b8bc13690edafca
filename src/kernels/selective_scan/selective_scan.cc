#include "kernels/selective_scan/selective_scan.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "kernels/cpu_operations.h"
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
  cpu::dequantize(ctx, x, wide);
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

/// Everything but the sequences, B and C in f32.
struct Job {
  const ScanParams& params;
  const ScanInputs& in;
  ScanRows B, C;
  const Activation& y;
};

/// Rows [begin, end) of a sequence, channels [c0, c1), at most kBlock of them.
void run_channels(Context& ctx, const Job& job, const SequenceRun<void*>& sequence, std::int64_t c0,
                  std::int64_t c1, float* wide, float* own) {
  const ScanParams& params = job.params;
  const ScanInputs& in = job.in;
  const QuantizeKernels& quantize = *ctx.kernels.quantize;
  const Microkernel scan = microkernel(*ctx.kernels.selective_scan, params.state_dtype);
  const auto element = static_cast<std::int64_t>(size_of(params.state_dtype));
  const SequenceRows& rows = sequence.rows;
  for (std::int64_t t0 = rows.begin; t0 < rows.end; t0 += kChunk) {
    const std::int64_t t1 = std::min(t0 + kChunk, rows.end);
    Activation out = job.y;
    scan({.tokens = t1 - t0,
          .channels = c1 - c0,
          .states = params.states,
          .a2 = params.a2 + c0,
          .D = params.D + c0,
          .dt_bias = params.dt_bias ? params.dt_bias + c0 : nullptr,
          .u = piece(quantize, in.u, t0, t1, c0, c1, wide),
          .dt = piece(quantize, in.dt, t0, t1, c0, c1, wide + kChunk * kBlock),
          .z = piece(quantize, in.z, t0, t1, c0, c1, wide + 2 * kChunk * kBlock),
          .B = {job.B.data + t0 * job.B.stride, job.B.stride},
          .C = {job.C.data + t0 * job.C.stride, job.C.stride},
          .h = static_cast<char*>(sequence.state) + c0 * element,
          .h_scale = params.state_dtype == DType::i8 ? params.state_scale + c0 : nullptr,
          .channel_stride = in.u.cols,
          .y = out.f32(t0) + c0,
          .y_stride = out.stride,
          .scratch = own,
          .delta = wide + kChunk * kBlock,
          .gate = wide + 2 * kChunk * kBlock,
          .wide_stride = kBlock});
  }
}

}  // namespace

void cpu::selective_scan(Context& ctx, const ScanParams& params, const ScanInputs& in,
                    std::span<const SequenceRun<void*>> sequences, const Activation& y) {
  [[maybe_unused]] const std::int64_t tokens = in.u.rows;
  const std::int64_t channels = in.u.cols, states = params.states;
  assert(in.dt.rows == tokens && in.dt.cols == channels);
  assert(in.B.rows == tokens && in.B.cols == states && in.C.rows == tokens && in.C.cols == states);
  assert(!in.z.data || (in.z.rows == tokens && in.z.cols == channels));
  assert(y.dtype == DType::f32 && y.rows == tokens && y.cols == channels);
  assert(params.state_dtype != DType::i8 || params.state_scale);
  const Arena::Scope scope(ctx.arena);
  const Job job{params, in, widened(ctx, in.B), widened(ctx, in.C), y};
  const std::int64_t wide_floats = 3 * kChunk * kBlock, state_floats = 2 * 16 * states;
  const std::int64_t per_thread = wide_floats + state_floats;
  float* scratch = ctx.arena.take<float>(ctx.threads.threads() * per_thread);

  const auto run = [&](std::span<const SequenceRun<void*>> part) {
    std::int64_t rows = 0;
    for (const auto& sequence : part) rows += sequence.rows.tokens();
    const std::int64_t all = std::ssize(part) * channels;
    const std::int64_t grain = rows * channels * states < kSerialUpdates ? all : 64;
    ctx.threads.parallel_for(all, grain, [&](std::int64_t begin, std::int64_t end, int thread) {
      float* wide = scratch + thread * per_thread;
      for (std::int64_t i = begin; i < end;) {
        const std::int64_t c = i % channels;
        const std::int64_t count = std::min({kBlock, channels - c, end - i});
        run_channels(ctx, job, part[static_cast<std::size_t>(i / channels)], c, c + count, wide,
                     wide + wide_floats);
        i += count;
      }
    });
  };
  const std::size_t bytes =
      static_cast<std::size_t>(states * channels) * size_of(params.state_dtype);
  run_with_history(sequences, run, [&](void* state, std::int64_t offset) {
    std::memcpy(static_cast<char*>(state) + offset, state, bytes);
  });
}

}  // namespace krait
