#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "kernels/linear/linear.h"

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
  if (weight.is_4bit()) {
    check_groups(weight, name);
    return;
  }
  check(weight.data.dtype() == DType::i8, ErrorCode::unsupported,
        "{}: no kernel has {} weights; choices: F32, F16, BF16, I8, I32 (4 bits)", name,
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

}  // namespace krait
