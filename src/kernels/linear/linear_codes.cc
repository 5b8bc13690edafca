#include "kernels/linear/linear_codes.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <span>
#include <utility>

#include "core/float16.h"

namespace krait {
namespace {

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Words of two rows.
struct Words {
  explicit Words(const Weight& weight)
      : columns(weight.code_bits == 2 ? 16 : 8), bytes(columns * weight.code_bits / 4) {}
  std::int64_t columns, bytes;
};

/// Where group g of 16 packed rows begins: its scales (those of two groups share a line), its
/// words.
std::int64_t scales_at(const Weight& weight, std::int64_t g) {
  return g / 2 * (64 + 4 * weight.code_bits * weight.group_size) + g % 2 * 32;
}
std::int64_t words_at(const Weight& weight, std::int64_t g) {
  return scales_at(weight, g - g % 2) + 64 + g % 2 * 2 * weight.code_bits * weight.group_size;
}

}  // namespace

std::int64_t packed_codes_stride(const Weight& weight) {
  const std::int64_t groups = weight.cols() / weight.group_size;
  return ceil_div(ceil_div(groups, 2) * 64 + 2 * weight.code_bits * weight.cols(), 64) * 64;
}

void pack_code_rows(const Weight& weight, std::int64_t row, std::uint8_t* lines) {
  const Words word(weight);
  const std::int64_t rows = std::min<std::int64_t>(16, weight.rows() - row);
  const std::int64_t groups = weight.cols() / weight.group_size, stride = weight.data.shape()[1];
  const auto* scales = static_cast<const char*>(weight.scale.view().data);  // at any address
  const auto* data = static_cast<const std::uint8_t*>(weight.data.view().data) + row / 2 * stride;
  std::memset(lines, 0, static_cast<std::size_t>(packed_codes_stride(weight)));
  for (std::int64_t g = 0; g < groups; ++g) {
    for (std::int64_t r = 0; r < rows; ++r) {
      std::memcpy(lines + scales_at(weight, g) + r * 2, scales + ((row + r) * groups + g) * 2, 2);
    }
    std::uint8_t* to = lines + words_at(weight, g);
    const std::int64_t words = weight.group_size / word.columns;
    for (std::int64_t i = g * words; i < (g + 1) * words; ++i, to += 8 * word.bytes) {
      for (std::int64_t pair = 0; 2 * pair < rows; ++pair) {
        std::memcpy(to + pair * word.bytes, data + pair * stride + i * word.bytes,
                    static_cast<std::size_t>(word.bytes));
      }
    }
  }
}

void pack_codes(Context& ctx, Weight& weight) {
  const std::int64_t tile_rows = ceil_div(weight.rows(), 16), stride = packed_codes_stride(weight);
  auto packed = std::make_shared<PackedCodes>();
  packed->lines = Tensor(DType::u8, {tile_rows, stride});
  std::uint8_t* lines = packed->lines.mutable_as<std::uint8_t>().data();
  ctx.threads.parallel_for(tile_rows, ceil_div(1 << 15, stride),
                           [&](std::int64_t begin, std::int64_t end, int) {
                             for (std::int64_t i = begin; i < end; ++i) {
                               pack_code_rows(weight, i * 16, lines + i * stride);
                             }
                           });
  weight.packed_codes = std::move(packed);
}

void decode_row(const Weight& weight, std::int64_t row, float* out) {
  const Words word(weight);
  const int bits = weight.code_bits;
  const std::int64_t size = weight.group_size, groups = weight.cols() / size;
  const std::span<const std::int8_t> table = weight.table.as<std::int8_t>();
  const std::uint8_t* lines = nullptr;  // of the 16 rows
  if (weight.packed_codes) {
    const Tensor& packed = weight.packed_codes->lines;
    lines = packed.as<std::uint8_t>().data() + row / 16 * packed.shape()[1];
  }
  const auto* data = static_cast<const std::uint8_t*>(weight.data.view().data);
  const auto* scales = static_cast<const char*>(weight.scale.view().data);
  for (std::int64_t g = 0; g < groups; ++g) {
    std::uint16_t half;
    const void* scale = lines
                            ? static_cast<const void*>(lines + scales_at(weight, g) + row % 16 * 2)
                            : scales + (row * groups + g) * 2;
    std::memcpy(&half, scale, 2);
    const float unit = bf16_to_f32(half);
    for (std::int64_t i = 0; i < size / word.columns; ++i) {
      const std::uint8_t* from =
          lines ? lines + words_at(weight, g) + (i * 8 + row % 16 / 2) * word.bytes
                : data + row / 2 * weight.data.shape()[1] +
                      (g * size / word.columns + i) * word.bytes;
      std::uint64_t value = 0;
      for (std::int64_t b = 0; b < word.bytes; ++b) value |= std::uint64_t{from[b]} << 8 * b;
      const std::uint64_t length = static_cast<std::uint64_t>(word.bytes) * 8;
      for (std::int64_t c = 0; c < word.columns; ++c) {
        const auto at = static_cast<std::uint64_t>(bits * (2 * c + row % 2));
        std::uint64_t window = value >> at;
        if (length - at < 6) window |= value << (length - at);  // around the end
        *out++ = unit * static_cast<float>(table[window & 63]);
      }
    }
  }
}

}  // namespace krait
