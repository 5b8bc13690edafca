// GPT-NeoX: what its loader accepts and refuses, its sites, its int8 versions, its growing state.
// What the float model computes is held against transformers in golden_test.cc.
#include <gtest/gtest.h>

#include <cmath>

#include "io/test_support.h"
#include "models/test_attention.h"
#include "models/test_int8.h"

namespace krait {
namespace {

TEST(GptNeox, NamesItsSites) {
  const ModelLayout layout = layout_of(tiny_neox());
  EXPECT_EQ(layout.info.parameters,
            2 * 61 * 30 + 2 * 30 + 2 * (90 * 31 + 30 * 31 + 52 * 31 + 30 * 53 + 4 * 30));
  EXPECT_EQ(layout.linears.front().name, "gpt_neox.embed_in");
  EXPECT_EQ(layout.linears.back().name, "embed_out");
  EXPECT_EQ(layout.linears.back().role, "lm_head");
  EXPECT_EQ(layout.linears[1].name, "gpt_neox.layers.0.attention.query_key_value");
  EXPECT_EQ(layout.activations[0].name, "gpt_neox.layers.0.attention.query_key_value.input");
  EXPECT_EQ(layout.activations[1].role, "k_cache");
  EXPECT_TRUE(layout.activations[1].is_cache);
}

TEST(GptNeox, KnowsTheNamesThatConfigsUse) {
  const auto ids = random_ids(3, 20, 61);
  const TestCheckpoint base = tiny_neox({.rotary_pct = 0.6});
  const std::vector<float> expected = logits_of(base, ids);
  TestCheckpoint newer = base;
  newer.config.erase("rotary_pct");
  newer.config["rope_parameters"] = {
      {"rope_type", "default"}, {"rope_theta", 10000}, {"partial_rotary_factor", 0.6}};
  EXPECT_EQ(logits_of(newer, ids), expected);
  newer.config["rope_parameters"]["rope_theta"] = 100;
  EXPECT_NE(logits_of(newer, ids), expected);
  TestCheckpoint renamed = base;  // the head as transformers calls it in memory
  renamed.tensors["lm_head.weight"] = renamed.tensors.at("embed_out.weight");
  renamed.tensors.erase("embed_out.weight");
  EXPECT_EQ(logits_of(renamed, ids), expected);
}

TEST(GptNeox, LeavesOldBuffersAlone) {
  const auto ids = random_ids(3, 20, 61);
  const TestCheckpoint base = tiny_neox();
  TestCheckpoint old = base;
  for (const char* layer : {"gpt_neox.layers.0", "gpt_neox.layers.1"}) {
    const std::string attention = std::string(layer) + ".attention.";
    old.tensors[attention + "bias"] = Tensor(DType::u8, {1, 1, 64, 64});
    old.tensors[attention + "masked_bias"] =
        test_tensor({1}, std::vector<float>{-std::numeric_limits<float>::infinity()}, DType::f16);
    old.tensors[attention + "rotary_emb.inv_freq"] = test_tensor({2}, std::vector<float>{1, 0.1f});
  }
  EXPECT_EQ(logits_of(old, ids), logits_of(base, ids));
  EXPECT_EQ(layout_of(old).info.parameters, layout_of(base).info.parameters);
}

TEST(GptNeox, RefusesConfigsThatCannotBe) {
  const auto refuse = [](const char* key, const Json& value, ErrorCode code,
                         std::initializer_list<std::string> parts) {
    TestCheckpoint checkpoint = tiny_neox();
    checkpoint.config[key] = value;
    expect_error([&] { layout_of(checkpoint); }, code, parts);
  };
  using enum ErrorCode;
  refuse("num_attention_heads", 4, bad_data, {"num_attention_heads 4", "30"});
  refuse("num_attention_heads", nullptr, bad_data, {"num_attention_heads"});
  refuse("num_attention_heads", 0, bad_data, {"num_attention_heads"});
  refuse("rotary_pct", 1.5, bad_data, {"at most 1", "1.5"});
  refuse("rotary_pct", -1, bad_data, {"rotary_pct"});
  refuse("rotary_pct", 0.5, unsupported, {"even number"});
  refuse("rotary_emb_base", 0, bad_data, {"rotary_emb_base"});
  refuse("rope_scaling", {{"type", "linear"}, {"factor", 2}}, unsupported, {"linear", "default"});
  refuse("rope_parameters", {{"rope_type", "yarn"}}, unsupported, {"yarn"});
  refuse("rope_parameters", 3, bad_data, {"rope_parameters"});
  refuse("hidden_act", "relu", unsupported, {"relu", "gelu_new"});
  refuse("num_hidden_layers", 3, bad_data, {"gpt_neox.layers.2", "missing"});
}

TEST(GptNeox, RefusesTensorsThatDoNotFit) {
  TestCheckpoint checkpoint = tiny_neox();
  checkpoint.tensors.erase("gpt_neox.layers.1.mlp.dense_h_to_4h.bias");
  checkpoint.tensors["gpt_neox.layers.0.attention.extra"] = Tensor(DType::f32, {3});
  expect_error([&] { layout_of(checkpoint); }, ErrorCode::bad_data,
               {"layers.1.mlp.dense_h_to_4h.bias", "missing", "attention.extra", "not used"});
}

TEST(GptNeox, RotatedWeightsAndInputsAreTheSameFunction) {
  const TestCheckpoint base = tiny_neox({.D = 48, .F = 96});
  const auto ids = random_ids(9, 30, 61);
  const TestCheckpoint rotated = rotate_by_hand(base, layout_of(base));
  EXPECT_EQ(rotated.config["quantization_config"]["krait"]["activations"].size(), 5u);
  EXPECT_LT(relative_error(logits_of(rotated, ids), logits_of(base, ids)), 1e-5);
}

TEST(GptNeox, Int8StaysNearTheFloatModel) {
  const TestCheckpoint base = tiny_neox({.D = 48, .F = 96});
  const auto ids = random_ids(9, 60, 61);
  const std::vector<float> expected = logits_of(base, ids);
  for (const bool rotate : {false, true}) {
    const auto error = [&](HandScheme scheme) {
      return relative_error(logits_of(quantize_by_hand(base, scheme, ids, rotate), ids), expected);
    };
    EXPECT_LT(error(HandScheme::dynamic_token), 0.05);
    EXPECT_LT(error(HandScheme::dynamic_tensor), 0.1);
    EXPECT_LT(error(HandScheme::static_tensor), 0.1);
  }
}

TEST(GptNeox, KeepsTheCacheInItsNumerics) {
  const TestCheckpoint base = tiny_neox({.D = 48, .heads = 2, .rotary_pct = 0.5});
  const auto ids = random_ids(9, 60, 61);
  const std::vector<float> expected = logits_of(base, ids);
  std::vector<std::size_t> row_bytes;
  std::vector<double> errors;
  for (const Json& numerics :
       {Json(nullptr), Json({{"bits", 16}, {"type", "float"}}),
        Json({{"bits", 8}, {"type", "int"}, {"strategy", "token"}, {"dynamic", true}})}) {
    TestCheckpoint checkpoint = base;
    Json& krait = checkpoint.config["quantization_config"]["krait"];
    krait["format_version"] = 1;
    for (const char* role : {"k_cache", "v_cache"}) {
      if (!numerics.is_null()) krait["activations"][role] = numerics;
    }
    TestRuntime runtime(select_isa());
    const auto model = load_model(runtime.ctx, checkpoint.config, *checkpoint.source());
    SequenceState state(model->state_layout());
    errors.push_back(relative_error(all_logits(runtime.ctx, *model, ids, state), expected));
    row_bytes.push_back(model->state_layout()->bytes_per_token);
    EXPECT_EQ(state.bytes(), 60 * row_bytes.back());
  }
  // 2 layers, keys and values of 48 channels; int8 with a scale for each of 2 heads.
  EXPECT_EQ(row_bytes, (std::vector<std::size_t>{4 * 192, 2 * 192, 192 + 4 * 8}));
  EXPECT_EQ(errors[0], 0);
  EXPECT_GT(errors[1], 0);
  EXPECT_LT(errors[1], 1e-3);
  EXPECT_GT(errors[2], 1e-3);
  EXPECT_LT(errors[2], 0.05);
}

TEST(GptNeox, RefusesCachesThatNoKernelHas) {
  TestCheckpoint checkpoint = tiny_neox();
  Json& krait = checkpoint.config["quantization_config"]["krait"];
  krait["activations"]["k_cache"] = {{"bits", 8}, {"strategy", "tensor"}};
  expect_error([&] { layout_of(checkpoint); }, ErrorCode::unsupported,
               {"k_cache", "f16", "int8/token/dynamic"});
}

struct CountingTap : Tap {
  void observe(int site, const Activation& value) override { seen[site].push_back(value); }
  std::map<int, std::vector<Activation>> seen;
};

TEST(GptNeox, ShowsEverySiteToATap) {
  TestRuntime runtime;
  const TestCheckpoint checkpoint = tiny_neox();
  const auto model = load_model(runtime.ctx, checkpoint.config, *checkpoint.source());
  CountingTap tap;
  runtime.ctx.tap = &tap;
  const auto ids = random_ids(9, 12, 61);
  SequenceState a(model->state_layout()), b(model->state_layout());
  const std::int32_t cu_seqlens[] = {0, 5, 12};
  SequenceState* states[] = {&a, &b};
  model->forward(runtime.ctx, {ids, cu_seqlens, states}, nullptr);
  const auto& sites = model->layout().activations;
  ASSERT_EQ(tap.seen.size(), sites.size());
  for (const auto& [index, values] : tap.seen) {
    const ActivationSite& site = sites[static_cast<std::size_t>(index)];
    EXPECT_EQ(values.size(), 1u) << site.name;
    EXPECT_EQ(values.front().rows, 12) << site.name;
    EXPECT_EQ(values.front().cols, site.channels) << site.name;
  }
}

TEST(GptNeox, CountsTheBytesThatADecodeStepReads) {
  TestRuntime runtime;
  const TestCheckpoint checkpoint = tiny_neox();
  const auto model = load_model(runtime.ctx, checkpoint.config, *checkpoint.source());
  const std::int64_t table = 61 * 30;  // of which one row is read
  EXPECT_EQ(model->weight_bytes(), static_cast<std::size_t>(model->info().parameters - table) * 4);
}

}  // namespace
}  // namespace krait
