#include "kernels/linear/linear.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>

#include "core/check.h"
#include "core/float16.h"
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

/// How the product [tokens, rows] is dealt out to threads: whole rows of the weight or tokens.
struct Partition {
  bool by_tokens;
  std::int64_t grain;
};

Partition partition(const ThreadPool& threads, const Weight& weight, std::int64_t tokens) {
  // Waking a thread costs about a microsecond: each must get several. One thread streams about 40
  // bytes of weights per nanosecond from memory and does a few hundred multiplications in it.
  constexpr double kNanosecondsPerThread = 2000;
  const double elements = static_cast<double>(weight.rows()) * static_cast<double>(weight.cols());
  const double bytes = elements * static_cast<double>(size_of(weight.data.dtype()));
  const double rate = weight.data.dtype() == DType::i8 ? 400 : 60;
  const double ns = bytes / 40 + elements * static_cast<double>(tokens) / rate;
  const std::int64_t useful = std::clamp<std::int64_t>(
      static_cast<std::int64_t>(ns / kNanosecondsPerThread), 1, threads.threads());

  // The longest share decides the time; rows are preferred, as then each weight is read once.
  const auto share = [&](std::int64_t n, std::int64_t grain) {
    const std::int64_t longest = ceil_div(ceil_div(n, grain), useful) * grain;
    return std::pair(static_cast<double>(std::min(longest, n)) / static_cast<double>(n), longest);
  };
  const auto [row_cost, row_share] = share(weight.rows(), tokens < kTokenGrain ? 16 : kRowGrain);
  const auto [token_cost, token_share] = share(tokens, kTokenGrain);
  if (token_cost < 0.95 * row_cost) return {true, token_share};
  return {false, row_share};
}

/// Rows of the weight that stay in a core's second-level cache while all tokens pass by.
std::int64_t row_chunk_of(const Weight& weight) {
  constexpr std::int64_t kCacheBytes = std::int64_t{1} << 18;
  const std::int64_t row_bytes =
      weight.cols() * static_cast<std::int64_t>(size_of(weight.data.dtype()));
  return std::clamp<std::int64_t>(kCacheBytes / row_bytes / 32 * 32, 32, kRowChunk);
}

/// A block of the product in f32: rows [begin, end) of the weight, all tokens of x.
struct Block {
  std::int64_t row_begin, row_end;
  std::int64_t token_begin, token_end;
};

/// x as the microkernels want it.
struct Input {
  const std::uint8_t* bytes = nullptr;  // i8 weight: prepared rows
  const float* values = nullptr;        // float weight
  std::int64_t stride = 0;
  const float* scale = nullptr;
  std::int64_t scale_step = 0;
};

Input prepare_i8(Context& ctx, const Weight& weight, const Activation& x) {
  const std::int64_t padded = ceil_div(weight.cols(), 4) * 4;
  // An odd number of cache lines, or rows a power of two apart would compete for the same sets.
  const std::int64_t stride = (ceil_div(padded, 64) | 1) * 64;
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

/// One block into f32 memory.
void multiply(const LinearKernels& kernels, const Weight& weight, const Input& x, const Block& b,
              float* y, std::int64_t y_stride) {
  const std::int64_t rows = b.row_end - b.row_begin, tokens = b.token_end - b.token_begin;
  const float* bias = weight.bias.empty() ? nullptr : weight.bias.as<float>().data() + b.row_begin;
  if (weight.data.dtype() == DType::i8) {
    const std::int64_t cols4 = ceil_div(weight.cols(), 4);
    const std::int64_t w_step = weight.strategy == Strategy::channel ? 1 : 0;
    kernels.i8({.tiles = weight.packed->tiles.as<std::int8_t>().data() + b.row_begin * cols4 * 4,
                .row_sum = weight.packed->row_sum.data() + b.row_begin,
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
                .y_stride = y_stride});
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

/// f32 y, or i8 y with static scales, which need no more of the row than the block at hand.
void product(Context& ctx, const Weight& weight, const Activation& x, const Activation& y) {
  const LinearKernels& kernels = *ctx.kernels.linear;
  const Input input =
      weight.data.dtype() == DType::i8 ? prepare_i8(ctx, weight, x) : prepare_f32(ctx, x);
  const Partition split = partition(ctx.threads, weight, x.rows);
  float* chunks = nullptr;
  if (y.dtype == DType::i8) {
    chunks = ctx.arena.take<float>(ctx.threads.threads() * kRowChunk * kTokenChunk);
  }
  const auto run = [&](std::int64_t begin, std::int64_t end, int thread) {
    Block whole{0, weight.rows(), 0, x.rows};
    (split.by_tokens ? whole.token_begin : whole.row_begin) = begin;
    (split.by_tokens ? whole.token_end : whole.row_end) = end;
    // Many tokens: a few rows of the weight at a time, which then stay in cache for all of them.
    const std::int64_t row_chunk = x.rows <= 4 && !chunks ? weight.rows() : row_chunk_of(weight);
    const std::int64_t token_chunk = chunks ? kTokenChunk : x.rows;
    for (Block b = whole; b.row_begin < whole.row_end; b.row_begin = b.row_end) {
      b.row_end = std::min(whole.row_end, b.row_begin + row_chunk);
      for (b.token_begin = whole.token_begin; b.token_begin < whole.token_end;
           b.token_begin = b.token_end) {
        b.token_end = std::min(whole.token_end, b.token_begin + token_chunk);
        if (!chunks) {
          float* target = const_cast<Activation&>(y).f32(b.token_begin) + b.row_begin;
          multiply(kernels, weight, input, b, target, y.stride);
          continue;
        }
        float* chunk = chunks + thread * kRowChunk * kTokenChunk;
        multiply(kernels, weight, input, b, chunk, kRowChunk);
        const Activation part = y.columns(b.row_begin, b.row_end);
        for (std::int64_t t = b.token_begin; t < b.token_end; ++t) {
          store_row(*ctx.kernels.quantize, chunk + (t - b.token_begin) * kRowChunk, part, t);
        }
      }
    }
  };
  ctx.threads.parallel_for(split.by_tokens ? x.rows : weight.rows(), split.grain, run);
}

void check_scales(const Weight& weight, const std::string& name) {
  Shape expected;
  switch (weight.strategy) {
    case Strategy::tensor:
      expected = {1};
      break;
    case Strategy::channel:
      expected = {weight.rows()};
      break;
    default:
      fail(ErrorCode::unsupported,
           "{}: no kernel has int8 weights with {} scales; choices: tensor, channel", name,
           name_of(weight.strategy));
  }
  check(!weight.scale.empty() && weight.scale.dtype() == DType::f32 &&
            weight.scale.shape() == expected,
        ErrorCode::bad_data, "{}: expected {} scales of shape F32 {}, got {} {}", name,
        name_of(weight.strategy), expected.str(), name_of(weight.scale.dtype()),
        weight.scale.empty() ? "nothing" : weight.scale.shape().str());
  std::int64_t i = 0;
  for (const float scale : weight.scale.as<float>()) {
    check(std::isfinite(scale) && scale > 0, ErrorCode::bad_data,
          "{}: expected finite scales above 0, got {} at {}", name, scale, i);
    ++i;
  }
}

}  // namespace

void check_linear(const Weight& weight, const std::string& name) {
  check(!weight.data.empty() && weight.data.shape().rank() == 2 && weight.rows() > 0 &&
            weight.cols() > 0,
        ErrorCode::bad_data, "{}: expected a matrix [outputs, inputs], got {}", name,
        weight.data.shape().str());
  check(weight.bias.empty() ||
            (weight.bias.dtype() == DType::f32 && weight.bias.shape() == Shape{weight.rows()}),
        ErrorCode::bad_data, "{}: expected a bias of shape F32 [{}], got {} {}", name,
        weight.rows(), name_of(weight.bias.dtype()), weight.bias.shape().str());
  if (is_float(weight.data.dtype())) return;
  check(weight.data.dtype() == DType::i8, ErrorCode::unsupported,
        "{}: no kernel has {} weights; choices: F32, F16, BF16, I8", name,
        name_of(weight.data.dtype()));
  // Beyond that many columns a sum of products -128 * 127 may leave int32.
  constexpr std::int64_t kMaxCols = 0x7fffffff / (128 * 127);
  check(weight.cols() <= kMaxCols, ErrorCode::unsupported,
        "{}: int8 products have at most {} inputs, got {}", name, kMaxCols, weight.cols());
  check_scales(weight, name);
  const std::span<const std::int8_t> q = weight.data.as<std::int8_t>();
  const auto bad = std::ranges::find(q, std::int8_t{-128});
  check(bad == q.end(), ErrorCode::bad_data,
        "{}: expected int8 weights in [-127, 127], got -128 in row {}, column {}", name,
        bad == q.end() ? 0 : (bad - q.begin()) / weight.cols(),
        bad == q.end() ? 0 : (bad - q.begin()) % weight.cols());
}

void pack(Context& ctx, Weight& weight) {
  if (weight.data.dtype() != DType::i8) return;
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

void linear(Context& ctx, const Weight& weight, const Activation& x, const Activation& y) {
  assert(x.cols == weight.cols() && y.cols == weight.rows() && x.rows == y.rows);
  assert(x.dtype == DType::f32 || (x.dtype == DType::i8 && x.scale));
  assert(is_float(weight.data.dtype()) ||
         (weight.data.dtype() == DType::i8 && weight.packed && x.dtype == DType::i8 &&
          x.strategy != Strategy::channel && x.strategy != Strategy::group &&
          (weight.strategy == Strategy::tensor || weight.strategy == Strategy::channel)));
  if (x.rows == 0) return;
  const Arena::Scope scope(ctx.arena);
  if (y.dtype == DType::i8 && y.dynamic) {
    const Activation whole = f32_activation(ctx.arena.take<float>(y.rows * y.cols), y.rows, y.cols);
    product(ctx, weight, x, whole);
    quantize(ctx, whole, y);
  } else {
    product(ctx, weight, x, y);
  }
}

void embedding(Context& ctx, const Weight& table, std::span<const std::int32_t> ids, float* out) {
  const std::int64_t cols = table.cols();
  const auto rows = [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) {
      const std::int64_t id = ids[static_cast<std::size_t>(t)];
      assert(id >= 0 && id < table.rows());
      float* row = out + t * cols;
      const std::byte* from = static_cast<const std::byte*>(table.data.view().data) +
                              id * cols * static_cast<std::int64_t>(size_of(table.data.dtype()));
      // Copied element by element, as a mapped table may lie at any address.
      const auto each = [&](auto element, auto&& widen) {
        for (std::int64_t k = 0; k < cols; ++k) {
          std::memcpy(&element, from + k * static_cast<std::int64_t>(sizeof element),
                      sizeof element);
          row[k] = widen(element);
        }
      };
      switch (table.data.dtype()) {
        case DType::f32:
          each(float{}, [](float w) { return w; });
          break;
        case DType::f16:
          each(std::uint16_t{}, f16_to_f32);
          break;
        case DType::bf16:
          each(std::uint16_t{}, bf16_to_f32);
          break;
        default: {
          const std::span<const float> scales = table.scale.as<float>();
          const float scale =
              scales[table.strategy == Strategy::channel ? static_cast<std::size_t>(id) : 0];
          each(std::int8_t{}, [&](std::int8_t q) { return scale * static_cast<float>(q); });
        }
      }
    }
  };
  ctx.threads.parallel_for(static_cast<std::int64_t>(ids.size()), ceil_div(1 << 14, cols), rows);
}

}  // namespace krait
