#include "quant/convert.h"

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
