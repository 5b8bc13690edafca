// Jamba: what its loader accepts and refuses, its sites, routing and int8 versions. What the float
// model computes is held against transformers in golden_test.cc.
#include <gtest/gtest.h>

#include <cmath>

#include "io/test_support.h"
#include "models/test_attention.h"
#include "models/test_int8.h"

namespace krait {
namespace {

TEST(Jamba, NamesItsSites) {
  const TestCheckpoint checkpoint = tiny_jamba();
  const ModelLayout layout = layout_of(checkpoint);
  std::int64_t elements = 0;
  for (const auto& [name, tensor] : checkpoint.tensors) elements += tensor.elements();
  EXPECT_EQ(layout.info.parameters, elements);
  const auto& first = layout.activations.front();
  EXPECT_EQ(first.name, "model.layers.0.mamba.in_proj.input");
  const auto has = [&](const std::string& name) {
    return std::any_of(layout.linears.begin(), layout.linears.end(),
                       [&](const LinearSite& site) { return site.name == name; });
  };
  EXPECT_TRUE(has("model.layers.1.self_attn.k_proj"));
  EXPECT_TRUE(has("model.layers.1.feed_forward.experts.2.down_proj"));
  EXPECT_TRUE(has("model.layers.2.feed_forward.down_proj"));
  EXPECT_FALSE(has("model.layers.2.feed_forward.router"));
}

TEST(Jamba, KnowsTheOldNameOfExperts) {
  const TestCheckpoint base = tiny_jamba();
  TestCheckpoint old = base;
  old.tensors.clear();
  for (const auto& [name, tensor] : base.tensors) {
    std::string renamed = name;
    const std::size_t at = renamed.find("feed_forward.");
    if (at != std::string::npos) renamed.replace(at, 13, "moe.");
    old.tensors[renamed] = tensor;
  }
  const auto ids = random_ids(3, 20, 61);
  EXPECT_EQ(logits_of(old, ids), logits_of(base, ids));
}

TEST(Jamba, RefusesConfigsThatCannotBe) {
  const auto refuse = [](const char* key, const Json& value, ErrorCode code,
                         std::initializer_list<std::string> parts) {
    TestCheckpoint checkpoint = tiny_jamba();
    checkpoint.config[key] = value;
    expect_error([&] { layout_of(checkpoint); }, code, parts);
  };
  using enum ErrorCode;
  refuse("num_attention_heads", 4, bad_data, {"num_attention_heads 4", "30"});
  refuse("num_attention_heads", nullptr, bad_data, {"num_attention_heads"});
  refuse("num_key_value_heads", 3, bad_data, {"num_key_value_heads 3", "2"});
  refuse("attn_layer_offset", 3, bad_data, {"attn_layer_offset 3", "attn_layer_period 3"});
  refuse("attn_layer_offset", -1, bad_data, {"attn_layer_offset"});
  refuse("attn_layer_offset", 2, bad_data, {"layers.1.mamba", "missing", "not used"});
  refuse("expert_layer_period", 0, bad_data, {"expert_layer_period"});
  refuse("expert_layer_offset", 0, bad_data, {"experts.0.gate_proj", "missing"});
  refuse("num_experts", 4, bad_data, {"experts.3.gate_proj.weight", "missing"});
  refuse("num_experts", 2, bad_data, {"experts.2.gate_proj.weight", "not used"});
  refuse("num_experts", 1000000, unsupported, {"num_experts 1000000"});
  refuse("num_experts_per_tok", 4, bad_data, {"num_experts_per_tok 4", "num_experts 3"});
  refuse("hidden_act", "gelu", unsupported, {"gelu", "silu"});
  refuse("sliding_window", 4096, unsupported, {"sliding_window"});
}

// With all experts asked for, and all alike, the mixture is one of them: the shares add up to 1.
TEST(Jamba, SharesOfAllExpertsAddUpToOne) {
  TestCheckpoint mixture = tiny_jamba({.experts = 3, .experts_per_token = 3});
  TestCheckpoint dense = mixture;
  dense.config["num_experts"] = 1;
  for (const auto& [name, tensor] : mixture.tensors) {
    const std::size_t at = name.find("experts.");
    if (at == std::string::npos) {
      if (name.ends_with("router.weight")) dense.tensors.erase(name);
      continue;
    }
    const std::string first = name.substr(0, at) + "experts.0" + name.substr(at + 9);
    const std::string merged = name.substr(0, at) + name.substr(at + 10);
    mixture.tensors[name] = mixture.tensors.at(first);
    dense.tensors.erase(name);
    dense.tensors[merged] = mixture.tensors.at(first);
  }
  const auto ids = random_ids(3, 30, 61);
  EXPECT_LT(relative_error(logits_of(mixture, ids), logits_of(dense, ids)), 1e-5);
}

TEST(Jamba, RotatedWeightsAndInputsAreTheSameFunction) {
  const TestCheckpoint base = tiny_jamba({.D = 48, .F = 96});
  const auto ids = random_ids(9, 30, 61);
  const TestCheckpoint rotated = rotate_by_hand(base, layout_of(base));
  EXPECT_EQ(rotated.config["quantization_config"]["krait"]["activations"].size(), 8u);
  EXPECT_LT(relative_error(logits_of(rotated, ids), logits_of(base, ids)), 1e-4);
}

// A router that rounding tips over takes another expert: larger errors than elsewhere.
TEST(Jamba, Int8StaysNearTheFloatModel) {
  const TestCheckpoint base = tiny_jamba({.D = 48, .F = 96, .experts_per_token = 3});
  const auto ids = random_ids(9, 60, 61);
  const std::vector<float> expected = logits_of(base, ids);
  const auto error = [&](HandScheme scheme) {
    return relative_error(logits_of(quantize_by_hand(base, scheme, ids, true), ids), expected);
  };
  EXPECT_LT(error(HandScheme::dynamic_token), 0.1);
  EXPECT_LT(error(HandScheme::dynamic_tensor), 0.2);
  EXPECT_LT(error(HandScheme::static_tensor), 0.2);
}

TEST(Jamba, CountsTheBytesThatADecodeStepReads) {
  TestRuntime runtime;
  const TestCheckpoint checkpoint = tiny_jamba();
  const auto model = load_model(runtime.ctx, checkpoint.config, *checkpoint.source());
  const std::int64_t table = 61 * 30, expert = 3 * 26 * 30;  // two layers leave one of three out
  EXPECT_EQ(model->weight_bytes(),
            static_cast<std::size_t>(model->info().parameters - table - 2 * expert) * 4);
}

}  // namespace
}  // namespace krait
