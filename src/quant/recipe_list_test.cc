#include "quant/recipe_list.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "krait/quantize.h"
#include "models/test_attention.h"
#include "quant/plan.h"

namespace krait {
namespace {

TEST(RecipeList, SaysWhatEachIsFor) {
  const std::vector<RecipeSummary> all = list_recipes();
  EXPECT_EQ(all.size(), recipe_names().size());
  const auto of = [&](const std::string& name) {
    return *std::ranges::find(all, name, &RecipeSummary::name);
  };
  for (const RecipeSummary& summary : all) {
    EXPECT_FALSE(summary.families.empty()) << summary.name;
    EXPECT_GT(summary.bits_per_weight, 1.5) << summary.name;
    EXPECT_LT(summary.bits_per_weight, 33) << summary.name;
  }
  EXPECT_NEAR(of("f16").bits_per_weight, 16, 0.1);
  EXPECT_NEAR(of("krait-w8a8").bits_per_weight, 8.2, 0.3);
  EXPECT_FALSE(of("krait-w8a8").needs_calibration);
  EXPECT_TRUE(of("krait-w4a8").needs_calibration);
  EXPECT_EQ(of("rtn-w4a8").folder, "baselines");
  EXPECT_EQ(of("octav-w8a8").folder, "ablations");
  const std::vector<std::string> quamba = of("quamba-w8a8").families;
  EXPECT_NE(std::ranges::find(quamba, "mamba"), quamba.end());
  EXPECT_EQ(std::ranges::find(quamba, "gpt_neox"), quamba.end());
}

TEST(QuantizedBytes, AreThoseThatAreWritten) {
  const TestCheckpoint checkpoint = tiny_mamba({.D = 32, .E = 80});
  const ModelLayout layout = layout_of(checkpoint);
  for (const char* name : {"quamba-w8a8", "krait-w4a8", "krait-ternary"}) {
    QuantizationPlan plan =
        plan_quantization(load_recipe(name), checkpoint.config, *checkpoint.source());
    std::size_t floats = 0;  // f32 here, f16 in shapes alone
    for (const TensorPlan& tensor : plan.tensors) {
      if (!tensor.integers && tensor.dtype == DType::f32) {
        floats += static_cast<std::size_t>(tensor.shape.elements());
      }
    }
    EXPECT_EQ(quantized_bytes(load_recipe(name), layout), plan.output_bytes() - 2 * floats) << name;
    EXPECT_TRUE(quantized_bytes_by_kind(load_recipe(name), layout).contains("product"));
  }
}

}  // namespace
}  // namespace krait
