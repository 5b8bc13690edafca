#include "kernels/linear/linear.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "kernels/cpu_operations.h"
#include "kernels/linear/linear4_kernels.h"
#include "kernels/linear/linear_codes.h"
#include "kernels/linear/linear_codes_kernels.h"
#include "kernels/linear/linear_kernels.h"
#include "kernels/quantize/quantize.h"

namespace krait {
namespace {

constexpr std::int64_t kRowGrain = 32;  // two rows of tiles: what the kernels like at a time
constexpr std::int64_t kTokenGrain = 12;

// int8 outputs are made in chunks of this size in f32, which stay in cache until quantized.
constexpr std::int64_t kRowChunk = 64;
constexpr std::int64_t kTokenChunk = 96;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Integers that lie as on disk.
bool is_unpacked(const Weight& weight) {
  return !is_float(weight.data.dtype()) && !weight.packed && !weight.packed4 &&
         !weight.packed_codes;
}

/// Room for some rows of an unpacked weight as the kernels read them.
struct PackedRows {
  std::uint8_t* bytes = nullptr;    // tiles or lines
  std::int32_t* row_sum = nullptr;  // int8
};

/// Bytes of 16 packed rows.
std::int64_t packed_stride(const Weight& weight) {
  if (weight.is_coded()) return packed_codes_stride(weight);
  if (weight.data.dtype() == DType::i8) return ceil_div(weight.cols(), 4) * 64;
  return (weight.cols() / 8 + ceil_div(weight.cols() / weight.group_size, 2)) * 64;
}

/// Rows [begin, end) of the weight; begin is a multiple of 16.
void pack_rows(const Context& ctx, const Weight& weight, std::int64_t begin, std::int64_t end,
               const PackedRows& to) {
  const std::int64_t stride = packed_stride(weight), cols = weight.cols();
  for (std::int64_t row = begin; row < end; row += 16) {
    const std::int64_t rows = std::min<std::int64_t>(16, end - row);
    std::uint8_t* bytes = to.bytes + (row - begin) / 16 * stride;
    const auto* data = static_cast<const char*>(weight.data.view().data);
    if (weight.is_coded()) {
      pack_code_rows(weight, row, bytes);
    } else if (weight.is_4bit()) {
      const auto* scales = static_cast<const char*>(weight.scale.view().data);
      ctx.kernels.linear4->pack({.words = data + row * cols / 2,
                                 .scales = scales + row * (cols / weight.group_size) * 2,
                                 .rows = rows,
                                 .cols = cols,
                                 .group = weight.group_size,
                                 .lines = bytes});
    } else {
      ctx.kernels.linear->pack_i8({.q = reinterpret_cast<const std::int8_t*>(data) + row * cols,
                                   .rows = rows,
                                   .cols = cols,
                                   .tiles = reinterpret_cast<std::int8_t*>(bytes),
                                   .row_sum = to.row_sum + row - begin});
    }
  }
}

/// How the product [tokens, rows] is dealt out to threads: whole rows of the weight or tokens.
struct Partition {
  bool by_tokens;
  std::int64_t grain;
};

/// Bytes of `n` weights, without scales.
double bytes_of(const Weight& weight, double n) {
  if (weight.is_coded()) return n * weight.code_bits / 8;
  return weight.is_4bit() ? n / 2 : n * static_cast<double>(size_of(weight.data.dtype()));
}

Partition partition(const ThreadPool& threads, const Weight& weight, const Activation& x) {
  // Waking a thread costs about a microsecond: each must get several. One thread streams about 40
  // bytes of weights per nanosecond from memory and does a few hundred multiplications in it.
  constexpr double kNanosecondsPerThread = 2000;
  const double elements = static_cast<double>(weight.rows()) * static_cast<double>(weight.cols());
  const bool integers =
      weight.data.dtype() == DType::i8 || (!is_float(weight.data.dtype()) && x.dtype == DType::i8);
  const std::int64_t tokens = x.rows;
  const double ns = bytes_of(weight, elements) / 40 +
                    elements * static_cast<double>(tokens) / (integers ? 400 : 60);
  const std::int64_t useful = std::clamp<std::int64_t>(
      static_cast<std::int64_t>(ns / kNanosecondsPerThread), 1, threads.threads());

  // The longest share decides the time; rows are preferred, as then each weight is read once.
  const auto share = [&](std::int64_t n, std::int64_t grain) {
    const std::int64_t longest = ceil_div(ceil_div(n, grain), useful) * grain;
    return std::pair(static_cast<double>(std::min(longest, n)) / static_cast<double>(n), longest);
  };
  const auto [row_cost, row_share] = share(weight.rows(), tokens < kTokenGrain ? 16 : kRowGrain);
  const auto [token_cost, token_share] = share(tokens, kTokenGrain);
  if (token_cost < 0.95 * row_cost && !is_unpacked(weight)) return {true, token_share};
  return {false, row_share};
}

/// Rows of the weight that stay in a core's second-level cache while all tokens pass by.
std::int64_t row_chunk_of(const Weight& weight) {
  constexpr double kCacheBytes = 1 << 18;
  const double row_bytes = bytes_of(weight, static_cast<double>(weight.cols()));
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(kCacheBytes / row_bytes) / 32 * 32, 32,
                                  kRowChunk);
}

/// A block of the product in f32: rows [begin, end) of the weight, all tokens of x.
struct Block {
  std::int64_t row_begin, row_end;
  std::int64_t token_begin, token_end;
};

/// x as the microkernels want it.
struct Input {
  int digits = 1;                       // i8 weight, f32 x: 2 rows for each token, high and low
  const std::uint8_t* bytes = nullptr;  // i8 weight: prepared rows; in groups: i8 x as it is
  const std::int32_t* x_sum = nullptr;  // in groups: see Linear4Kernels::group_sums
  const float* values = nullptr;        // float weight, or 4-bit weight and float x
  std::int64_t stride = 0;
  const float* scale = nullptr;
  std::int64_t scale_step = 0;
  const Outlier* outliers = nullptr;  // i8 weight: of split rows
  const std::int32_t* outlier_count = nullptr;
};

/// Bytes from row to row: an odd number of cache lines, or rows a power of two apart would compete
/// for the same sets.
std::int64_t row_stride(std::int64_t cols) { return (ceil_div(cols, 64) | 1) * 64; }

Input prepare_i8(Context& ctx, const Weight& weight, const Activation& x) {
  const std::int64_t padded = ceil_div(weight.cols(), 4) * 4, stride = row_stride(padded);
  std::uint8_t* bytes = ctx.arena.take<std::uint8_t>(x.rows * stride);
  ctx.threads.parallel_for(x.rows, ceil_div(std::int64_t{1} << 17, stride),
                           [&](std::int64_t begin, std::int64_t end, int) {
                             for (std::int64_t t = begin; t < end; ++t) {
                               ctx.kernels.linear->prepare_i8(x.i8(t), x.cols, bytes + t * stride,
                                                              padded);
                             }
                           });
  return {.bytes = bytes,
          .stride = stride,
          .scale = x.scale,
          .scale_step = x.strategy == Strategy::token ? 1 : 0,
          .outliers = x.outliers,
          .outlier_count = x.outlier_count};
}

/// f32 x of an i8 weight: rows 2 t and 2 t + 1 are the digits of token t.
Input prepare_digits(Context& ctx, const Weight& weight, const Activation& x) {
  const std::int64_t padded = ceil_div(weight.cols(), 4) * 4, stride = row_stride(padded);
  std::uint8_t* bytes = ctx.arena.take<std::uint8_t>(2 * x.rows * stride);
  float* scale = ctx.arena.take<float>(2 * x.rows);
  std::int8_t* room = ctx.arena.take<std::int8_t>(ctx.threads.threads() * 2 * x.cols);
  ctx.threads.parallel_for(
      x.rows, ceil_div(std::int64_t{1} << 15, x.cols),
      [&](std::int64_t begin, std::int64_t end, int thread) {
        std::int8_t* const high = room + thread * 2 * x.cols;
        std::int8_t* const low = high + x.cols;
        for (std::int64_t t = begin; t < end; ++t) {
          const float most = ctx.kernels.quantize->absmax(x.f32(t), x.cols);
          const float step = most < 1e-30f ? 1.0f : most / 32639.0f;
          ctx.kernels.quantize->digits(x.f32(t), step, high, low, x.cols);
          ctx.kernels.linear->prepare_i8(high, x.cols, bytes + 2 * t * stride, padded);
          ctx.kernels.linear->prepare_i8(low, x.cols, bytes + (2 * t + 1) * stride, padded);
          scale[2 * t] = 256.0f * step;
          scale[2 * t + 1] = step;
        }
      });
  return {.digits = 2, .bytes = bytes, .stride = stride, .scale = scale, .scale_step = 1};
}

Input prepare_groups(Context& ctx, const Weight& weight, const Activation& x) {
  const std::int64_t group = weight.group_size, groups = weight.cols() / group;
  const std::int64_t stride = row_stride(x.cols);
  std::uint8_t* bytes = ctx.arena.take<std::uint8_t>(x.rows * stride);
  std::int32_t* sums = ctx.arena.take<std::int32_t>(x.rows * groups);
  ctx.threads.parallel_for(
      x.rows, ceil_div(std::int64_t{1} << 17, stride),
      [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t t = begin; t < end; ++t) {
          std::memcpy(bytes + t * stride, x.i8(t), static_cast<std::size_t>(x.cols));
          ctx.kernels.linear4->group_sums(x.i8(t), x.cols, group, sums + t * groups);
        }
      });
  return {.bytes = bytes,
          .x_sum = sums,
          .stride = stride,
          .scale = x.scale,
          .scale_step = x.strategy == Strategy::token ? 1 : 0};
}

Input prepare_f32(Context& ctx, const Activation& x) {
  // Rows a multiple of 4 KB apart would compete for the same lines of the first-level cache.
  const bool crowded = x.rows > kTokenGrain && x.stride % 512 == 0;
  if (x.dtype == DType::f32 && !crowded) return {.values = x.f32(), .stride = x.stride};
  const std::int64_t stride = (ceil_div(x.cols, 16) | 1) * 16;
  float* values = ctx.arena.take<float>(x.rows * stride);
  ctx.threads.parallel_for(x.rows, ceil_div(std::int64_t{1} << 15, x.cols),
                           [&](std::int64_t begin, std::int64_t end, int) {
                             for (std::int64_t t = begin; t < end; ++t) {
                               load_row(*ctx.kernels.quantize, x, t, 0, x.cols,
                                        values + t * stride);
                             }
                           });
  return {.values = values, .stride = stride};
}

Input prepare(Context& ctx, const Weight& weight, const Activation& x) {
  if (weight.data.dtype() == DType::i8) {
    return x.dtype == DType::i8 ? prepare_i8(ctx, weight, x) : prepare_digits(ctx, weight, x);
  }
  const bool in_groups = weight.is_4bit() || weight.is_coded();
  return in_groups && x.dtype == DType::i8 ? prepare_groups(ctx, weight, x) : prepare_f32(ctx, x);
}

void multiply_4bit(const Linear4Kernels& kernels, const Weight& weight, const PackedRows& own,
                   const Input& x, const Block& b, const float* bias, float* y,
                   std::int64_t y_stride) {
  const std::int64_t cols = weight.cols(), groups = cols / weight.group_size;
  const PackedI4* packed = weight.packed4.get();
  const std::int64_t stride = packed ? packed->lines.shape()[1] * 64 : packed_stride(weight);
  const std::uint8_t* lines =
      packed ? packed->lines.as<std::uint8_t>().data() + b.row_begin / 16 * stride : own.bytes;
  const I4Rows rows{.lines = lines,
                    .stride = stride,
                    .scale_is_f32 = packed && packed->scale_is_f32,
                    .rows = b.row_end - b.row_begin,
                    .cols = cols,
                    .group = weight.group_size};
  const std::int64_t tokens = b.token_end - b.token_begin;
  if (x.values) {
    kernels.f32({.w = rows,
                 .x = x.values + b.token_begin * x.stride,
                 .x_stride = x.stride,
                 .tokens = tokens,
                 .bias = bias,
                 .y = y,
                 .y_stride = y_stride});
  } else {
    kernels.i8({.w = rows,
                .x = reinterpret_cast<const std::int8_t*>(x.bytes) + b.token_begin * x.stride,
                .x_stride = x.stride,
                .x_sum = x.x_sum + b.token_begin * groups,
                .tokens = tokens,
                .x_scale = x.scale + b.token_begin * x.scale_step,
                .x_scale_step = x.scale_step,
                .bias = bias,
                .y = y,
                .y_stride = y_stride});
  }
}

void multiply_codes(const LinearCodesKernels& kernels, const Weight& weight, const PackedRows& own,
                    const Input& x, const Block& b, const float* bias, float* y,
                    std::int64_t y_stride) {
  const PackedCodes* packed = weight.packed_codes.get();
  const std::int64_t stride = packed_stride(weight);
  const CodedRows rows{
      .lines =
          packed ? packed->lines.as<std::uint8_t>().data() + b.row_begin / 16 * stride : own.bytes,
      .stride = stride,
      .table = weight.table.as<std::int8_t>().data(),
      .bits = weight.code_bits,
      .rows = b.row_end - b.row_begin,
      .cols = weight.cols(),
      .group = weight.group_size};
  kernels.i8({.w = rows,
              .x = reinterpret_cast<const std::int8_t*>(x.bytes) + b.token_begin * x.stride,
              .x_stride = x.stride,
              .x_sum = x.x_sum + b.token_begin * (weight.cols() / weight.group_size),
              .tokens = b.token_end - b.token_begin,
              .x_scale = x.scale + b.token_begin * x.scale_step,
              .x_scale_step = x.scale_step,
              .bias = bias,
              .y = y,
              .y_stride = y_stride});
}

/// Adds the outliers' part to a block of an int8 product.
void add_outliers(const LinearKernels& kernels, const Weight& weight, const Input& x,
                  const I8Product& done, const Block& b) {
  for (std::int64_t t = b.token_begin; t < b.token_end; ++t) {
    if (x.outlier_count[t] == 0) continue;
    kernels.i8_outliers({.tiles = done.tiles,
                         .rows = done.rows,
                         .cols4 = done.cols4,
                         .outliers = x.outliers + t * weight.cols(),
                         .count = x.outlier_count[t],
                         .w_scale = done.w_scale,
                         .w_scale_step = done.w_scale_step,
                         .y = done.y + (t - b.token_begin) * done.y_stride});
  }
}

/// One block into f32 memory, whose tokens are rows of the input, one for each digit; the bias is
/// added where they are whole tokens. `own` holds the block's rows if the weight is not packed.
void multiply(const Context& ctx, const Weight& weight, const PackedRows& own, const Input& x,
              const Block& b, float* y, std::int64_t y_stride) {
  const LinearKernels& kernels = *ctx.kernels.linear;
  const std::int64_t rows = b.row_end - b.row_begin, tokens = b.token_end - b.token_begin;
  const bool has_bias = !weight.bias.empty() && x.digits == 1;
  const float* bias = has_bias ? weight.bias.as<float>().data() + b.row_begin : nullptr;
  if (weight.is_4bit()) {
    multiply_4bit(*ctx.kernels.linear4, weight, own, x, b, bias, y, y_stride);
    return;
  }
  if (weight.is_coded()) {
    multiply_codes(*ctx.kernels.linear_codes, weight, own, x, b, bias, y, y_stride);
    return;
  }
  if (weight.data.dtype() == DType::i8) {
    const std::int64_t cols4 = ceil_div(weight.cols(), 4);
    const std::int64_t w_step = weight.strategy == Strategy::channel ? 1 : 0;
    const PackedI8* packed = weight.packed.get();
    const I8Product block{
        .tiles = packed ? packed->tiles.as<std::int8_t>().data() + b.row_begin * cols4 * 4
                        : reinterpret_cast<const std::int8_t*>(own.bytes),
        .row_sum = packed ? packed->row_sum.data() + b.row_begin : own.row_sum,
        .rows = rows,
        .cols4 = cols4,
        .x = x.bytes + b.token_begin * x.stride,
        .x_stride = x.stride,
        .tokens = tokens,
        .x_scale = x.scale + b.token_begin * x.scale_step,
        .x_scale_step = x.scale_step,
        .w_scale = weight.scale.as<float>().data() + b.row_begin * w_step,
        .w_scale_step = w_step,
        .bias = bias,
        .y = y,
        .y_stride = y_stride};
    kernels.i8(block);
    if (x.outliers) add_outliers(kernels, weight, x, block, b);
    return;
  }
  const DType dtype = weight.data.dtype();
  const FloatProduct product{
      .w = static_cast<const char*>(weight.data.view().data) +
           b.row_begin * weight.cols() * static_cast<std::int64_t>(size_of(dtype)),
      .rows = rows,
      .cols = weight.cols(),
      .x = x.values + b.token_begin * x.stride,
      .x_stride = x.stride,
      .tokens = tokens,
      .bias = bias,
      .y = y,
      .y_stride = y_stride};
  switch (dtype) {
    case DType::f32:
      kernels.f32(product);
      break;
    case DType::f16:
      kernels.f16(product);
      break;
    default:
      kernels.bf16(product);
      break;
  }
}

/// Adds the rows of a token's two digits into the first, then the bias. y [2 tokens, rows].
void join_digits(const Weight& weight, const Block& b, float* y) {
  const std::int64_t rows = b.row_end - b.row_begin;
  const float* bias = weight.bias.empty() ? nullptr : weight.bias.as<float>().data() + b.row_begin;
  for (std::int64_t t = 0; t < b.token_end - b.token_begin; ++t) {
    float* const high = y + 2 * t * rows;
    for (std::int64_t r = 0; r < rows; ++r) high[r] += high[rows + r];
    for (std::int64_t r = 0; bias && r < rows; ++r) high[r] += bias[r];
  }
}

/// f32 y, or i8 y with static scales, which need no more of the row than the block at hand.
void product(Context& ctx, const Weight& weight, const Activation& x, const Activation& y) {
  const Input input = prepare(ctx, weight, x);
  const Partition split = partition(ctx.threads, weight, x);
  constexpr std::int64_t kChunk = kRowChunk * kTokenChunk;
  const bool in_chunks = y.dtype == DType::i8 || input.digits == 2;
  float* chunks = in_chunks ? ctx.arena.take<float>(ctx.threads.threads() * kChunk) : nullptr;
  const bool unpacked = is_unpacked(weight);
  const std::int64_t packed_bytes = kRowChunk / 16 * (unpacked ? packed_stride(weight) : 0);
  PackedRows room;
  if (unpacked) {
    room = {ctx.arena.take<std::uint8_t>(ctx.threads.threads() * packed_bytes),
            ctx.arena.take<std::int32_t>(ctx.threads.threads() * kRowChunk)};
  }
  // Many tokens: a few rows of the weight at a time, which then stay in cache for all of them.
  const std::int64_t inputs = x.rows * input.digits, token_chunk = kTokenChunk / input.digits;
  const std::int64_t few = in_chunks ? kChunk / inputs / 32 * 32 : weight.rows();
  const std::int64_t row_chunk = inputs <= 4 && !unpacked ? few : row_chunk_of(weight);
  const auto run = [&](std::int64_t begin, std::int64_t end, int thread) {
    Block whole{0, weight.rows(), 0, x.rows};
    (split.by_tokens ? whole.token_begin : whole.row_begin) = begin;
    (split.by_tokens ? whole.token_end : whole.row_end) = end;
    const PackedRows own{room.bytes + thread * packed_bytes, room.row_sum + thread * kRowChunk};
    for (Block b = whole; b.row_begin < whole.row_end; b.row_begin = b.row_end) {
      b.row_end = std::min(whole.row_end, b.row_begin + row_chunk);
      if (unpacked) pack_rows(ctx, weight, b.row_begin, b.row_end, own);
      if (!in_chunks) {
        float* target = const_cast<Activation&>(y).f32(b.token_begin) + b.row_begin;
        multiply(ctx, weight, own, input, b, target, y.stride);
        continue;
      }
      const std::int64_t rows = b.row_end - b.row_begin;
      const Activation part = y.columns(b.row_begin, b.row_end);
      float* const chunk = chunks + thread * kChunk;
      for (b.token_begin = whole.token_begin; b.token_begin < whole.token_end;
           b.token_begin = b.token_end) {
        b.token_end = std::min(whole.token_end, b.token_begin + token_chunk);
        const Block of_inputs{b.row_begin, b.row_end, b.token_begin * input.digits,
                              b.token_end * input.digits};
        multiply(ctx, weight, own, input, of_inputs, chunk, rows);
        if (input.digits == 2) join_digits(weight, b, chunk);
        for (std::int64_t t = b.token_begin; t < b.token_end; ++t) {
          store_row(*ctx.kernels.quantize, chunk + (t - b.token_begin) * input.digits * rows, part,
                    t);
        }
      }
      b.token_begin = whole.token_begin;
      b.token_end = whole.token_end;
    }
  };
  ctx.threads.parallel_for(split.by_tokens ? x.rows : weight.rows(), split.grain, run);
}

}  // namespace

void cpu::linear(Context& ctx, const Weight& weight, const Activation& x, const Activation& y) {
  assert(x.cols == weight.cols() && y.cols == weight.rows() && x.rows == y.rows);
  assert(x.dtype == DType::f32 || (x.dtype == DType::i8 && x.scale));
  assert(is_float(weight.data.dtype()) || x.dtype == DType::f32 ||
         (x.strategy != Strategy::channel && x.strategy != Strategy::group));
  assert(weight.data.dtype() != DType::i8 || weight.strategy == Strategy::tensor ||
         weight.strategy == Strategy::channel);
  assert(!weight.is_4bit() || !x.outliers);
  assert(!weight.is_coded() || (x.dtype == DType::i8 && !x.outliers));
  assert(!weight.is_4bit() || weight.packed4 || weight.scale.dtype() == DType::bf16);
  if (x.rows == 0) return;
  if (ctx.tap) ctx.tap->product(weight, x);
  const Arena::Scope scope(ctx.arena);
  if (y.dtype == DType::i8 && y.dynamic) {
    const Activation whole = f32_activation(ctx.arena.take<float>(y.rows * y.cols), y.rows, y.cols);
    product(ctx, weight, x, whole);
    cpu::quantize(ctx, whole, y);
  } else {
    product(ctx, weight, x, y);
  }
}

}  // namespace krait
