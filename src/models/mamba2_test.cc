// The forward pass against an independent one, written from the paper's recurrence; layouts and
// configs as they are found.
#include <gtest/gtest.h>

#include "krait/error.h"
#include "models/test_naive.h"

namespace krait {
namespace {

class NaiveMamba2 final : public NaiveModel {
 public:
  NaiveMamba2(const TestCheckpoint& checkpoint, const TinyMamba2& sizes)
      : NaiveModel(checkpoint, sizes.layers), m_(sizes) {}

 private:
  Vector mixer(const std::string& mixer, const Vector& hidden) override {
    const std::size_t E = size(m_.E()), H = size(m_.H), P = size(m_.P), N = size(m_.N);
    const std::size_t GN = size(m_.G) * N;
    const Vector projected = multiply(mixer + "in_proj", hidden);
    std::size_t column = 0;
    const auto take = [&](const char* role, std::size_t n) {
      const auto from = projected.begin() + static_cast<std::ptrdiff_t>(column);
      column += n;
      return rounded(mixer, role, Vector(from, from + static_cast<std::ptrdiff_t>(n)));
    };
    const Vector z = take("z", E);
    Vector xBC;
    for (const auto& [role, n] : {std::pair("conv1d.x", E), {"conv1d.B", GN}, {"conv1d.C", GN}}) {
      const Vector part = take(role, n);
      xBC.insert(xBC.end(), part.begin(), part.end());
    }
    const Vector dt = take("dt", H);
    const Vector u = convolve(mixer, xBC);
    const auto at = [&](std::size_t i) { return u.begin() + static_cast<std::ptrdiff_t>(i); };
    const Vector x = rounded(mixer, "x", Vector(at(0), at(E)));
    const Vector B = rounded(mixer, "B", Vector(at(E), at(E + GN)));
    const Vector C = rounded(mixer, "C", Vector(at(E + GN), at(E + 2 * GN)));
    Vector& state = states_[mixer];
    state.resize(E * N);
    Vector y(E);
    const Vector& D = tensors_.at(mixer + "D");
    for (std::size_t e = 0; e < E; ++e) {
      const std::size_t h = e / P, group = h / (H / size(m_.G)) * N;
      const double raw = std::log1p(std::exp(dt[h] + tensors_.at(mixer + "dt_bias")[h]));
      const double delta = std::clamp(raw, m_.dt_min, m_.dt_max);
      const double decay = std::exp(-delta * std::exp(tensors_.at(mixer + "A_log")[h]));
      for (std::size_t n = 0; n < N; ++n) {
        double& s = state[e * N + n];
        s = decay * s + delta * x[e] * B[group + n];
        y[e] += C[group + n] * s;
        s = rounded_state(s);
      }
      y[e] = (y[e] + D[D.size() == E ? e : h] * x[e]) * silu(z[e]);
    }
    const Vector normed = norm(y, mixer + "norm.weight", size(m_.G));
    return multiply(mixer + "out_proj", rounded(mixer, "out_proj.input", normed));
  }

  TinyMamba2 m_;
};

const TinyMamba2 kShapes[] = {
    {},
    {.V = 17, .D = 16, .H = 1, .P = 64, .G = 1, .N = 32, .layers = 3, .tied = false, .seed = 2},
    {.V = 130,
     .D = 33,
     .H = 12,
     .P = 5,
     .G = 3,
     .N = 3,
     .K = 2,
     .layers = 1,
     .linear_bias = true,
     .D_per_channel = true,
     .dt_min = 0.05,
     .dt_max = 0.4,
     .seed = 3},
    {.V = 5, .D = 1, .H = 1, .P = 1, .G = 1, .N = 1, .K = 1, .layers = 1, .conv_bias = false},
    {.D = 40, .H = 8, .P = 10, .G = 8, .dtype = DType::bf16, .seed = 5},
    {.D = 40, .H = 5, .P = 16, .G = 1, .dtype = DType::f16, .seed = 6},
};

TEST(Mamba2, AgreesWithTheRecurrenceInDoublePrecision) {
  for (const TinyMamba2& sizes : kShapes) {
    const TestCheckpoint checkpoint = tiny_mamba2(sizes);
    const auto ids = random_ids(9, 50, sizes.V);
    const Vector expected = NaiveMamba2(checkpoint, sizes).logits(ids);
    const double allowed = 1e-4 * deviation(expected) + 1e-6;
    EXPECT_LE(max_difference(run(checkpoint, ids), expected), allowed) << "seed " << sizes.seed;
  }
}

TEST(Mamba2, RotatedWeightsAndInputAreTheSameFunction) {
  const TinyMamba2 sizes{.H = 6, .P = 8};
  const TestCheckpoint checkpoint = tiny_mamba2(sizes);
  const auto ids = random_ids(9, 30, sizes.V);
  const Vector expected = NaiveMamba2(checkpoint, sizes).logits(ids);
  const ModelLayout layout = describe_model(checkpoint.config, *checkpoint.source());
  const TestCheckpoint rotated = rotate_by_hand(checkpoint, layout);
  EXPECT_LE(max_difference(run(rotated, ids), expected), 1e-4 * deviation(expected));
}

// A value on the border of two grid points may be rounded to either, which is why this is not
// exact; a scale or a site mixed up is an error of 0.1 and more.
TEST(Mamba2, Int8IsTheFloatModelRoundedAtItsSites) {
  const TinyMamba2 sizes{.D = 48, .H = 6, .P = 16, .G = 2, .N = 16};
  const TestCheckpoint checkpoint = tiny_mamba2(sizes);
  const auto ids = random_ids(9, 60, sizes.V);
  for (const HandScheme scheme : {HandScheme::static_tensor, HandScheme::dynamic_token}) {
    const TestCheckpoint quantized = quantize_by_hand(checkpoint, scheme, ids);
    const Vector expected = NaiveMamba2(quantized, sizes).logits(ids);
    EXPECT_LT(relative_error(run(quantized, ids), expected), 0.01) << name_of(scheme);
  }
}

TEST(Mamba2, Int8StaysNearTheFloatModel) {
  const TinyMamba2 sizes{.D = 48, .H = 6, .P = 16, .G = 2, .N = 16};
  const TestCheckpoint checkpoint = tiny_mamba2(sizes);
  const auto ids = random_ids(9, 60, sizes.V);
  const Vector expected = NaiveMamba2(checkpoint, sizes).logits(ids);
  const auto error = [&](HandScheme scheme) {
    return relative_error(run(quantize_by_hand(checkpoint, scheme, ids, true), ids), expected);
  };
  EXPECT_LT(error(HandScheme::dynamic_token), 0.05);
  EXPECT_LT(error(HandScheme::dynamic_tensor), 0.15);
  EXPECT_LT(error(HandScheme::static_tensor), 0.15);
}

TEST(Mamba2, ShowsEverySiteToATap) { expect_every_site_is_shown(tiny_mamba2(), 5); }

TEST(Mamba2, CountsTheBytesThatADecodeStepReads) {
  TestRuntime runtime;
  const TestCheckpoint checkpoint = tiny_mamba2({.D_per_channel = true});
  const auto model = load_model(runtime.ctx, checkpoint.config, *checkpoint.source());
  EXPECT_EQ(model->weight_bytes(), static_cast<std::size_t>(model->info().parameters) * 4);
}

// ---- layouts and configs ------------------------------------------------------------------------

Mamba2Spec read(const TestCheckpoint& checkpoint) {
  return std::get<Mamba2Spec>(read_decoder(checkpoint).blocks.front().branches.front().op);
}

std::string error_of(const TestCheckpoint& checkpoint, ErrorCode code = ErrorCode::bad_data) {
  try {
    describe_model(checkpoint.config, *checkpoint.source());
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

void expect_error(const TestCheckpoint& checkpoint, std::initializer_list<const char*> parts,
                  ErrorCode code = ErrorCode::bad_data) {
  const std::string text = error_of(checkpoint, code);
  for (const char* part : parts) EXPECT_NE(text.find(part), std::string::npos) << text;
  EXPECT_EQ(text.find('\n'), std::string::npos);
}

TestCheckpoint with(const char* key, Json value) {
  TestCheckpoint checkpoint = tiny_mamba2();
  checkpoint.config[key] = std::move(value);
  return checkpoint;
}

TEST(Mamba2Describe, ListsSitesInTheOrderOfTheForwardPass) {
  const TestCheckpoint checkpoint = tiny_mamba2({.linear_bias = true, .tied = false});
  const ModelLayout layout = describe_model(checkpoint.config, *checkpoint.source());
  EXPECT_EQ(layout.info.architecture, "Mamba2ForCausalLM");
  std::vector<std::string> roles;
  for (std::size_t i = 0; i < 11; ++i) roles.push_back(layout.activations[i].role);
  EXPECT_EQ(roles,
            (std::vector<std::string>{"in_proj.input", "z", "conv1d.x", "conv1d.B", "conv1d.C",
                                      "dt", "x", "B", "C", "ssm_state", "out_proj.input"}));
  EXPECT_EQ(layout.activations[0].name, "backbone.layers.0.mixer.in_proj.input");
  EXPECT_EQ(layout.activations.back().role, "lm_head.input");
  ASSERT_EQ(layout.linears.size(), 2u + 2 * 2);
  EXPECT_EQ(layout.linears[1].rows, 36 + 36 + 20 + 6);
  EXPECT_TRUE(layout.linears[1].has_bias);
  EXPECT_EQ(layout.linears.back().tied_to, "");
  std::int64_t elements = 0;
  for (const auto& [name, tensor] : checkpoint.tensors) elements += tensor.elements();
  EXPECT_EQ(layout.info.parameters, elements);
}

TEST(Mamba2Describe, FindsTheNumberOfGroups) {
  TestCheckpoint checkpoint = tiny_mamba2();
  EXPECT_EQ(read(checkpoint).groups, 2);
  EXPECT_EQ(read(checkpoint).d_state, 5);
  checkpoint.config.erase("n_groups");
  EXPECT_EQ(read(checkpoint).groups, 2);  // G N = 10, state_size 5
  checkpoint.config.erase("state_size");
  EXPECT_EQ(read(checkpoint).groups, 1);
  EXPECT_EQ(read(checkpoint).d_state, 10);
  checkpoint.config["ssm_cfg"] = {{"ngroups", 2}};
  EXPECT_EQ(read(checkpoint).groups, 2);
}

TEST(Mamba2Describe, KnowsTheLayoutsOfTheOriginalAndOfCodestral) {
  TestCheckpoint checkpoint = tiny_mamba2({.tied = false});
  const Json original = {{"d_model", 20},
                         {"n_layer", 2},
                         {"vocab_size", 50},
                         {"ssm_cfg", {{"layer", "Mamba2"}, {"d_state", 5}, {"headdim", 6}}},
                         {"attn_layer_idx", Json::array()}};
  checkpoint.config = original;
  EXPECT_EQ(describe_model(checkpoint.config, *checkpoint.source()).info.vocab_size, 50);
  TestCheckpoint consolidated;
  for (const auto& [name, tensor] : checkpoint.tensors) {
    const bool table = name == "backbone.embeddings.weight";
    consolidated.tensors["model." + (table ? "backbone.embedding.weight" : name)] = tensor;
  }
  consolidated.config = {{"dim", 20},
                         {"n_layers", 2},
                         {"vocab_size", 61},
                         {"n_groups", 2},
                         {"tie_embeddings", false},
                         {"rms_norm", true},
                         {"model_type", "mamba"}};
  const ModelLayout layout = describe_model(consolidated.config, *consolidated.source());
  EXPECT_EQ(layout.linears.front().name, "model.backbone.embedding");
  EXPECT_EQ(layout.linears.back().name, "model.lm_head");
  EXPECT_EQ(layout.activations.front().name, "model.backbone.layers.0.mixer.in_proj.input");
}

TEST(Mamba2Describe, ReadsTheLimitsOfTheTimeStep) {
  const auto limits = [](Json value) {
    const Mamba2Spec c = read(with("time_step_limit", std::move(value)));
    return std::pair(c.dt_min, c.dt_max);
  };
  const auto infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(limits({0.0, infinity}), std::pair(0.0f, static_cast<float>(infinity)));
  EXPECT_EQ(limits({0.0, {{"__float__", "Infinity"}}}),
            std::pair(0.0f, static_cast<float>(infinity)));
  EXPECT_EQ(limits(nullptr), std::pair(0.0f, static_cast<float>(infinity)));
  EXPECT_EQ(limits({0.25, 1}), std::pair(0.25f, 1.0f));
  for (const Json& bad : {Json{1.0, 0.5}, Json{-1.0, 2.0}, Json{0.0}, Json{infinity, infinity},
                          Json{0.0, std::nan("")}, Json("wide")}) {
    expect_error(with("time_step_limit", bad), {"time_step_limit", "low <= high"});
  }
}

TEST(Mamba2Describe, RefusesSizesThatDoNotFit) {
  expect_error(with("head_dim", 7), {"6 heads of 7 channels are not d_inner 36"});
  expect_error(with("n_groups", 4), {"4 groups do not divide 6 heads"});
  expect_error(with("n_groups", 3), {"3 groups do not divide the 10 channels of B"});
  expect_error(with("rms_norm", false), {"rms_norm"}, ErrorCode::unsupported);
  expect_error(with("hidden_act", "gelu"), {"gelu", "silu"}, ErrorCode::unsupported);
  expect_error(with("ssm_cfg", {{"norm_before_gate", true}}), {"norm_before_gate"},
               ErrorCode::unsupported);
  EXPECT_NO_THROW(read(with("norm_before_gate", true)));  // transformers writes it, and ignores it

  TestCheckpoint heads = tiny_mamba2();
  heads.config.erase("num_heads");
  for (int i = 0; i < 2; ++i) {
    for (const char* name : {"A_log", "dt_bias", "D"}) {
      const std::string layer = "backbone.layers." + std::to_string(i) + ".mixer.";
      heads.tensors[layer + name] = test_tensor({5}, std::vector<float>(5, 0.5f));
    }
  }
  expect_error(heads, {"5 heads do not divide d_inner 36"});

  TestCheckpoint norm = tiny_mamba2();
  norm.tensors.erase("backbone.layers.1.mixer.norm.weight");
  norm.tensors["backbone.layers.0.mixer.A_log"] = test_tensor({7}, std::vector<float>(7, 0.5f));
  expect_error(norm, {"backbone.layers.1.mixer.norm.weight [36] is missing",
                      "backbone.layers.0.mixer.A_log should be [6] but is [7]"});

  TestCheckpoint conv = tiny_mamba2({.layers = 1});
  conv.tensors["backbone.layers.0.mixer.conv1d.weight"] = Tensor(DType::f32, {37, 1, 4});
  expect_error(conv, {"conv1d.weight has 37 channels"});
}

}  // namespace
}  // namespace krait
