// What the loader guards: ids of padding rows, formats of scales, memory for experts.
#include <gtest/gtest.h>

#include <string>

#include "io/test_support.h"
#include "models/decoder.h"
#include "models/test_attention.h"
#include "models/test_int8.h"

namespace krait {
namespace {

class EveryFamily : public testing::TestWithParam<std::string> {
 protected:
  static TestCheckpoint checkpoint() {
    if (GetParam() == "mamba") return tiny_mamba();
    if (GetParam() == "mamba2") return tiny_mamba2();
    if (GetParam() == "neox") return tiny_neox();
    if (GetParam() == "jamba") return tiny_jamba();
    return tiny_bamba();
  }
};
INSTANTIATE_TEST_SUITE_P(Families, EveryFamily,
                         testing::Values("mamba", "mamba2", "neox", "jamba", "bamba"),
                         [](const auto& test) { return test.param; });

// Otherwise their ids would be sampled.
TEST_P(EveryFamily, KnowsRowsThatOnlyPadTheTable) {
  TestCheckpoint padded = checkpoint();
  const std::int64_t rows = layout_of(padded).info.vocab_rows;
  for (const std::int64_t size : {rows, rows - 11}) {
    padded.config["vocab_size"] = size;
    const ModelInfo info = layout_of(padded).info;
    EXPECT_EQ(info.vocab_size, size);
    EXPECT_EQ(info.vocab_rows, rows);
  }
}

TEST(Load, WantsScalesOfInt8InF32) {
  TestCheckpoint checkpoint =
      quantize_by_hand(tiny_mamba(), HandScheme::dynamic_token, random_ids(3, 20, 61));
  Tensor& scale = checkpoint.tensors.at("backbone.layers.0.mixer.in_proj.weight_scale");
  scale = test_tensor(scale.shape(), to_f32(scale.view()).as<float>(), DType::f16);
  expect_error([&] { layout_of(checkpoint); }, ErrorCode::bad_data,
               {"backbone.layers.0.mixer.in_proj.weight_scale should be F32 but is F16"});
}

/// How many of the experts' products had packed weights.
struct Packed final : Tap {
  int packed = 0, unpacked = 0;
  void observe(int, const Activation&) override {}
  void product(const Weight& weight, const Activation&) override {
    if (weight.name.find(".experts.") != std::string::npos) ++(weight.packed ? packed : unpacked);
  }
};

TEST(Experts, ArePackedOrNotAsAsked) {
  const auto ids = random_ids(3, 20, 61);
  const TestCheckpoint checkpoint =
      quantize_by_hand(tiny_jamba(), HandScheme::dynamic_token, ids);
  for (const bool wanted : {true, false}) {
    TestRuntime runtime;
    const auto model =
        load_model(runtime.ctx, checkpoint.config, *checkpoint.source(), {.packs_experts = wanted});
    Packed tap;
    runtime.ctx.tap = &tap;
    SequenceState state(model->state_layout());
    all_logits(runtime.ctx, *model, ids, state);
    EXPECT_EQ(tap.packed > 0, wanted);
    EXPECT_EQ(tap.unpacked > 0, !wanted);
  }
}

TEST(Experts, ArePackedIfTheyTakeAtMostHalfOfTheMemory) {
  const TestCheckpoint checkpoint =
      quantize_by_hand(tiny_jamba(), HandScheme::dynamic_token, random_ids(3, 20, 61));
  const std::size_t bytes = 2 * 3 * 3 * 26 * 30;  // layers, experts, matrices
  const ModelLayout layout = layout_of(checkpoint);
  EXPECT_TRUE(packs_experts(layout, *checkpoint.source(), 2 * bytes));
  EXPECT_FALSE(packs_experts(layout, *checkpoint.source(), 2 * bytes - 2));
}

}  // namespace
}  // namespace krait
