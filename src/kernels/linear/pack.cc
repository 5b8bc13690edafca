#include <algorithm>
#include <bit>
#include <cstring>

#include "core/float16.h"
#include "kernels/cpu_operations.h"
#include "kernels/linear/linear.h"
#include "kernels/linear/linear_codes.h"

namespace krait {
namespace {

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

void pack_i8(Context& ctx, Weight& weight) {
  const std::int64_t rows = weight.rows(), cols = weight.cols();
  const std::int64_t tile_rows = ceil_div(rows, 16), cols4 = ceil_div(cols, 4);
  auto packed = std::make_shared<PackedI8>();
  packed->tiles = Tensor(DType::i8, {tile_rows, cols4, 16, 4});
  packed->row_sum.resize(static_cast<std::size_t>(tile_rows * 16));
  const std::int8_t* q = weight.data.as<std::int8_t>().data();
  std::int8_t* tiles = packed->tiles.mutable_as<std::int8_t>().data();
  std::int32_t* row_sum = packed->row_sum.data();
  const auto pack_rows = [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin * 16; row < std::min(rows, end * 16); ++row) {
      const std::int8_t* from = q + row * cols;
      std::int8_t* to = tiles + row / 16 * cols4 * 64 + row % 16 * 4;
      for (std::int64_t j = 0; j < cols / 4; ++j) std::memcpy(to + j * 64, from + j * 4, 4);
      for (std::int64_t k = cols / 4 * 4; k < cols; ++k) to[k / 4 * 64 + k % 4] = from[k];
      std::int32_t sum = 0;
      for (std::int64_t k = 0; k < cols; ++k) sum += from[k];
      row_sum[row] = sum;
    }
  };
  ctx.threads.parallel_for(tile_rows, ceil_div(1 << 16, cols * 16), pack_rows);
  weight.packed = std::move(packed);
}

/// Four half bytes, the lowest first, to the low halves of four bytes.
std::uint32_t spread(std::uint32_t halves) {
  halves = (halves | halves << 8) & 0x00ff00ffu;
  return (halves | halves << 4) & 0x0f0f0f0fu;
}

bool is_bf16(float value) { return (std::bit_cast<std::uint32_t>(value) & 0xffffu) == 0; }

void pack_i4(Context& ctx, Weight& weight) {
  const std::int64_t rows = weight.rows(), words = weight.cols() / 8;
  const std::int64_t group_lines = weight.group_size / 8, groups = words / group_lines;
  const Tensor scale = to_f32(weight.scale.view());
  const float* scales = scale.as<float>().data();
  auto packed = std::make_shared<PackedI4>();
  packed->scale_is_f32 = !std::ranges::all_of(scale.as<float>(), is_bf16);
  const std::int64_t together = packed->scale_is_f32 ? 1 : 2;
  const std::int64_t tile_rows = ceil_div(rows, 16), lines = words + ceil_div(groups, together);
  packed->lines = Tensor(DType::u8, {tile_rows, lines, 64});
  const auto* from = static_cast<const char*>(weight.data.view().data);  // at any address
  std::uint8_t* to = packed->lines.mutable_as<std::uint8_t>().data();

  const auto pack_row = [&](std::int64_t row) {
    std::uint8_t* line = to + row / 16 * lines * 64;
    const std::int64_t r = row % 16;
    for (std::int64_t g = 0; g < groups; ++g) {
      if (g % together == 0) line += 64;
      std::uint8_t* scale_line = line - (g % together * group_lines + 1) * 64;
      const float s = row < rows ? scales[row * groups + g] : 1.0F;
      const std::uint16_t half = f32_to_bf16(s);
      if (packed->scale_is_f32) {
        std::memcpy(scale_line + r * 4, &s, 4);
      } else {
        std::memcpy(scale_line + (g % 2 * 16 + r) * 2, &half, 2);
      }
      for (std::int64_t i = 0; i < group_lines; ++i, line += 64) {
        std::uint32_t word = 0x88888888u;  // zeros
        if (row < rows) std::memcpy(&word, from + (row * words + g * group_lines + i) * 4, 4);
        const std::uint32_t bytes = spread(word & 0xffffu) | spread(word >> 16) << 4;
        std::memcpy(line + r * 4, &bytes, 4);
      }
    }
  };
  ctx.threads.parallel_for(tile_rows, ceil_div(1 << 16, words * 8 * 16),
                           [&](std::int64_t begin, std::int64_t end, int) {
                             for (std::int64_t r = begin * 16; r < end * 16; ++r) pack_row(r);
                           });
  weight.packed4 = std::move(packed);
}

}  // namespace

void cpu::pack(Context& ctx, Weight& weight) {
  if (weight.data.dtype() == DType::i8) pack_i8(ctx, weight);
  if (weight.is_4bit()) pack_i4(ctx, weight);
  if (weight.is_coded()) pack_codes(ctx, weight);
}

}  // namespace krait
