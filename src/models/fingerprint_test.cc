// What tells models apart whose states must not be mixed.
#include "models/fingerprint.h"

#include <gtest/gtest.h>

#include "io/checkpoint.h"
#include "krait/error.h"
#include "models/fields.h"
#include "models/test_attention.h"

namespace krait {
namespace {

TEST(Fields, AreAllMembers) {
  EXPECT_EQ(count_members<RopeSpec>(), 2u);
  EXPECT_EQ(count_members<Mamba2Spec>(), 12u);
  EXPECT_EQ(count_members<ExpertsSpec>(), 3u);  // a struct in a struct is one member
  EXPECT_EQ(count_members<Branch>(), 5u);
  EXPECT_EQ(count_members<QuantArgs>(), 8u);
}

TEST(Fields, OnlyWhatDiffersFromItsDefaultIsText) {
  EXPECT_EQ(text_of(DecoderConfig{}), "");
  DecoderConfig config;
  config.ends.d_model = 20;
  config.blocks.push_back({{{"m.", {"n"}, Mamba1Spec{.d_inner = 36, .conv_bias = true}}}});
  EXPECT_EQ(text_of(config), "{0={3=20;};1=[{0=[{0='m.';1={0='n';};2=0{0=36;4=true;};}];}];}");
  ActivationNumerics z;
  z.quantized = true;
  EXPECT_EQ(text_of({{"z", z}, {"u", {}}}), "uz{0=true;}");
}

std::string fingerprint_of(const TestCheckpoint& checkpoint) {
  TestRuntime runtime;
  return load_model(runtime.ctx, checkpoint.config, *checkpoint.source())
      ->state_layout()
      ->fingerprint;
}

TEST(Fingerprint, TellsApartWhatComputesDifferently) {
  const auto expect_differs = [](const TestCheckpoint& base, const char* key, const Json& value) {
    TestCheckpoint other = base;
    other.config[key] = value;
    const std::string own = fingerprint_of(base), its = fingerprint_of(other);
    EXPECT_NE(own, its) << key;
    // And a state of the one is not taken for one of the other.
    TestRuntime runtime;
    const auto model = load_model(runtime.ctx, base.config, *base.source());
    const auto changed = load_model(runtime.ctx, other.config, *other.source());
    const std::string saved = SequenceState(model->state_layout()).serialize();
    EXPECT_NO_THROW(SequenceState::deserialize(saved, model->state_layout()));
    EXPECT_THROW(SequenceState::deserialize(saved, changed->state_layout()), Error) << key;
  };
  TestCheckpoint neox = tiny_neox();
  neox.config["hidden_act"] = "gelu";
  expect_differs(neox, "hidden_act", "gelu_new");
  neox.config.erase("rotary_emb_base");
  expect_differs(neox, "rope_theta", 5000);
  expect_differs(neox, "rope_parameters", {{"rope_theta", 5000}});
  expect_differs(neox, "rotary_pct", 0.6);
  expect_differs(neox, "layer_norm_eps", 1e-3);
  expect_differs(neox, "use_parallel_residual", false);
  TestCheckpoint mamba = tiny_mamba();
  mamba.config.erase("layer_norm_epsilon");
  expect_differs(mamba, "norm_epsilon", 1e-3);
  expect_differs(mamba, "layer_norm_epsilon", 1e-3);
  TestCheckpoint mamba2 = tiny_mamba2();
  mamba2.config.erase("layer_norm_epsilon");
  expect_differs(mamba2, "norm_epsilon", 1e-3);
  expect_differs(mamba2, "time_step_limit", {0.01, 0.1});
  expect_differs(tiny_mamba2({.H = 6, .P = 6, .G = 2, .N = 6}), "n_groups", 3);
  expect_differs(tiny_jamba(), "num_experts_per_tok", 1);
  expect_differs(tiny_jamba(), "rms_norm_eps", 1e-3);
}

TEST(Fingerprint, IsTheSameHoweverTheConfigSaysIt) {
  TestCheckpoint mamba = tiny_mamba(), renamed = mamba;
  renamed.config.erase("layer_norm_epsilon");
  renamed.config["norm_epsilon"] = mamba.config["layer_norm_epsilon"];
  renamed.config["hidden_act"] = "silu";
  renamed.config["transformers_version"] = "5.0.0";
  EXPECT_EQ(fingerprint_of(renamed), fingerprint_of(mamba));
}

TEST(Fingerprint, OfGoldenCheckpointsStays) {
  const std::map<std::string, std::string> expected = {
      {"bamba-bf16-half", "cdb55d110db218f6"},     {"jamba-bf16-tied", "368453c58cd1f7e6"},
      {"jamba-f16-dense", "38b35673b23cfe6f"},     {"jamba-f32", "c0f8a624c50e0393"},
      {"mamba-bf16-bias", "6c9a9cfae3d68d5d"},     {"mamba-f16-untied", "98b39fb389d995a4"},
      {"mamba-f32-sharded", "92eb5cb3d86b6b33"},   {"mamba-f32-tied", "107abb038df51889"},
      {"mamba-original", "24347114b94c61af"},      {"mamba2-bf16-groups", "655ea178e8658f7e"},
      {"mamba2-consolidated", "24dc80e5fcc3b439"}, {"mamba2-f32-tied", "40a2b393c37fac08"},
      {"mamba2-original", "37d385aa83ee639b"},     {"neox-bf16-tied", "6ce333e7d4e70b82"},
      {"neox-f16-plain", "285533f8fc0805f4"},      {"neox-f32", "d596365c58d02c96"}};
  for (const auto& [name, fingerprint] : expected) {
    const Checkpoint checkpoint = open_checkpoint(KRAIT_SOURCE_DIR "/tests/golden/" + name);
    TestRuntime runtime;
    const auto model = load_model(runtime.ctx, checkpoint.config, *checkpoint.tensors);
    EXPECT_EQ(model->state_layout()->fingerprint, fingerprint) << name;
  }
}

}  // namespace
}  // namespace krait
