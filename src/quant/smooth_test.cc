#include "quant/smooth.h"

#include <gtest/gtest.h>

#include <cmath>

#include "io/checkpoint.h"
#include "models/test_attention.h"
#include "quant/calibration_data.h"
#include "quant/test_support.h"

namespace krait {
namespace {

Recipe smoothing(std::vector<Json> steps) {
  Json all(std::move(steps));
  all.push_back({{"name", "calibrate"}});
  return parse_recipe({{"name", "smooth"}, {"steps", all}}, "test");
}

// SmoothQuant, equation 4, on a matrix whose columns are known.
TEST(Smooth, FactorsAreThoseOfThePaper) {
  TestCheckpoint checkpoint = tiny_mamba({.D = 24, .E = 40});
  const ModelLayout layout = layout_of(checkpoint);
  const Recipe recipe =
      smoothing({{{"name", "smooth"}, {"site", "in_proj.input"}, {"alpha", 0.75}}});
  const std::vector<Smoothing> all = smoothings_of(recipe, layout);
  ASSERT_EQ(all.size(), static_cast<std::size_t>(layout.info.n_layers));
  EXPECT_EQ(all[1].norm, "backbone.layers.1.norm");
  EXPECT_EQ(find_smoothing(all, "backbone.layers.1.norm"), 1);
  EXPECT_EQ(find_smoothing(all, ""), -1);

  std::vector<float> maxima(24, 3.0f);
  maxima[5] = 100.0f;
  maxima[7] = 0.0f;  // a channel that is always zero
  ThreadPool threads(3);
  const std::vector<float> factors =
      smoothing_factors(threads, layout, *checkpoint.source(), all[0], maxima);
  const Tensor w = to_f32(checkpoint.tensors.at("backbone.layers.0.mixer.in_proj.weight").view());
  for (std::size_t j = 0; j < 24; ++j) {
    double most = 0;
    for (std::size_t r = 0; r < 80; ++r) {
      most = std::max(most, std::fabs(static_cast<double>(w.as<float>()[r * 24 + j])));
    }
    const double s = std::pow(static_cast<double>(maxima[j]), 0.75) / std::pow(most, 0.25);
    EXPECT_NEAR(factors[j], j == 7 ? 1.0 : s, 1e-6 * s) << j;
  }
}

TEST(Smooth, MultipliesColumnsAndDividesNorms) {
  ThreadPool threads(2);
  const std::vector<float> factors = {2.0f, 0.5f, 3.0f};
  Tensor matrix(DType::f32, {2, 3}), norm(DType::f32, {3});
  for (int i = 0; i < 6; ++i)
    matrix.mutable_as<float>()[static_cast<std::size_t>(i)] = 1.0f + static_cast<float>(i);
  for (float& w : norm.mutable_as<float>()) w = 6.0f;
  const Tensor columns = smooth(threads, matrix.view(), factors);
  const float expected[] = {2, 1, 9, 8, 2.5, 18};
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(columns.as<float>()[i], expected[i]);
  const Tensor divided = smooth(threads, norm.view(), factors);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(divided.as<float>()[i], 6.0f / factors[i]);
}

TEST(Smooth, RefusesWhatNoNormMakes) {
  const auto refused = [](const std::vector<Json>& steps, const TestCheckpoint& checkpoint,
                          std::initializer_list<std::string> parts) {
    expect_error([&] { fit_recipe(smoothing(steps), layout_of(checkpoint)); },
                 ErrorCode::invalid_argument, parts);
  };
  const auto step = [](const char* site) { return Json{{"name", "smooth"}, {"site", site}}; };
  // Nothing is quantized in these: a smoothed float checkpoint is one, too.
  refused({step("out_proj.input")}, tiny_mamba(),
          {"no norm of MambaForCausalLM makes \"out_proj.input\"", "in_proj.input, lm_head.input"});
  refused({step("dense.input")}, tiny_neox(),
          {"query_key_value.input", "dense_h_to_4h.input", "lm_head.input"});
  refused({step("router.input"), step("gate_proj.input")}, tiny_jamba(),
          {"pre_ff_layernorm", "router.input", "several sites"});
  EXPECT_NO_THROW(fit_recipe(smoothing({step("out_proj.input")}), layout_of(tiny_mamba2())));
  EXPECT_NO_THROW(fit_recipe(smoothing({step("dt_proj.input")}), layout_of(tiny_jamba())));
  expect_error([&] { fit_recipe(smoothing({step("in_proj.in")}), layout_of(tiny_mamba())); },
               ErrorCode::invalid_argument, {"in_proj.in", "did you mean \"in_proj.input\""});
}

/// max |logit difference| is no measure for random weights: the relative error over all logits.
double error_of(const std::string& recipe, const QuantizeFixture& fixture) {
  const auto logits = [&](const std::string& directory) {
    TestRuntime runtime;
    const Checkpoint checkpoint = open_checkpoint(directory);
    const auto model = load_model(runtime.ctx, checkpoint.config, *checkpoint.tensors);
    SequenceState state(model->state_layout());
    return all_logits(runtime.ctx, *model, random_ids(3, 60, model->info().vocab_size), state);
  };
  const std::vector<float> expected = logits(fixture.directory / "model");
  const std::vector<float> got = logits(fixture.run(recipe, recipe));
  double errors = 0, squares = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    errors += std::pow(static_cast<double>(got[i]) - expected[i], 2);
    squares += static_cast<double>(expected[i]) * expected[i];
  }
  return std::sqrt(errors / squares);
}

TEST(Smooth, MovesOutliersIntoTheWeights) {
  for (const TestCheckpoint& checkpoint : {tiny_mamba({.D = 24, .E = 40}), tiny_neox()}) {
    const QuantizeFixture fixture(with_outlier_channel(checkpoint, 64));
    const double plain = error_of("static-w8a8", fixture);
    const double smoothed = error_of("smoothquant-w8a8", fixture);
    EXPECT_GT(plain, 0.3);
    EXPECT_LT(smoothed, 0.5 * plain);
  }
}

// The static scale of a smoothed site is that of the smoothed values, and the tensors are folded.
TEST(Smooth, CalibratesWhatTheSmoothedModelSees) {
  const QuantizeFixture fixture;
  const Checkpoint made = open_checkpoint(fixture.run("smoothquant-w8a8", "smoothed"));
  const Checkpoint plain = open_checkpoint(fixture.run("static-w8a8", "plain"));
  const std::string layer = "backbone.layers.0.";
  const Tensor norm = made.tensors->get(layer + "norm.weight");
  const Tensor original = to_f32(plain.tensors->get(layer + "norm.weight").view());
  EXPECT_EQ(norm.dtype(), DType::f32);

  struct Most final : Tap {
    int site;
    float most = 0;
    explicit Most(int wanted) : site(wanted) {}
    void observe(int index, const Activation& value) override {
      for (std::int64_t t = 0; t < value.rows && index == site; ++t) {
        for (std::int64_t c = 0; c < value.cols; ++c)
          most = std::max(most, std::fabs(value.f32(t)[c]));
      }
    }
  };
  // The float model with the folded norms alone makes the same values at the site.
  TestCheckpoint folded = fixture.checkpoint;
  folded.tensors[layer + "norm.weight"] = norm;
  TestRuntime runtime;
  const auto model = load_model(runtime.ctx, folded.config, *folded.source());
  Most most(0);
  ASSERT_EQ(model->layout().activations[0].role, "in_proj.input");
  Context tapped = runtime.ctx;
  tapped.tap = &most;
  const CalibrationData data =
      load_calibration({fixture.directory / "tokens.bin", 5, 33, fixture.options("").seed,
                        fixture.checkpoint.config.at("vocab_size").get<std::int64_t>()},
                       {});
  for (const auto& sample : data.samples) {
    SequenceState state(model->state_layout());
    SequenceState* const states[] = {&state};
    const std::int32_t bounds[] = {0, static_cast<std::int32_t>(sample.size())};
    model->forward(tapped, {sample, bounds, states}, nullptr);
  }
  const float scale = made.tensors->get(layer + "mixer.in_proj.input_scale").as<float>()[0];
  EXPECT_NEAR(scale, most.most / 127, 1e-5 * scale);
  bool changed = false;
  for (std::size_t c = 0; c < 24; ++c) changed |= norm.as<float>()[c] != original.as<float>()[c];
  EXPECT_TRUE(changed);
}

}  // namespace
}  // namespace krait
