// The product of codes that are decoded into memory, where that takes many instructions: a group of
// columns of some rows goes through the first-level cache once for many tokens. Included by one
// file per level; as pure as linear_avx512.cc.
#pragma once

#include <cstdint>
#include <utility>

#include "kernels/linear/linear_codes_kernels.h"

namespace krait {
namespace {

/// One group of 16 or 32 rows, decoded, and the tokens that it is multiplied with.
struct GroupBlock {
  const std::int8_t* tiles;    // of 16 rows by 4 columns
  std::int64_t tile_stride;    // bytes from 16 rows to the next 16
  std::int64_t columns;        // a multiple of 16
  const std::uint8_t* scales;  // bf16 [16]
  std::int64_t scale_stride;   // bytes from 16 rows to the next 16
  const std::int8_t* x;
  std::int64_t x_stride;
  const std::int32_t* x_sum;
  std::int64_t x_sum_stride;
  float* y;  // [tokens, rows of tiles, 16], added to
};

constexpr std::int64_t kTokenChunk = 64;  // that a group is decoded for at a time

/// Where group g of 16 rows lies: the line of scales is that of two groups.
const std::uint8_t* scales_of(const CodedRows& w, std::int64_t tile_row, std::int64_t g) {
  return w.lines + tile_row * w.stride + g / 2 * (64 + 4 * w.bits * w.group) + g % 2 * 32;
}
const std::uint8_t* words_of(const CodedRows& w, std::int64_t tile_row, std::int64_t g) {
  return scales_of(w, tile_row, g - g % 2) + 64 + g % 2 * 2 * w.bits * w.group;
}

/// True if values depend on the lowest 4 bits of their indices only, as those of integers do: a
/// lookup of 16 will do.
bool repeats(const std::int8_t* table) { return __builtin_memcmp(table, table + 16, 48) == 0; }

using Multiply = void (*)(const GroupBlock&);

/// multiply[c] takes c + 1 tokens.
template <typename Level, int R, int... c>
constexpr void multiply_some(const GroupBlock& block, std::int64_t tokens,
                             std::integer_sequence<int, c...>) {
  constexpr Multiply kMultiply[] = {Level::template multiply<R, c + 1>...};
  kMultiply[tokens - 1](block);
}

using Decode = void (*)(const std::uint8_t* words, std::int64_t columns, const std::int8_t* table,
                        std::int8_t* tiles);
template <typename Level, int values>
constexpr Decode decode_of(int bits) {
  return bits == 2   ? Level::template decode<2, values>
         : bits == 3 ? Level::template decode<3, values>
                     : Level::template decode<4, values>;
}

/// R rows of tiles from tile_row on times tokens [begin, end), at most kTokenChunk.
template <typename Level, int R>
void tile_rows_product(const CodesProduct& p, std::int64_t tile_row, std::int64_t begin,
                       std::int64_t end) {
  alignas(64) std::int8_t tiles[R * 16 * kMaxCodeGroup];
  alignas(64) float y[kTokenChunk * R * 16];
  for (std::int64_t i = 0; i < (end - begin) * R * 16; ++i) y[i] = 0;
  const std::int64_t group = p.w.group, groups = p.w.cols / group;
  const std::int64_t blocks = (end - begin + Level::kTokens - 1) / Level::kTokens;
  const auto decode =
      repeats(p.w.table) ? decode_of<Level, 16>(p.w.bits) : decode_of<Level, 64>(p.w.bits);
  for (std::int64_t g = 0; g < groups; ++g) {
    for (std::int64_t r = 0; r < R; ++r) {
      decode(words_of(p.w, tile_row + r, g), group, p.w.table, tiles + r * 16 * group);
    }
    for (std::int64_t b = 0, token = begin; b < blocks; ++b) {  // of equal size, or one more
      const std::int64_t stop = begin + (end - begin) * (b + 1) / blocks;
      const GroupBlock block{.tiles = tiles,
                             .tile_stride = 16 * group,
                             .columns = group,
                             .scales = scales_of(p.w, tile_row, g),
                             .scale_stride = p.w.stride,
                             .x = p.x + token * p.x_stride + g * group,
                             .x_stride = p.x_stride,
                             .x_sum = p.x_sum + token * groups + g,
                             .x_sum_stride = groups,
                             .y = y + (token - begin) * R * 16};
      multiply_some<Level, R>(block, stop - token,
                              std::make_integer_sequence<int, Level::kTokens>());
      token = stop;
    }
  }
  for (std::int64_t token = begin; token < end; ++token) {
    for (std::int64_t r = 0; r < R; ++r) {
      Level::finish(p, token, (tile_row + r) * 16, y + ((token - begin) * R + r) * 16);
    }
  }
}

/// Level: what differs, see linear_codes_avx2.h.
template <typename Level>
void product_of_decoded(const CodesProduct& p) {
  const std::int64_t tile_rows = (p.w.rows + 15) / 16;
  for (std::int64_t i = 0; i < tile_rows;) {
    const bool all = i + Level::kTileRows <= tile_rows;
    for (std::int64_t token = 0; token < p.tokens; token += kTokenChunk) {
      const std::int64_t end = token + kTokenChunk < p.tokens ? token + kTokenChunk : p.tokens;
      (all ? tile_rows_product<Level, Level::kTileRows> : tile_rows_product<Level, 1>)(p, i, token,
                                                                                       end);
    }
    i += all ? Level::kTileRows : 1;
  }
}

}  // namespace
}  // namespace krait
