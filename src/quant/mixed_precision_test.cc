#include "quant/mixed_precision.h"

#include <gtest/gtest.h>

#include "io/test_support.h"
#include "krait/error.h"
#include "models/test_support.h"
#include "quant/plan.h"

namespace krait {
namespace {

class MixedPrecisionTest : public testing::Test {
 protected:
  /// A made-up loss: what the model keeps less of costs, in_proj of layer 1 a hundred times as
  /// much.
  double loss_of(const QuantizedModel& model) {
    ++measured_;
    double loss = 0.5;  // of the inputs
    for (const TensorInfo& tensor : model.tensors->list()) {
      const std::size_t at = tensor.name.find(".weight_codes");
      const bool is_packed = tensor.name.ends_with(".weight_packed");
      if (at == std::string::npos && !is_packed) continue;
      const auto bytes = static_cast<double>(tensor.shape.elements() * size_of(tensor.dtype));
      loss += (tensor.name.find("layers.1.mixer.in_proj") != std::string::npos ? 100 : 1) / bytes;
    }
    return loss;
  }
  MixedPrecision mix(double bits) {
    measured_ = 0;
    return mix_precision(
        source_, recipe_, {.widths = {2, 3, 4}, .bits = bits},
        [&](const QuantizedModel& model) { return loss_of(model); }, threads_);
  }

  ThreadPool threads_{2};
  TestCheckpoint original_ = tiny_mamba({.D = 32, .E = 64});
  Checkpoint source_{"tiny", original_.config, nullptr, original_.source()};
  Recipe recipe_ =
      fit_recipe(load_recipe("krait-w3a8"), describe_model(source_.config, *source_.tensors));
  std::size_t measured_ = 0;
};

TEST_F(MixedPrecisionTest, SizesAreThoseOfTheRecipeThatItWrites) {
  const MixedPrecision mixed = mix(5);
  EXPECT_EQ(measured_, 1 + 3 * mixed.products.size());
  const Recipe written = parse_recipe(mixed.recipe, "mixed");
  EXPECT_EQ(written.name, "krait-w3a8-mixed");
  const QuantizationPlan plan = plan_quantization(written, source_.config, *source_.tensors);
  EXPECT_EQ(static_cast<std::size_t>(mixed.bytes), plan.output_bytes());
  EXPECT_DOUBLE_EQ(mixed.bits_per_weight, 8 * static_cast<double>(mixed.bytes) /
                                              static_cast<double>(plan.layout.info.parameters));
  EXPECT_LE(mixed.bits_per_weight, 5);
  double loss = 0;
  for (const MixedProduct& product : mixed.products) {
    loss += product.widths[product.chosen].loss;
    const WeightRule* rule = written.find_weight(product.name, product.role);
    ASSERT_NE(rule, nullptr);
    EXPECT_EQ(rule->args.bits, 2 + static_cast<int>(product.chosen)) << product.name;
  }
  EXPECT_DOUBLE_EQ(mixed.loss, loss);
}

TEST_F(MixedPrecisionTest, BitsGoWhereTheyAreWorthMost) {
  const MixedPrecision many = mix(16), few = mix(many.bits_per_weight - 0.3);
  EXPECT_LT(many.loss, few.loss);
  for (const MixedProduct& product : many.products) EXPECT_EQ(product.chosen, 2u) << product.name;
  std::size_t narrowed = 0;
  for (const MixedProduct& product : few.products) {
    if (product.name.ends_with("layers.1.mixer.in_proj")) EXPECT_EQ(product.chosen, 2u);
    narrowed += product.chosen < 2 ? 1 : 0;
  }
  EXPECT_GT(narrowed, 0u);
}

TEST_F(MixedPrecisionTest, WhatCannotBeIsRefusedBeforeAnythingIsMeasured) {
  const auto refuse = [&](const std::function<void()>& action,
                          std::initializer_list<std::string> parts) {
    expect_error(action, ErrorCode::invalid_argument, parts);
    EXPECT_EQ(measured_, 0u);
  };
  refuse([&] { mix(1); }, {"1.00 bits per weight are too few", "2 bits everywhere tiny takes"});
  const LossFn loss = [&](const QuantizedModel& model) { return loss_of(model); };
  refuse(
      [&] {
        mix_precision(source_, recipe_, {.widths = {3, 8}}, loss, threads_);
      },
      {"2, 3 and 4 bits", "3,8"});
  const Recipe plain =
      fit_recipe(load_recipe("krait-w8a8"), describe_model(source_.config, *source_.tensors));
  refuse([&] { mix_precision(source_, plain, {}, loss, threads_); },
         {"krait-w8a8", "no weights in groups"});
}

}  // namespace
}  // namespace krait
