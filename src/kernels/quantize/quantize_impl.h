// quantize_kernels.h over Vec: included by one file per instruction set, after its vec header.
#pragma once

#include "kernels/quantize/quantize_kernels.h"
#include "kernels/vec_math.h"

namespace krait {
namespace {

constexpr float kInfinite = __builtin_inff();

float absmax(const float* x, std::int64_t n) {
  Vec most = broadcast(0.0f);
  for_blocks<kLanes>(
      n, [&](std::int64_t i, auto part) { most = max_magnitude(abs(load(x + i, part)), most); });
  float lanes[kLanes];
  store(lanes, most, Whole{});
  float result = 0.0f;
  for (float lane : lanes) result = lane <= result ? result : lane == lane ? lane : kInfinite;
  return result;
}

void quantize(const float* x, float scale, std::int8_t* q, std::int64_t n) {
  const Vec s = broadcast(scale);
  for_blocks<kLanes>(n, [&](std::int64_t i, auto part) {
    store_i8(q + i, quantized(load(x + i, part), s), part);
  });
}

void quantize_channels(const float* x, const float* scale, std::int8_t* q, std::int64_t n) {
  for_blocks<kLanes>(n, [&](std::int64_t i, auto part) {
    store_i8(q + i, quantized(load(x + i, part), load(scale + i, part)), part);
  });
}

void digits(const float* x, float scale, std::int8_t* high, std::int8_t* low, std::int64_t n) {
  const Vec s = broadcast(scale), most = broadcast(32639.0f), least = broadcast(-32639.0f);
  for_blocks<kLanes>(n, [&](std::int64_t i, auto part) {
    const Ints q = round_to_int(min(max(load(x + i, part) / s, least), most));
    const Ints h = shift_right_signed<8>(q + broadcast_int(128));
    store_i8(high + i, h, part);
    store_i8(low + i, q + h * broadcast_int(static_cast<std::uint32_t>(-256)), part);
  });
}

void dequantize(const std::int8_t* q, float scale, float* x, std::int64_t n) {
  const Vec s = broadcast(scale);
  for_blocks<kLanes>(n, [&](std::int64_t i, auto part) {
    store(x + i, s * to_float(load_i8(q + i, part)), part);
  });
}

void dequantize_channels(const std::int8_t* q, const float* scale, float* x, std::int64_t n) {
  for_blocks<kLanes>(n, [&](std::int64_t i, auto part) {
    store(x + i, load(scale + i, part) * to_float(load_i8(q + i, part)), part);
  });
}

constexpr QuantizeKernels kQuantizeKernels{absmax, quantize,   quantize_channels,
                                           digits, dequantize, dequantize_channels};

}  // namespace
}  // namespace krait
