// describe_model: sizes and sites from tensors, and one error that names all that does not fit.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>

#include <limits>

#include "krait/error.h"
#include "models/config.h"
#include "models/test_int8.h"
#include "models/test_support.h"

namespace krait {
namespace {

/// The message of the Error that `run` throws; fails the test if there is none.
template <typename Fn>
std::string message_of(ErrorCode code, Fn&& run) {
  try {
    run();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

std::string describe_error(const TestCheckpoint& checkpoint, ErrorCode code = ErrorCode::bad_data) {
  return message_of(code, [&] { describe_model(checkpoint.config, *checkpoint.source()); });
}

std::string load_error(const TestCheckpoint& checkpoint, ErrorCode code = ErrorCode::bad_data) {
  TestRuntime runtime;
  return message_of(code,
                    [&] { load_model(runtime.ctx, checkpoint.config, *checkpoint.source()); });
}

void expect_contains(const std::string& text, std::initializer_list<const char*> parts) {
  for (const char* part : parts)
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  EXPECT_EQ(text.find('\n'), std::string::npos);
}

const char* const kMixer = "backbone.layers.0.mixer.";

TEST(Describe, ListsSitesInTheOrderOfTheForwardPass) {
  const TestCheckpoint checkpoint = tiny_mamba({.linear_bias = true});
  const ModelLayout layout = describe_model(checkpoint.config, *checkpoint.source());
  EXPECT_EQ(layout.info.architecture, "MambaForCausalLM");
  EXPECT_EQ(layout.info.d_model, 20);
  EXPECT_EQ(layout.info.n_layers, 2);
  EXPECT_EQ(layout.info.vocab_rows, 61);
  ASSERT_EQ(layout.linears.size(), 2u + 4 * 2);
  EXPECT_EQ(layout.linears.front().name, "backbone.embeddings");
  EXPECT_EQ(layout.linears.back().tied_to, "backbone.embeddings");
  EXPECT_EQ(layout.activations[static_cast<std::size_t>(layout.linears.back().input_site)].name,
            "lm_head.input");
  const LinearSite& x_proj = layout.linears[6];
  EXPECT_EQ(x_proj.name, "backbone.layers.1.mixer.x_proj");
  EXPECT_EQ(x_proj.rows, 3 + 2 * 5);
  EXPECT_EQ(x_proj.cols, 36);
  EXPECT_FALSE(x_proj.has_bias);
  EXPECT_TRUE(layout.linears[5].has_bias);
  EXPECT_EQ(layout.activations[static_cast<std::size_t>(x_proj.input_site)].name,
            "backbone.layers.1.mixer.x_proj.input");
  std::int64_t elements = 0;
  for (const auto& [name, tensor] : checkpoint.tensors) elements += tensor.elements();
  EXPECT_EQ(layout.info.parameters, elements);
}

TEST(Describe, AsksTensorsForWhatTheConfigDoesNotSay) {
  TestCheckpoint checkpoint = tiny_mamba();
  checkpoint.config.update(
      {{"expand", 16}, {"time_step_rank", "auto"}, {"use_bias", false}, {"vocab_size", 57}});
  checkpoint.config.erase("hidden_size");
  const ModelLayout layout = describe_model(checkpoint.config, *checkpoint.source());
  EXPECT_EQ(layout.linears[1].rows, 2 * 36);
  EXPECT_EQ(layout.info.d_model, 20);
  EXPECT_EQ(layout.info.vocab_rows, 61);
  EXPECT_EQ(layout.info.vocab_size, 57);
}

TEST(Describe, NamesEveryTensorThatContradictsTheConfig) {
  TestCheckpoint checkpoint = tiny_mamba({.layers = 1});
  checkpoint.config.update({{"state_size", 16}, {"conv_kernel", 2}, {"time_step_rank", 4}});
  expect_contains(describe_error(checkpoint),
                  {"A_log should be [36, 16] but is [36, 5]",
                   "conv1d.weight should be [36, 1, 2] but is [36, 1, 4]",
                   "dt_proj.weight should be [36, 4] but is [36, 3]",
                   "x_proj.weight should be [36, 36] but is [13, 36]"});
}

TEST(Describe, KnowsTheOriginalLayout) {
  TestCheckpoint checkpoint = tiny_mamba();
  checkpoint.tensors["backbone.embedding.weight"] =
      checkpoint.tensors.extract("backbone.embeddings.weight").mapped();
  // The original stores the head beside the table that it shares.
  checkpoint.tensors["lm_head.weight"] =
      test_tensor({61, 20}, checkpoint.tensors.at("backbone.embedding.weight").as<float>());
  checkpoint.config = {
      {"d_model", 20}, {"n_layer", 2}, {"vocab_size", 50}, {"ssm_cfg", Json::object()}};
  const ModelLayout layout = describe_model(checkpoint.config, *checkpoint.source());
  EXPECT_EQ(layout.linears.front().name, "backbone.embedding");
  EXPECT_EQ(layout.linears.back().tied_to, "backbone.embedding");
  EXPECT_EQ(layout.info.vocab_size, 50);

  checkpoint.tensors["lm_head.weight"].mutable_as<float>()[7] += 1.0f;
  EXPECT_EQ(describe_model(checkpoint.config, *checkpoint.source()).linears.back().tied_to, "");
  checkpoint.config["ssm_cfg"]["layer"] = "Mamba1";
  EXPECT_NO_THROW(describe_model(checkpoint.config, *checkpoint.source()));
}

TEST(Describe, AnAbsentHeadIsTiedUnlessTheConfigDeniesIt) {
  for (const char* key : {"tie_word_embeddings", "tie_embeddings"}) {
    TestCheckpoint checkpoint = tiny_mamba();
    checkpoint.config.erase("tie_word_embeddings");
    EXPECT_NO_THROW(describe_model(checkpoint.config, *checkpoint.source()));
    checkpoint.config[key] = false;
    expect_contains(describe_error(checkpoint), {"lm_head.weight [61, 20] is missing"});
  }
}

TEST(Describe, RefusesOtherArchitecturesWithTheKnownOnes) {
  TestCheckpoint checkpoint = tiny_mamba();
  checkpoint.config["model_type"] = "mamba3";
  expect_contains(describe_error(checkpoint, ErrorCode::unsupported),
                  {"model_type mamba3", "mamba (MambaForCausalLM)"});
  checkpoint.config = {{"ssm_cfg", {{"layer", "Mamba3"}}}};
  expect_contains(describe_error(checkpoint, ErrorCode::unsupported),
                  {"ssm_cfg.layer Mamba3", "mamba (MambaForCausalLM)"});
  checkpoint.config = {{"architectures", {"LlamaForCausalLM"}}};
  expect_contains(describe_error(checkpoint, ErrorCode::unsupported), {"LlamaForCausalLM"});
  checkpoint.config = {{"ssm_cfg", Json::object()}, {"attn_layer_idx", {3}}};
  expect_contains(describe_error(checkpoint, ErrorCode::unsupported), {"attn_layer_idx"});
  checkpoint.config = Json::object();
  expect_contains(describe_error(checkpoint, ErrorCode::unsupported), {"names no architecture"});
  checkpoint.config = Json::array();
  expect_contains(describe_error(checkpoint), {"must be an object"});
}

TEST(Describe, NamesEveryTensorThatDoesNotFit) {
  TestCheckpoint checkpoint = tiny_mamba({.layers = 1});
  checkpoint.tensors.erase(std::string(kMixer) + "D");
  checkpoint.tensors.erase("backbone.norm_f.weight");
  checkpoint.tensors[std::string(kMixer) + "A_log"] = Tensor(DType::f32, {36, 7});
  checkpoint.tensors[std::string(kMixer) + "dt_proj.bias"] = Tensor(DType::i32, {36});
  checkpoint.tensors["backbone.extra"] = Tensor(DType::f32, {3});
  checkpoint.config["state_size"] = 5;
  expect_contains(
      describe_error(checkpoint),
      {"backbone.layers.0.mixer.D [36] is missing", "backbone.norm_f.weight [20] is missing",
       "backbone.layers.0.mixer.A_log should be [36, 5] but is [36, 7]",
       "backbone.layers.0.mixer.dt_proj.bias should be F32, F16 or BF16 but is I32",
       "backbone.extra [3] is not used", "does not fit MambaForCausalLM"});
}

TEST(Describe, CountsLayersByConfig) {
  TestCheckpoint checkpoint = tiny_mamba();
  checkpoint.config["num_hidden_layers"] = 1;
  expect_contains(describe_error(checkpoint),
                  {"backbone.layers.1.mixer.A_log [36, 5] is not used"});
  checkpoint.config["num_hidden_layers"] = 3;
  expect_contains(describe_error(checkpoint), {"backbone.layers.2.mixer.A_log [36, 5] is missing"});
  checkpoint.config["num_hidden_layers"] = 2'000'000'000;
  expect_contains(describe_error(checkpoint), {"2000000000 cannot be"});
  checkpoint.config.erase("num_hidden_layers");
  EXPECT_EQ(describe_model(checkpoint.config, *checkpoint.source()).info.n_layers, 2);
}

TEST(Describe, WantsABiasInEveryLayerOrNone) {
  TestCheckpoint checkpoint = tiny_mamba();
  checkpoint.tensors.erase("backbone.layers.1.mixer.conv1d.bias");
  expect_contains(describe_error(checkpoint),
                  {"backbone.layers.1.mixer.conv1d.bias [36] is missing"});
  checkpoint.tensors.erase("backbone.layers.0.mixer.conv1d.bias");
  EXPECT_NO_THROW(describe_model(checkpoint.config, *checkpoint.source()));
  checkpoint.config["use_conv_bias"] = true;
  expect_contains(describe_error(checkpoint),
                  {"backbone.layers.0.mixer.conv1d.bias [36] is missing"});
}

TEST(Describe, RefusesBadConfigValues) {
  const auto with = [](const char* key, Json value) {
    TestCheckpoint checkpoint = tiny_mamba();
    checkpoint.config[key] = std::move(value);
    return checkpoint;
  };
  expect_contains(describe_error(with("hidden_size", -4)), {"hidden_size", "-4"});
  expect_contains(describe_error(with("vocab_size", "many")), {"vocab_size", "many"});
  expect_contains(describe_error(with("num_hidden_layers", 1e300)), {"num_hidden_layers"});
  expect_contains(describe_error(with("layer_norm_epsilon", 0)), {"layer_norm_epsilon"});
  expect_contains(describe_error(with("use_conv_bias", 1)), {"use_conv_bias"});
  expect_contains(describe_error(with("hidden_act", "gelu"), ErrorCode::unsupported),
                  {"gelu", "silu"});
  expect_contains(describe_error(with("rms_norm", false), ErrorCode::unsupported), {"LayerNorm"});
  expect_contains(describe_error(with("quantization_config", {{"quant_method", "gptq"}}),
                                 ErrorCode::unsupported),
                  {"krait"});
}

TEST(Load, NamesTensorsWithNanOrInfinity) {
  TestCheckpoint checkpoint = tiny_mamba({.dtype = DType::bf16});
  checkpoint.tensors["backbone.layers.1.mixer.D"].mutable_as<float>()[35] =
      std::numeric_limits<float>::quiet_NaN();
  checkpoint.tensors["backbone.layers.0.mixer.x_proj.weight"].mutable_as<std::uint16_t>()[0] =
      0xff80;
  const std::string text = load_error(checkpoint);
  expect_contains(text, {"backbone.layers.1.mixer.D [36] holds NaN or infinity",
                         "backbone.layers.0.mixer.x_proj.weight [13, 36] holds NaN or infinity"});
  EXPECT_EQ(text.find("embeddings"), std::string::npos);
}

TEST(Load, RefusesInt8WithoutItsScales) {
  const auto ids = random_ids(3, 20, 61);
  const TestCheckpoint good = quantize_by_hand(tiny_mamba(), HandScheme::static_tensor, ids);
  TestCheckpoint checkpoint = good;
  checkpoint.tensors.erase("backbone.layers.0.mixer.in_proj.weight_scale");
  checkpoint.tensors.erase("backbone.layers.1.mixer.z_scale");
  expect_contains(load_error(checkpoint),
                  {"backbone.layers.0.mixer.in_proj.weight_scale is missing",
                   "backbone.layers.1.mixer.z_scale [1] is missing"});
  checkpoint = good;
  checkpoint.tensors["backbone.layers.0.mixer.z_scale"] = test_tensor({1}, std::vector{-1.0f});
  expect_contains(load_error(checkpoint), {"z_scale [1] holds a scale that is not above 0"});
}

/// A model whose in_proj of layer 0 is in 4 bits: [72, 24] in three groups.
TestCheckpoint with_4bit() {
  TestCheckpoint checkpoint = tiny_mamba({.D = 24});
  const std::string name = std::string(kMixer) + "in_proj.weight";
  checkpoint.tensors.erase(name);
  checkpoint.tensors[name + "_packed"] = Tensor(DType::i32, {72, 3});
  checkpoint.tensors[name + "_scale"] =
      test_tensor({72, 3}, std::vector<float>(72 * 3, 0.1F), DType::bf16);
  Tensor shape(DType::i64, {2});
  shape.mutable_as<std::int64_t>()[0] = 72;
  shape.mutable_as<std::int64_t>()[1] = 24;
  checkpoint.tensors[name + "_shape"] = shape;
  return checkpoint;
}

TEST(Load, TakesFourBitsWithScalesInAnyFloatType) {
  TestCheckpoint checkpoint = with_4bit();
  TestRuntime runtime;
  const std::string name = std::string(kMixer) + "in_proj.weight";
  for (const DType dtype : {DType::bf16, DType::f16, DType::f32}) {
    checkpoint.tensors[name + "_scale"] =
        test_tensor({72, 3}, std::vector<float>(72 * 3, 0.1F), dtype);
    EXPECT_NO_THROW(load_model(runtime.ctx, checkpoint.config, *checkpoint.source()));
  }
  Tensor shape(DType::i32, {2});
  shape.mutable_as<std::int32_t>()[0] = 72;
  shape.mutable_as<std::int32_t>()[1] = 24;
  checkpoint.tensors[name + "_shape"] = shape;
  EXPECT_NO_THROW(load_model(runtime.ctx, checkpoint.config, *checkpoint.source()));
}

TEST(Load, RefusesFourBitsThatDoNotFit) {
  const std::string name = std::string(kMixer) + "in_proj.weight";
  const auto refused = [&](const char* part, const Tensor& tensor,
                           std::initializer_list<const char*> words) {
    TestCheckpoint checkpoint = with_4bit();
    checkpoint.tensors[name + part] = tensor;
    expect_contains(load_error(checkpoint), words);
  };
  const std::vector<float> scales(72 * 6, 0.1F);
  refused("_packed", Tensor(DType::i32, {72, 4}), {"_packed should be [72, 3] but is [72, 4]"});
  refused("_packed", Tensor(DType::i32, {71, 3}), {"_packed should be [72, 3] but is [71, 3]"});
  refused("_packed", Tensor(DType::i8, {72, 3}), {"_packed should be I32 but is I8"});
  refused(
      "_scale", test_tensor({72, 2}, std::span(scales).first(144)),
      {"_scale should be [72, groups], groups of a multiple of 8 of its 24 columns, but is [72, "
       "2]"});
  refused("_scale", test_tensor({72, 6}, scales), {"but is [72, 6]"});
  refused("_scale", test_tensor({24, 3}, std::span(scales).first(72)), {"but is [24, 3]"});
  refused("_scale", test_tensor({72}, std::span(scales).first(72)), {"but is [72]"});
  refused("_scale", Tensor(DType::f32, {72, 0}), {"but is [72, 0]"});
  refused("_scale", Tensor(DType::i8, {72, 3}), {"_scale should be F32, F16 or BF16 but is I8"});
  refused("_shape", Tensor(DType::i64, {3}), {"_shape should be [2] but is [3]"});
  refused("_shape", Tensor(DType::f32, {2}), {"_shape should be I64 or I32 but is F32"});
  refused("_shape", Tensor(DType::i64, {2}), {"_shape should say [72, 24] but says [0, 0]"});
  for (const float bad : {0.0F, -1.0F, std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()}) {
    for (const DType dtype : {DType::bf16, DType::f16, DType::f32}) {
      std::vector<float> values(72 * 3, 0.1F);
      values[100] = bad;
      refused("_scale", test_tensor({72, 3}, values, dtype),
              {"in_proj.weight_scale [72, 3] holds"});
    }
  }
  for (const char* part : {"_scale", "_shape"}) {
    TestCheckpoint checkpoint = with_4bit();
    checkpoint.tensors.erase(name + part);
    expect_contains(load_error(checkpoint), {part, "is missing"});
  }
  TestCheckpoint both = with_4bit();
  both.tensors[name] = Tensor(DType::f32, {72, 24});
  expect_contains(load_error(both), {"in_proj.weight_packed [72, 3] is not used"});
  // 20 columns have no words of eight.
  TestCheckpoint odd = tiny_mamba();
  odd.tensors.erase(name);
  for (const char* part : {"_packed", "_scale", "_shape"}) {
    odd.tensors[name + part] = with_4bit().tensors.at(name + part);
  }
  expect_contains(load_error(odd), {"4-bit weights need a multiple of 8 columns"});
  TestCheckpoint table = tiny_mamba({.D = 24});
  table.tensors.erase("backbone.embeddings.weight");
  table.tensors["backbone.embeddings.weight_packed"] = Tensor(DType::i32, {61, 3});
  expect_contains(load_error(table), {"the table has no 4-bit form"});
}

/// Mamba-2 with an int8 state of 3 groups of its 36 channels, 5 states.
TestCheckpoint with_state_groups() {
  TestCheckpoint checkpoint = tiny_mamba2();
  checkpoint.config["quantization_config"]["krait"]["activations"]["ssm_state"] = {
      {"bits", 8}, {"strategy", "group"}};
  for (const int layer : {0, 1}) {
    const std::string name = fmt::format("backbone.layers.{}.mixer.ssm_state", layer);
    checkpoint.tensors[name + "_scale"] = test_tensor({3, 5}, std::vector<float>(15, 0.1F));
    checkpoint.tensors[name + "_group"] = Tensor(DType::i32, {36});
  }
  return checkpoint;
}

TEST(Load, RefusesALogInFourBitsAndSaysWhatToDo) {
  TestCheckpoint checkpoint = tiny_mamba({.N = 16, .layers = 1});
  const std::string name = std::string(kMixer) + "A_log";
  checkpoint.tensors.erase(name);
  checkpoint.tensors[name + "_packed"] = Tensor(DType::i32, {36, 2});
  checkpoint.tensors[name + "_scale"] = test_tensor({1}, std::array{0.25F});
  checkpoint.tensors[name + "_zero_point"] = Tensor(DType::f32, {1});
  const std::string text = load_error(checkpoint);
  expect_contains(text, {"A_log_packed", "quantize the model again"});
  EXPECT_EQ(text.find("missing"), std::string::npos);
}

TEST(Load, RefusesStateScalesThatDoNotFit) {
  TestRuntime runtime;
  const TestCheckpoint good = with_state_groups();
  EXPECT_NO_THROW(load_model(runtime.ctx, good.config, *good.source()));
  const std::string name = std::string(kMixer) + "ssm_state";
  const auto refused = [&](const char* part, const Tensor& tensor,
                           std::initializer_list<const char*> words,
                           ErrorCode code = ErrorCode::bad_data) {
    TestCheckpoint checkpoint = with_state_groups();
    checkpoint.tensors[name + part] = tensor;
    expect_contains(load_error(checkpoint, code), words);
  };
  const std::vector<float> scales(64, 0.1F);
  refused("_scale", test_tensor({3, 4}, std::span(scales).first(12)),
          {"ssm_state_scale should be [3, 5] but is [3, 4]"});
  refused("_scale", test_tensor({15}, std::span(scales).first(15)),
          {"ssm_state_scale should be [1, 5] but is [15]"});
  refused("_scale", Tensor(DType::f32, {0, 5}), {"ssm_state_scale should be [1, 5] but is [0, 5]"});
  refused("_scale", Tensor(DType::i32, {3, 5}), {"ssm_state_scale should be F32 but is I32"});
  refused("_scale", test_tensor({3, 5}, std::vector<float>(15)),
          {"ssm_state_scale [3, 5] holds a scale that is not above 0"});
  refused("_group", Tensor(DType::i32, {35}), {"ssm_state_group should be [36] but is [35]"});
  refused("_group", Tensor(DType::f32, {36}), {"ssm_state_group should be I32 but is F32"});
  for (const std::int32_t bad : {-1, 3}) {
    Tensor group(DType::i32, {36});
    group.mutable_as<std::int32_t>()[7] = bad;
    refused("_group", group, {"mixer.ssm_state_group", "groups below 3"});
  }
  TestCheckpoint missing = with_state_groups();
  missing.tensors.erase(name + "_group");
  expect_contains(load_error(missing), {"ssm_state_group [36] is missing"});

  TestCheckpoint many = tiny_mamba2({.H = 1, .P = 9, .G = 1});
  many.config["quantization_config"] = with_state_groups().config["quantization_config"];
  for (const int layer : {0, 1}) {
    const std::string site = fmt::format("backbone.layers.{}.mixer.ssm_state", layer);
    many.tensors[site + "_scale"] = test_tensor({9, 5}, std::span(scales).first(45));
    Tensor group(DType::i32, {9});
    for (std::int32_t c = 0; c < 9; ++c)
      group.mutable_as<std::int32_t>()[static_cast<std::size_t>(c)] = c;
    many.tensors[site + "_group"] = group;
  }
  expect_contains(load_error(many, ErrorCode::unsupported),
                  {"ssm_state_group", "head 0", "more than 8 groups"});
}

TEST(Numerics, KnowsTheStatesOfMamba2) {
  const TestCheckpoint checkpoint = tiny_mamba2();
  const ModelLayout layout = describe_model(checkpoint.config, *checkpoint.source());
  const auto numerics = [&](const char* role, Json entry) {
    Json config = checkpoint.config;
    config["quantization_config"]["krait"]["activations"][role] = std::move(entry);
    return parse_numerics(config, layout).at(role);
  };
  Json rows = {{"bits", 8}, {"strategy", "channel"}, {"dynamic", true}};
  EXPECT_TRUE(numerics("ssm_state", rows).args.dynamic);
  const auto refused = [&](const char* role, Json entry) {
    return message_of(ErrorCode::unsupported, [&] { numerics(role, std::move(entry)); });
  };
  expect_contains(refused("x", rows), {"activations.x", "no kernel"});
  Json four = rows;
  four["bits"] = 4;
  expect_contains(refused("ssm_state", four), {"no kernel", "int8/channel/dynamic"});
  expect_contains(refused("x", {{"bits", 8}, {"strategy", "group"}}), {"no kernel"});
}

TEST(Numerics, RefusesWhatNoKernelHas) {
  const TestCheckpoint checkpoint = tiny_mamba();
  const ModelLayout layout = describe_model(checkpoint.config, *checkpoint.source());
  const auto error = [&](ErrorCode code, const char* role, Json numerics) {
    Json config = checkpoint.config;
    config["quantization_config"]["krait"]["activations"][role] = std::move(numerics);
    return message_of(code, [&] { parse_numerics(config, layout); });
  };
  const auto bad = ErrorCode::bad_data;
  const auto unsupported = ErrorCode::unsupported;
  expect_contains(error(bad, "out_proj.inptu", Json::object()), {"out_proj.inptu", "ssm_state"});
  expect_contains(error(bad, "z", {{"bits", 8}, {"typ", "int"}}), {"unknown key typ", "strategy"});
  expect_contains(error(bad, "z", {{"type", "int"}}), {"has no bits"});
  expect_contains(error(unsupported, "z", {{"bits", 4}}), {"int8/tensor"});
  expect_contains(error(unsupported, "z", {{"bits", 16}, {"type", "float"}}), {"no kernel"});
  expect_contains(error(unsupported, "in_proj.input", {{"bits", 8}, {"strategy", "channel"}}),
                  {"no kernel", "int8/token/dynamic"});
  expect_contains(error(unsupported, "ssm_state", {{"bits", 8}, {"dynamic", true}}),
                  {"no kernel", "f16"});
  expect_contains(error(unsupported, "z", {{"bits", 8}, {"strategy", "token"}}), {"no kernel"});
  expect_contains(error(unsupported, "z", {{"hadamard_block", 4}}), {"cannot be rotated"});
  const Json split = {
      {"bits", 8}, {"strategy", "token"}, {"dynamic", true}, {"outlier_threshold", 6.0}};
  expect_contains(error(unsupported, "z", split), {"no kernel", "outlier_threshold"});
  Json other = split;
  other["outlier_threshold"] = -1;
  expect_contains(error(bad, "in_proj.input", other), {"outlier_threshold"});
  other = split;
  other["strategy"] = "tensor";
  expect_contains(error(unsupported, "in_proj.input", other),
                  {"int8/token/dynamic/outliers"});
  Json config = checkpoint.config;
  config["quantization_config"]["krait"]["activations"]["in_proj.input"] = split;
  EXPECT_EQ(parse_numerics(config, layout).at("in_proj.input").args.outlier_threshold, 6.0f);
  expect_contains(error(unsupported, "out_proj.input", {{"hadamard_block", 5}}), {"36", "5"});
}

TEST(Config, EosIdsComeFromTheGenerationConfigFirst) {
  const Json config = {{"eos_token_id", 3}};
  EXPECT_EQ(eos_token_ids(config, Json(), 10), std::vector<std::int32_t>{3});
  EXPECT_EQ(eos_token_ids(config, {{"eos_token_id", {1, 2, 99}}}, 10),
            (std::vector<std::int32_t>{1, 2}));
  EXPECT_EQ(eos_token_ids(config, {{"eos_token_id", nullptr}}, 10), std::vector<std::int32_t>{3});
  EXPECT_TRUE(eos_token_ids(Json::object(), Json(), 10).empty());
  expect_contains(message_of(ErrorCode::bad_data,
                             [&] {
                               eos_token_ids(config, {{"eos_token_id", "x"}}, 10);
                             }),
                  {"generation_config.json", "eos_token_id"});
}

}  // namespace
}  // namespace krait
