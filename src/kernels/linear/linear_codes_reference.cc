// Plain C++: says what the numbers are; the other variants are compared with it byte by byte.
#include <cmath>
#include <cstring>

#include "core/float16.h"
#include "kernels/linear/linear_codes_kernels.h"

namespace krait {
namespace {

/// The line of scales of group g and the one after it, for the 16 rows that row r is one of.
const std::uint8_t* pair_of(const CodedRows& w, std::int64_t r, std::int64_t g) {
  return w.lines + r / 16 * w.stride + g / 2 * (64 + 4 * w.bits * w.group);
}

float scale_at(const CodedRows& w, std::int64_t r, std::int64_t g) {
  std::uint16_t scale;
  std::memcpy(&scale, pair_of(w, r, g) + (g % 2 * 16 + r % 16) * 2, 2);
  return bf16_to_f32(scale);
}

/// Weight of row r (within the block), column k.
std::int32_t weight_at(const CodedRows& w, std::int64_t r, std::int64_t k) {
  const std::int64_t columns = w.bits == 2 ? 16 : 8, word_bits = 2 * columns * w.bits;
  const std::int64_t word = k % (2 * w.group) / columns * 8 + r % 16 / 2;
  const std::uint8_t* bytes = pair_of(w, r, k / w.group) + 64 + word * (word_bits / 8);
  const std::int64_t first = w.bits * (2 * (k % columns) + r % 2);
  unsigned window = 0;
  for (std::int64_t b = 0; b < 6; ++b) {
    const std::int64_t bit = (first + b) % word_bits;
    window |= (bytes[bit / 8] >> bit % 8 & 1u) << b;
  }
  return w.table[window];
}

void product_i8(const CodesProduct& p) {
  const std::int64_t groups = p.w.cols / p.w.group;
  for (std::int64_t r = 0; r < p.w.rows; ++r) {
    std::int32_t w[kMaxCodeGroup];
    for (std::int64_t t = 0; t < p.tokens; ++t) p.y[t * p.y_stride + r] = 0;
    for (std::int64_t g = 0; g < groups; ++g) {
      for (std::int64_t k = 0; k < p.w.group; ++k) w[k] = weight_at(p.w, r, g * p.w.group + k);
      const float scale = scale_at(p.w, r, g);
      for (std::int64_t t = 0; t < p.tokens; ++t) {
        const std::int8_t* x = p.x + t * p.x_stride + g * p.w.group;
        std::int32_t sum = 0;
        for (std::int64_t k = 0; k < p.w.group; ++k) sum += x[k] * w[k];
        float& y = p.y[t * p.y_stride + r];
        y = std::fma(static_cast<float>(sum), scale, y);
      }
    }
    for (std::int64_t t = 0; t < p.tokens; ++t) {
      float& y = p.y[t * p.y_stride + r];
      y *= p.x_scale[t * p.x_scale_step];
      if (p.bias) y += p.bias[r];
    }
  }
}

}  // namespace

constinit const LinearCodesKernels linear_codes_reference = {.i8 = product_i8};

}  // namespace krait
