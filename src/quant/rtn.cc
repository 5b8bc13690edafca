#include "quant/rtn.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <vector>

#include "core/check.h"
#include "core/float16.h"
#include "quant/rotate.h"

namespace krait {
namespace {

using enum ErrorCode;

/// Pieces that one thread widens to f32 at a time: they stay in its cache.
constexpr std::int64_t kPiece = 4096;

void check_float(const TensorView& view, std::string_view name) {
  check(is_float(view.dtype), bad_data, "tensor {} has dtype {}, F32, F16 or BF16 is needed", name,
        name_of(view.dtype));
}

/// Elements [begin, begin + n) of a float tensor, widened exactly.
void load_floats(const TensorView& view, std::int64_t begin, std::int64_t n, float* out) {
  switch (view.dtype) {
    case DType::f16: {
      const auto* in = static_cast<const std::uint16_t*>(view.data) + begin;
      for (std::int64_t i = 0; i < n; ++i) out[i] = f16_to_f32(in[i]);
      break;
    }
    case DType::bf16: {
      const auto* in = static_cast<const std::uint16_t*>(view.data) + begin;
      for (std::int64_t i = 0; i < n; ++i) out[i] = bf16_to_f32(in[i]);
      break;
    }
    default: {
      const auto* in = static_cast<const float*>(view.data) + begin;
      std::copy(in, in + n, out);
    }
  }
}

/// max |x| of finite values; infinity or NaN give infinity.
float absmax(const float* x, std::int64_t n) {
  std::uint32_t largest = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    largest = std::max(largest, std::bit_cast<std::uint32_t>(x[i]) & 0x7fffffffu);
  }
  return std::bit_cast<float>(std::min(largest, 0x7f800000u));
}

float scale_of(float absmax) {
  return absmax < 1e-30f ? 1.0f : static_cast<float>(static_cast<double>(absmax) / 127);
}

void store_rounded(const float* x, float scale, std::int64_t n, std::int8_t* q) {
  for (std::int64_t i = 0; i < n; ++i) {
    q[i] = static_cast<std::int8_t>(std::clamp(std::nearbyint(x[i] / scale), -127.0f, 127.0f));
  }
}

/// fn(begin, n, values) for pieces of elements [begin, end), widened into `buffer`.
template <typename Fn>
void for_pieces(const TensorView& view, std::int64_t begin, std::int64_t end,
                std::vector<float>& buffer, Fn fn) {
  buffer.resize(kPiece);
  for (std::int64_t i = begin; i < end; i += kPiece) {
    const std::int64_t n = std::min(kPiece, end - i);
    load_floats(view, i, n, buffer.data());
    fn(i, n, buffer.data());
  }
}

void check_finite(bool finite, std::string_view name, std::string_view when) {
  check(finite, bad_data, "tensor {} contains NaN or an infinite value{}", name, when);
}

}  // namespace

QuantizedTensor quantize_rtn(ThreadPool& threads, const TensorView& view, Strategy strategy,
                             std::string_view name) {
  check_float(view, name);
  check(strategy == Strategy::tensor || strategy == Strategy::channel, invalid_argument,
        "tensor {}: strategy tensor or channel is needed, got {}", name, name_of(strategy));
  const std::int64_t elements = view.elements();
  const std::int64_t rows = view.shape.rank() > 1 ? view.shape[0] : 1;
  const std::int64_t cols = rows == 0 ? 0 : elements / rows;

  std::vector<float> row_max(static_cast<std::size_t>(rows));
  threads.parallel_for(rows, 1, [&](std::int64_t begin, std::int64_t end, int) {
    std::vector<float> buffer;
    for (std::int64_t r = begin; r < end; ++r) {
      float& largest = row_max[static_cast<std::size_t>(r)];
      for_pieces(view, r * cols, (r + 1) * cols, buffer,
                 [&](std::int64_t, std::int64_t n, const float* x) {
                   largest = std::max(largest, absmax(x, n));
                 });
    }
  });
  const float largest = row_max.empty() ? 0 : *std::max_element(row_max.begin(), row_max.end());
  check_finite(std::isfinite(largest), name, "");

  const bool by_row = strategy == Strategy::channel;
  QuantizedTensor result{Tensor(DType::i8, view.shape),
                         by_row ? Tensor(DType::f32, {rows, 1}) : Tensor(DType::f32, {1})};
  const std::span<float> scale = result.scale.mutable_as<float>();
  for (std::size_t i = 0; i < scale.size(); ++i) scale[i] = scale_of(by_row ? row_max[i] : largest);
  std::int8_t* q = result.q.mutable_as<std::int8_t>().data();
  threads.parallel_for(rows, 1, [&](std::int64_t begin, std::int64_t end, int) {
    std::vector<float> buffer;
    for (std::int64_t r = begin; r < end; ++r) {
      const float s = scale[by_row ? static_cast<std::size_t>(r) : 0];
      for_pieces(
          view, r * cols, (r + 1) * cols, buffer,
          [&](std::int64_t i, std::int64_t n, const float* x) { store_rounded(x, s, n, q + i); });
    }
  });
  return result;
}

QuantizedTensor quantize_rtn_parts(ThreadPool& threads, const TensorView& view,
                                   std::span<const std::int64_t> parts, std::string_view name) {
  check_float(view, name);
  const std::int64_t rows = view.shape[0], per_row = rows == 0 ? 0 : view.elements() / rows;
  QuantizedTensor result{Tensor(DType::i8, view.shape), Tensor(DType::f32, {rows, 1})};
  std::int64_t begin = 0;
  for (const std::int64_t count : parts) {
    const std::size_t offset = static_cast<std::size_t>(begin * per_row) * size_of(view.dtype);
    const TensorView part{
        static_cast<const std::byte*>(view.data) + offset, view.dtype, {count, per_row}};
    const QuantizedTensor quantized = quantize_rtn(threads, part, Strategy::tensor, name);
    std::ranges::copy(quantized.q.as<std::int8_t>(),
                      result.q.mutable_as<std::int8_t>().begin() + begin * per_row);
    std::fill_n(result.scale.mutable_as<float>().begin() + begin, count,
                quantized.scale.as<float>()[0]);
    begin += count;
  }
  check(begin == rows, invalid_argument, "tensor {}: parts of {} rows in all are needed, got {}",
        name, rows, begin);
  return result;
}

std::int64_t group_within(std::int64_t at_most, std::int64_t cols) {
  std::int64_t group = 1;
  while (group * 2 <= at_most && cols % (group * 2) == 0) group *= 2;
  return group;
}

namespace {

/// The scale of a group in bf16.
std::uint16_t scale_4bit(std::span<const float> w) {
  const auto [low, high] = std::minmax_element(w.begin(), w.end());
  const double step = std::max(static_cast<double>(*high) / 7.5, -static_cast<double>(*low) / 8.5);
  return f32_to_bf16(step < 1e-30 ? 1.0F : static_cast<float>(step));
}

/// Eight weights as one word, the first in the lowest bits.
std::int32_t word_4bit(const float* w, float scale) {
  std::uint32_t word = 0;
  for (int k = 0; k < 8; ++k) {
    const float q = std::clamp(std::nearbyint(w[k] / scale), -8.0F, 7.0F);
    word |= static_cast<std::uint32_t>(static_cast<int>(q) + 8) << (4 * k);
  }
  return static_cast<std::int32_t>(word);
}

}  // namespace

QuantizedTensor quantize_rtn_4bit(ThreadPool& threads, const TensorView& view, std::int64_t group,
                                  std::string_view name) {
  check_float(view, name);
  check(view.shape.rank() == 2 && group >= 8 && group % 8 == 0 && view.shape[1] % group == 0,
        invalid_argument, "tensor {} {} has no groups of {} columns", name, view.shape.str(),
        group);
  const std::int64_t rows = view.shape[0], cols = view.shape[1], groups = cols / group;
  QuantizedTensor result{Tensor(DType::i32, {rows, cols / 8}), Tensor(DType::bf16, {rows, groups})};
  std::int32_t* words = result.q.mutable_as<std::int32_t>().data();
  std::uint16_t* scales = result.scale.mutable_as<std::uint16_t>().data();
  std::atomic<bool> finite = true;
  threads.parallel_for(rows, 1, [&](std::int64_t begin, std::int64_t end, int) {
    std::vector<float> row(static_cast<std::size_t>(cols));
    for (std::int64_t r = begin; r < end; ++r) {
      load_floats(view, r * cols, cols, row.data());
      if (!std::isfinite(absmax(row.data(), cols))) {
        finite = false;
        continue;
      }
      for (std::int64_t g = 0; g < groups; ++g) {
        const float* w = row.data() + g * group;
        std::uint16_t& half = scales[r * groups + g];
        half = scale_4bit({w, static_cast<std::size_t>(group)});
        for (std::int64_t k = 0; k < group; k += 8) {
          words[(r * cols + g * group + k) / 8] = word_4bit(w + k, bf16_to_f32(half));
        }
      }
    }
  });
  check_finite(finite, name, "");
  return result;
}

QuantizedTensor quantize_rtn_4bit_tensor(const TensorView& view, std::string_view name) {
  check_float(view, name);
  const int rank = view.shape.rank();
  check(rank == 2 && view.shape[1] % 8 == 0, invalid_argument,
        "tensor {} {} has no rows of a multiple of 8 columns", name, view.shape.str());
  std::vector<float> w(static_cast<std::size_t>(view.elements()));
  load_floats(view, 0, view.elements(), w.data());
  check_finite(std::isfinite(absmax(w.data(), view.elements())), name, "");
  const auto [least, largest] = std::minmax_element(w.begin(), w.end());
  const float low = *least;
  const double step = (static_cast<double>(*largest) - static_cast<double>(low)) / 15;
  const float scale = step < 1e-30 ? 1.0F : static_cast<float>(step);
  QuantizedTensor result{Tensor(DType::i32, {view.shape[0], view.shape[1] / 8}),
                         Tensor(DType::f32, {1}), Tensor(DType::f32, {1})};
  result.scale.mutable_as<float>()[0] = scale;
  result.zero_point.mutable_as<float>()[0] = -8 - low / scale;
  const std::span<std::int32_t> words = result.q.mutable_as<std::int32_t>();
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::uint32_t word = 0;
    for (std::size_t k = 0; k < 8; ++k) {
      const float q = std::clamp(std::nearbyint((w[8 * i + k] - low) / scale), 0.0F, 15.0F);
      word |= static_cast<std::uint32_t>(q) << (4 * k);
    }
    words[i] = static_cast<std::int32_t>(word);
  }
  return result;
}

Tensor convert_float(ThreadPool& threads, const Tensor& tensor, DType dtype,
                     std::string_view name) {
  const TensorView& view = tensor.view();
  check_float(view, name);
  check(is_float(dtype), invalid_argument, "tensor {}: cannot convert to {}", name, name_of(dtype));
  const bool same = view.dtype == dtype;
  Tensor result = same ? tensor : Tensor(dtype, view.shape);
  std::atomic<bool> finite_in = true, finite_out = true;
  threads.parallel_for(view.elements(), kPiece, [&](std::int64_t begin, std::int64_t end, int) {
    std::vector<float> buffer;
    for_pieces(view, begin, end, buffer, [&](std::int64_t i, std::int64_t n, float* x) {
      if (!std::isfinite(absmax(x, n))) finite_in = false;
      if (same) return;
      if (dtype == DType::f32) {
        std::copy(x, x + n, result.mutable_as<float>().data() + i);
        return;
      }
      std::uint16_t* out = result.mutable_as<std::uint16_t>().data() + i;
      for (std::int64_t k = 0; k < n; ++k) {
        out[k] = dtype == DType::f16 ? f32_to_f16(x[k]) : f32_to_bf16(x[k]);
      }
      load_floats(result.view(), i, n, x);
      if (!std::isfinite(absmax(x, n))) finite_out = false;
    });
  });
  check_finite(finite_in, name, "");
  check_finite(finite_out, name, fmt::format(" when it is stored as {}", name_of(dtype)));
  return result;
}

Tensor rotate_rows(ThreadPool& threads, const TensorView& view, std::int64_t block,
                   std::string_view name) {
  check_float(view, name);
  check(view.shape.rank() == 2 && view.shape[1] % block == 0, invalid_argument,
        "tensor {} {} cannot be rotated in blocks of {}", name, view.shape.str(), block);
  const std::int64_t rows = view.shape[0], cols = view.shape[1];
  Tensor result(DType::f32, view.shape);
  float* out = result.mutable_as<float>().data();
  std::atomic<bool> finite = true;
  threads.parallel_for(rows, 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin; r < end; ++r) {
      const std::span<float> row(out + r * cols, static_cast<std::size_t>(cols));
      load_floats(view, r * cols, cols, row.data());
      if (!std::isfinite(absmax(row.data(), cols))) finite = false;
      rotate_row(row, block);
    }
  });
  check_finite(finite, name, "");
  return result;
}

}  // namespace krait
