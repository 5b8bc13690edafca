// AVX-512 with VNNI. Nothing but intrinsics and the contract is included, and everything but the
// table has internal linkage, so that no code for this instruction set escapes from this file.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/linear/linear_kernels.h"
#include "kernels/linear/transpose_avx512.h"

namespace krait {
namespace {

std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
std::int64_t larger(std::int64_t a, std::int64_t b) { return a < b ? b : a; }

__mmask16 first(std::int64_t n) {
  return static_cast<__mmask16>(n >= 16 ? 0xffffu : (1u << n) - 1u);
}

// ---- int8 -------------------------------------------------------------------------------------
// vpdpbusd multiplies unsigned by signed bytes: x is stored as x + 128 (the sign bit flipped), and
// 128 * row_sum is taken off again at the end. Everything is exact modulo 2^32.

void prepare_i8(const std::int8_t* x, std::int64_t cols, std::uint8_t* out, std::int64_t padded) {
  const __m512i sign = _mm512_set1_epi8(-128);
  for (std::int64_t k = 0; k < padded; k += 64) {
    const std::int64_t have = cols - k, room = padded - k;
    const __mmask64 in = have >= 64 ? ~0ull : have > 0 ? (1ull << have) - 1 : 0;
    const __mmask64 to = room >= 64 ? ~0ull : (1ull << room) - 1;
    const __m512i bytes = _mm512_maskz_loadu_epi8(in, x + k);
    _mm512_mask_storeu_epi8(out + k, to, _mm512_xor_si512(bytes, sign));
  }
}

void pack_i8(const I8Rows& p) {
  const __m512i ones = _mm512_set1_epi8(1);
  const std::int64_t cols4 = (p.cols + 3) / 4;
  __m512i sum = _mm512_setzero_si512();
  for (std::int64_t j = 0; j < cols4; j += 16) {
    __m512i x[16];
    load_columns(p.q, p.cols, p.rows, 4 * j, 0, x);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      if (i < cols4 - j) _mm512_storeu_si512(p.tiles + (j + i) * 64, x[i]);
      sum = _mm512_dpbusd_epi32(sum, ones, x[i]);
    }
  }
  _mm512_storeu_si512(p.row_sum, sum);
}

/// Into the first-level cache.
void prefetch_l1(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
/// Into the second-level cache.
void prefetch_l2(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }

/// Four consecutive bytes of one token, for all 16 rows.
__m512i broadcast4(const std::uint8_t* x) {
  std::int32_t four;
  __builtin_memcpy(&four, x, 4);
  return _mm512_set1_epi32(four);
}

/// C tokens times R rows of tiles, while bringing `next` closer at next_step bytes per tile. The
/// columns are taken U tiles at a time into sums of their own: few tokens leave the multipliers
/// waiting for each other otherwise.
template <int R, int C, int U>
void tile_product(const I8Product& p, std::int64_t tile_row, std::int64_t token,
                  const std::int8_t* next, std::int64_t next_step) {
  const std::int64_t tile_stride = p.cols4 * 64;
  const std::int8_t* w = p.tiles + tile_row * tile_stride;
  // Tokens are addressed from one pointer in four, which leaves few of them to keep in registers.
  const std::uint8_t* x[3];
  for (int i = 0; i < 3; ++i) x[i] = p.x + (token + (4 * i < C ? 4 * i : 0)) * p.x_stride;

  // Without the pragmas g++ keeps the sums in memory.
  __m512i sum[U][R][C];
#pragma GCC unroll 16
  for (int u = 0; u < U; ++u) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int c = 0; c < C; ++c) sum[u][r][c] = _mm512_setzero_si512();
    }
  }
  std::int64_t j = 0;
  for (; j + U <= p.cols4; j += U) {
#pragma GCC unroll 16
    for (int u = 0; u < U; ++u) {
      __m512i tile[R];
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) tile[r] = _mm512_loadu_si512(w + r * tile_stride + (j + u) * 64);
      if constexpr (R == 1) {
        prefetch_l1(next);
      } else {
        prefetch_l2(next);
        prefetch_l2(next + 64);
      }
      next += next_step;
#pragma GCC unroll 16
      for (int c = 0; c < C; ++c) {
        const __m512i bytes = broadcast4(x[c / 4] + (c % 4) * p.x_stride + (j + u) * 4);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          sum[u][r][c] = _mm512_dpbusd_epi32(sum[u][r][c], bytes, tile[r]);
        }
      }
    }
  }
  __m512i total[R][C];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int c = 0; c < C; ++c) {
      total[r][c] = sum[0][r][c];
#pragma GCC unroll 16
      for (int u = 1; u < U; ++u) total[r][c] = _mm512_add_epi32(total[r][c], sum[u][r][c]);
    }
  }
  for (; j < p.cols4; ++j) {
    for (int r = 0; r < R; ++r) {
      const __m512i tile = _mm512_loadu_si512(w + r * tile_stride + j * 64);
      for (int c = 0; c < C; ++c) {
        const __m512i bytes = broadcast4(x[c / 4] + (c % 4) * p.x_stride + j * 4);
        total[r][c] = _mm512_dpbusd_epi32(total[r][c], bytes, tile);
      }
    }
  }

  for (int r = 0; r < R; ++r) {
    const std::int64_t row = (tile_row + r) * 16;
    const __mmask16 rows = first(p.rows - row);
    const __m512i shift = _mm512_slli_epi32(_mm512_loadu_si512(p.row_sum + row), 7);
    const __m512 w_scale =
        p.w_scale_step ? _mm512_maskz_loadu_ps(rows, p.w_scale + row) : _mm512_set1_ps(*p.w_scale);
    const __m512 bias = p.bias ? _mm512_maskz_loadu_ps(rows, p.bias + row) : _mm512_setzero_ps();
    for (int c = 0; c < C; ++c) {
      const __m512 x_scale = _mm512_set1_ps(p.x_scale[(token + c) * p.x_scale_step]);
      const __m512i exact = _mm512_sub_epi32(total[r][c], shift);
      __m512 y = _mm512_mul_ps(_mm512_cvtepi32_ps(exact), _mm512_mul_ps(x_scale, w_scale));
      if (p.bias) y = _mm512_add_ps(y, bias);  // adding 0 instead would turn -0 into +0
      _mm512_mask_storeu_ps(p.y + (token + c) * p.y_stride + row, rows, y);
    }
  }
}

using TileProduct = void (*)(const I8Product&, std::int64_t tile_row, std::int64_t token,
                             const std::int8_t* next, std::int64_t next_step);

constexpr std::int64_t kTokens = 12;  // 2 x 12 sums, 2 tiles and one x fill the registers
constexpr TileProduct kOneRow[kTokens + 1] = {nullptr,
                                              tile_product<1, 1, 8>,
                                              tile_product<1, 2, 4>,
                                              tile_product<1, 3, 2>,
                                              tile_product<1, 4, 2>,
                                              tile_product<1, 5, 2>,
                                              tile_product<1, 6, 2>,
                                              tile_product<1, 7, 1>,
                                              tile_product<1, 8, 1>,
                                              tile_product<1, 9, 1>,
                                              tile_product<1, 10, 1>,
                                              tile_product<1, 11, 1>,
                                              tile_product<1, 12, 1>};
constexpr TileProduct kTwoRows[kTokens + 1] = {nullptr,
                                               tile_product<2, 1, 4>,
                                               tile_product<2, 2, 2>,
                                               tile_product<2, 3, 2>,
                                               tile_product<2, 4, 1>,
                                               tile_product<2, 5, 1>,
                                               tile_product<2, 6, 1>,
                                               tile_product<2, 7, 1>,
                                               tile_product<2, 8, 1>,
                                               tile_product<2, 9, 1>,
                                               tile_product<2, 10, 1>,
                                               tile_product<2, 11, 1>,
                                               tile_product<2, 12, 1>};

void product_i8(const I8Product& p) {
  const std::int64_t tile_rows = (p.rows + 15) / 16, tile_row_bytes = p.cols4 * 64;
  const std::int64_t blocks = (p.tokens + kTokens - 1) / kTokens;
  // Few tokens wait for memory, which is read fastest as a single stream: prefetch a fixed distance
  // ahead, across pages. Many work on two rows of tiles; the next two arrive in the meantime, each
  // block of tokens fetching its share.
  const bool few = p.tokens <= 4;
  for (std::int64_t i = 0; i < tile_rows;) {
    const std::int64_t used = few || i + 1 == tile_rows ? 1 : 2;
    const TileProduct* kernels = used == 1 ? kOneRow : kTwoRows;
    const std::int8_t* tiles = p.tiles + i * tile_row_bytes;
    for (std::int64_t b = 0, token = 0; b < blocks; ++b) {  // blocks of equal size, or one more
      const std::int64_t end = p.tokens * (b + 1) / blocks;
      const std::int8_t* next =
          used == 1 ? tiles + 4096 : tiles + (2 * blocks + 2 * b) * tile_row_bytes / blocks;
      kernels[end - token](p, i, token, next, used * 64 / blocks);
      token = end;
    }
    i += used;
  }
}

/// A column of a tile row is the same byte in each of the 16 words of a line.
void product_outliers(const I8Outliers& p) {
  for (std::int64_t row = 0; row < p.rows; row += 16) {
    const std::int8_t* tiles = p.tiles + row * p.cols4 * 4;
    __m512 o = _mm512_setzero_ps();
    for (std::int64_t i = 0; i < p.count; ++i) {
      const std::int64_t k = p.outliers[i].column;
      const __m512i line = _mm512_loadu_si512(tiles + k / 4 * 64);
      const __m128i up = _mm_cvtsi32_si128(static_cast<int>(24 - k % 4 * 8));
      const __m512i q = _mm512_srai_epi32(_mm512_sll_epi32(line, up), 24);
      o = _mm512_fmadd_ps(_mm512_set1_ps(p.outliers[i].value), _mm512_cvtepi32_ps(q), o);
    }
    const __mmask16 rows = first(p.rows - row);
    const __m512 w_scale =
        p.w_scale_step ? _mm512_maskz_loadu_ps(rows, p.w_scale + row) : _mm512_set1_ps(*p.w_scale);
    const __m512 y = _mm512_maskz_loadu_ps(rows, p.y + row);
    _mm512_mask_storeu_ps(p.y + row, rows, _mm512_fmadd_ps(o, w_scale, y));
  }
}

// ---- float ------------------------------------------------------------------------------------

struct F32 {
  static constexpr std::int64_t size = 4;
  static __m512 load(const unsigned char* w) { return _mm512_loadu_ps(w); }
  static __m512 load(const unsigned char* w, __mmask16 k) { return _mm512_maskz_loadu_ps(k, w); }
};
struct F16 {
  static constexpr std::int64_t size = 2;
  static __m512 load(const unsigned char* w) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(w)));
  }
  static __m512 load(const unsigned char* w, __mmask16 k) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(k, w));
  }
};
struct BF16 {
  static constexpr std::int64_t size = 2;
  static __m512 widen(__m256i h) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
  }
  static __m512 load(const unsigned char* w) {
    return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(w)));
  }
  static __m512 load(const unsigned char* w, __mmask16 k) {
    return widen(_mm256_maskz_loadu_epi16(k, w));
  }
};

/// The tree of linear.h over the 16 lanes of four sums at once.
__m128 sum_lanes(__m512 a, __m512 b, __m512 c, __m512 d) {
  // + 8: [a 0..7, b 0..7], [c 0..7, d 0..7]
  const __m512 ab =
      _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
  const __m512 cd =
      _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
  // + 4: [a 0..3, b 0..3, c 0..3, d 0..3]
  __m512 all =
      _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
  all = _mm512_add_ps(all, _mm512_permute_ps(all, 0x4e));  // + 2
  all = _mm512_add_ps(all, _mm512_permute_ps(all, 0xb1));  // + 1
  return _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, all));
}

/// Columns [begin, end) of a product, a multiple of 16 but for the last. What the lanes hold after
/// one slice waits in `lanes` for the next.
struct Slice {
  std::int64_t begin, end;
  float* lanes;  // 16 for each pair of the block at hand
};

// What one thread reads while a line is on its way from memory: rows are asked for that early.
constexpr std::int64_t kAhead = 4096;

/// R rows times C tokens, each pair with its own 16 lanes.
template <typename W, int R, int C>
void row_product(const FloatProduct& p, std::int64_t row, std::int64_t token, const Slice& slice) {
  static_assert(R == 1 || R == 4);
  const std::int64_t row_bytes = p.cols * W::size;
  const unsigned char* w = static_cast<const unsigned char*>(p.w) + row * row_bytes;
  const std::int64_t ahead = larger(R * row_bytes, kAhead / (R * row_bytes) * (R * row_bytes));
  const float* x = p.x + token * p.x_stride;
  __m512 sum[R][C];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      sum[r][c] =
          slice.begin == 0 ? _mm512_setzero_ps() : _mm512_loadu_ps(slice.lanes + (r * C + c) * 16);
    }
  }
  std::int64_t k = slice.begin;
  for (; k + 16 <= slice.end; k += 16) {
    __m512 w_k[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) w_k[r] = W::load(w + r * row_bytes + k * W::size);
    if constexpr (R > 1) {  // the next rows arrive in the meantime
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) prefetch_l2(w + ahead + r * row_bytes + k * W::size);
    }
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      const __m512 x_k = _mm512_loadu_ps(x + c * p.x_stride + k);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) sum[r][c] = _mm512_fmadd_ps(x_k, w_k[r], sum[r][c]);
    }
  }
  if (slice.end < p.cols) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) _mm512_storeu_ps(slice.lanes + (r * C + c) * 16, sum[r][c]);
    }
    return;
  }
  if (k < p.cols) {
    const __mmask16 rest = first(p.cols - k);
    __m512 w_k[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) w_k[r] = W::load(w + r * row_bytes + k * W::size, rest);
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      const __m512 x_k = _mm512_maskz_loadu_ps(rest, x + c * p.x_stride + k);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) sum[r][c] = _mm512_fmadd_ps(x_k, w_k[r], sum[r][c]);
    }
  }
#pragma GCC unroll 8
  for (int c = 0; c < C; ++c) {
    float* y = p.y + (token + c) * p.y_stride + row;
    if constexpr (R == 4) {
      __m128 total = sum_lanes(sum[0][c], sum[1][c], sum[2][c], sum[3][c]);
      if (p.bias) total = _mm_add_ps(total, _mm_loadu_ps(p.bias + row));
      _mm_storeu_ps(y, total);
    } else {
      const __m128 total = sum_lanes(sum[0][c], sum[0][c], sum[0][c], sum[0][c]);
      *y = p.bias ? _mm_cvtss_f32(total) + p.bias[row] : _mm_cvtss_f32(total);
    }
  }
}

constexpr std::int64_t kFloatTokens = 6;  // 4 x 6 sums, 4 weights and one x fill the registers

template <typename W, int R>
constexpr void (*kRowProduct[kFloatTokens + 1])(const FloatProduct&, std::int64_t row,
                                                std::int64_t token,
                                                const Slice&) = {nullptr,
                                                                 row_product<W, R, 1>,
                                                                 row_product<W, R, 2>,
                                                                 row_product<W, R, 3>,
                                                                 row_product<W, R, 4>,
                                                                 row_product<W, R, 5>,
                                                                 row_product<W, R, 6>};

/// Many tokens take long rows in slices: those of x stay in the first-level cache while the rows of
/// a chunk come from the second. The lanes between two slices cost less.
template <typename W>
void product_float(const FloatProduct& p) {
  constexpr std::int64_t kChunk = 32, kDepth = 768;
  alignas(64) float lanes[kChunk * kFloatTokens * 16];
  const std::int64_t blocks = (p.tokens + kFloatTokens - 1) / kFloatTokens;
  const std::int64_t slices = blocks == 1 ? 1 : (p.cols + kDepth - 1) / kDepth;
  const std::int64_t depth = ((p.cols + slices - 1) / slices + 15) / 16 * 16;
  const std::int64_t chunk = slices == 1 ? p.rows : kChunk;
  for (std::int64_t chunk_begin = 0; chunk_begin < p.rows; chunk_begin += chunk) {
    const std::int64_t chunk_end = smaller(p.rows, chunk_begin + chunk);
    for (std::int64_t b = 0, token = 0; b < blocks; ++b) {
      const std::int64_t tokens = p.tokens * (b + 1) / blocks - token;
      for (std::int64_t k = 0; k < p.cols; k += depth) {
        Slice slice{k, smaller(p.cols, k + depth), lanes};
        std::int64_t row = chunk_begin;
        for (; row + 4 <= chunk_end; row += 4) {
          kRowProduct<W, 4>[tokens](p, row, token, slice);
          if (slices > 1) slice.lanes += 4 * tokens * 16;
        }
        for (; row < chunk_end; ++row) {
          kRowProduct<W, 1>[tokens](p, row, token, slice);
          if (slices > 1) slice.lanes += tokens * 16;
        }
      }
      token += tokens;
    }
  }
}

}  // namespace

constinit const LinearKernels linear_avx512 = {
    .prepare_i8 = prepare_i8,
    .pack_i8 = pack_i8,
    .i8 = product_i8,
    .i8_outliers = product_outliers,
    .f32 = product_float<F32>,
    .f16 = product_float<F16>,
    .bf16 = product_float<BF16>,
};

}  // namespace krait
