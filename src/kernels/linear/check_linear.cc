#include <algorithm>
#include <cmath>
#include <span>

#include "core/check.h"
#include "kernels/linear/linear.h"
#include "kernels/linear/linear_codes_kernels.h"

namespace krait {
namespace {

/// Refuses scales that are not finite and above 0.
void check_values(const Tensor& scale, const std::string& name) {
  const Tensor values = to_f32(scale.view());
  std::int64_t i = 0;
  for (const float value : values.as<float>()) {
    check(std::isfinite(value) && value > 0, ErrorCode::bad_data,
          "{}: expected finite scales above 0, got {} at {}", name, value, i);
    ++i;
  }
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
  check_values(weight.scale, name);
}

void check_groups(const Weight& weight, const std::string& name) {
  check(weight.strategy == Strategy::group, ErrorCode::unsupported,
        "{}: no kernel has 4-bit weights with {} scales; choices: group", name,
        name_of(weight.strategy));
  const std::int64_t cols = weight.cols(), group = weight.group_size;
  check(group >= 8 && group % 8 == 0 && cols % group == 0, ErrorCode::bad_data,
        "{}: expected groups of a multiple of 8 that divides {} columns, got {}", name, cols,
        group);
  const Shape expected{weight.rows(), cols / group};
  check(!weight.scale.empty() && is_float(weight.scale.dtype()) && weight.scale.shape() == expected,
        ErrorCode::bad_data, "{}: expected group scales of shape F32, F16 or BF16 {}, got {} {}",
        name, expected.str(), name_of(weight.scale.dtype()),
        weight.scale.empty() ? "nothing" : weight.scale.shape().str());
  check_values(weight.scale, name);
}

void check_codes(const Weight& weight, const std::string& name) {
  const int bits = weight.code_bits;
  check(bits >= 2 && bits <= 4, ErrorCode::unsupported,
        "{}: no kernel has codes of {} bits; choices: 2, 3, 4", name, bits);
  check(weight.strategy == Strategy::group, ErrorCode::unsupported,
        "{}: no kernel has codes with {} scales; choices: group", name, name_of(weight.strategy));
  check(!weight.scale.empty() && weight.scale.dtype() == DType::bf16 &&
            weight.scale.shape().rank() == 2 && weight.scale.shape()[0] > 0,
        ErrorCode::bad_data, "{}: expected group scales of shape BF16 [rows, groups], got {} {}",
        name, name_of(weight.scale.dtype()),
        weight.scale.empty() ? "nothing" : weight.scale.shape().str());
  const std::int64_t rows = weight.rows(), cols = weight.cols(), group = weight.group_size;
  check(group >= 16 && group % 16 == 0 && group <= kMaxCodeGroup, ErrorCode::unsupported,
        "{}: no kernel has codes in groups of {}; choices: multiples of 16 up to {}", name, group,
        kMaxCodeGroup);
  check(cols % group == 0 && weight.scale.shape()[1] == cols / group, ErrorCode::bad_data,
        "{}: expected scales for {} columns in groups of {}, got {}", name, cols, group,
        weight.scale.shape().str());
  const Shape expected{(rows + 1) / 2, cols * bits / 4};
  check(weight.data.shape() == expected, ErrorCode::bad_data,
        "{}: expected codes of {} bits of shape U8 {}, got U8 {}", name, bits, expected.str(),
        weight.data.shape().str());
  check(!weight.table.empty() && weight.table.dtype() == DType::i8 &&
            weight.table.shape() == Shape{64},
        ErrorCode::bad_data, "{}: expected a table of shape I8 [64], got {} {}", name,
        name_of(weight.table.dtype()),
        weight.table.empty() ? "nothing" : weight.table.shape().str());
  const std::span<const std::int8_t> table = weight.table.as<std::int8_t>();
  const auto bad = std::ranges::find(table, std::int8_t{-128});
  check(bad == table.end(), ErrorCode::bad_data,
        "{}: expected a table of values in [-127, 127], got -128 at {}", name, bad - table.begin());
  check_values(weight.scale, name);
}

}  // namespace

void check_linear(const Weight& weight, const std::string& name) {
  const Shape& shape = weight.data.shape();
  check(!weight.data.empty() && shape.rank() == 2 && shape[0] > 0 && shape[1] > 0,
        ErrorCode::bad_data, "{}: expected a matrix [outputs, inputs], got {}", name, shape.str());
  if (weight.is_coded()) check_codes(weight, name);
  check(weight.bias.empty() ||
            (weight.bias.dtype() == DType::f32 && weight.bias.shape() == Shape{weight.rows()}),
        ErrorCode::bad_data, "{}: expected a bias of shape F32 [{}], got {} {}", name,
        weight.rows(), name_of(weight.bias.dtype()), weight.bias.shape().str());
  if (is_float(weight.data.dtype()) || weight.is_coded()) return;
  if (weight.is_4bit()) {
    check_groups(weight, name);
    return;
  }
  check(weight.data.dtype() == DType::i8, ErrorCode::unsupported,
        "{}: no kernel has {} weights; choices: F32, F16, BF16, I8, I32 (4 bits), "
        "U8 (codes)",
        name, name_of(weight.data.dtype()));
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

}  // namespace krait
