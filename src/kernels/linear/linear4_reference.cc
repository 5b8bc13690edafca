// Plain C++: says what the numbers are; the other variants are compared with it byte by byte.
#include <cmath>
#include <cstring>

#include "core/float16.h"
#include "kernels/linear/linear4_kernels.h"

namespace krait {
namespace {

/// The line of scales of group g for the 16 rows that row r is one of.
const std::uint8_t* scales_of(const I4Rows& w, std::int64_t r, std::int64_t g) {
  const std::int64_t together = w.scale_is_f32 ? 1 : 2;
  return w.lines + r / 16 * w.stride + g / together * (together * w.group / 8 + 1) * 64;
}

float scale_at(const I4Rows& w, std::int64_t r, std::int64_t g) {
  const std::uint8_t* line = scales_of(w, r, g);
  if (w.scale_is_f32) {
    float scale;
    std::memcpy(&scale, line + r % 16 * 4, 4);
    return scale;
  }
  std::uint16_t scale;
  std::memcpy(&scale, line + (g % 2 * 16 + r % 16) * 2, 2);
  return bf16_to_f32(scale);
}

/// Weight of row r (within the block), column k, as -8 to 7.
std::int32_t weight_at(const I4Rows& w, std::int64_t r, std::int64_t k) {
  const std::int64_t together = w.scale_is_f32 ? 1 : 2;
  const std::int64_t j = k / 8 % (together * w.group / 8);
  const std::uint8_t byte = scales_of(w, r, k / w.group)[64 * (1 + j) + r % 16 * 4 + k % 4];
  return (k % 8 < 4 ? byte & 15 : byte >> 4) - 8;
}

void group_sums(const std::int8_t* x, std::int64_t cols, std::int64_t group, std::int32_t* sums) {
  for (std::int64_t g = 0; g * group < cols; ++g) {
    std::int32_t sum = 0;
    for (std::int64_t k = g * group; k < (g + 1) * group; ++k) sum += x[k];
    sums[g] = -8 * sum;
  }
}

void product_i8(const I4Product& p) {
  const std::int64_t groups = p.w.cols / p.w.group;
  for (std::int64_t t = 0; t < p.tokens; ++t) {
    const std::int8_t* x = p.x + t * p.x_stride;
    for (std::int64_t r = 0; r < p.w.rows; ++r) {
      float y = 0;
      for (std::int64_t g = 0; g < groups; ++g) {
        std::int32_t sum = 0;
        for (std::int64_t k = g * p.w.group; k < (g + 1) * p.w.group; ++k) {
          sum += x[k] * weight_at(p.w, r, k);
        }
        y = std::fma(static_cast<float>(sum), scale_at(p.w, r, g), y);
      }
      y *= p.x_scale[t * p.x_scale_step];
      p.y[t * p.y_stride + r] = p.bias ? y + p.bias[r] : y;
    }
  }
}

void product_f32(const I4FloatProduct& p) {
  const std::int64_t groups = p.w.cols / p.w.group;
  for (std::int64_t t = 0; t < p.tokens; ++t) {
    const float* x = p.x + t * p.x_stride;
    for (std::int64_t r = 0; r < p.w.rows; ++r) {
      float y = 0;
      for (std::int64_t g = 0; g < groups; ++g) {
        float sum = 0;
        for (std::int64_t k = g * p.w.group; k < (g + 1) * p.w.group; ++k) {
          sum = std::fma(x[k], static_cast<float>(weight_at(p.w, r, k)), sum);
        }
        y = std::fma(sum, scale_at(p.w, r, g), y);
      }
      p.y[t * p.y_stride + r] = p.bias ? y + p.bias[r] : y;
    }
  }
}

void pack(const I4Source& p) {
  const std::int64_t words = p.cols / 8, group_lines = p.group / 8, groups = p.cols / p.group;
  std::memset(p.lines, 0, static_cast<std::size_t>((words + (groups + 1) / 2) * 64));
  for (std::int64_t r = 0; r < 16; ++r) {
    std::uint8_t* line = p.lines;
    for (std::int64_t g = 0; g < groups; ++g) {
      if (g % 2 == 0) line += 64;
      std::uint16_t scale = 0x3f80;  // 1
      if (r < p.rows) {
        std::memcpy(&scale, static_cast<const char*>(p.scales) + (r * groups + g) * 2, 2);
      }
      std::memcpy(line - (g % 2 * group_lines + 1) * 64 + (g % 2 * 16 + r) * 2, &scale, 2);
      for (std::int64_t i = g * group_lines; i < (g + 1) * group_lines; ++i, line += 64) {
        std::uint32_t word = 0x88888888u;  // zeros
        if (r < p.rows) {
          std::memcpy(&word, static_cast<const char*>(p.words) + (r * words + i) * 4, 4);
        }
        for (int k = 0; k < 4; ++k) {
          const std::uint32_t low = word >> (4 * k) & 15, high = word >> (16 + 4 * k) & 15;
          line[r * 4 + k] = static_cast<std::uint8_t>(low | high << 4);
        }
      }
    }
  }
}

}  // namespace

constinit const Linear4Kernels linear4_reference = {
    .group_sums = group_sums,
    .pack = pack,
    .i8 = product_i8,
    .f32 = product_f32,
};

}  // namespace krait
