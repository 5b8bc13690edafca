// Quantized models against what rounding says it did: the inputs that a product has in the finished
// model are the ones that it was rounded on.
#include "quant/round_layers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "io/checkpoint.h"
#include "models/test_attention.h"
#include "quant/calibrate.h"
#include "quant/gptq.h"
#include "quant/moments.h"
#include "quant/test_support.h"

namespace krait {
namespace {

TestCheckpoint family(const std::string& name) {
  if (name == "neox") return tiny_neox({.D = 64, .heads = 4, .F = 112});
  if (name == "jamba") return tiny_jamba({.D = 48, .heads = 4, .F = 80});
  if (name == "mamba2") return tiny_mamba2({.D = 32, .H = 20, .P = 4, .G = 2, .N = 16});
  return tiny_mamba({.D = 32, .E = 80});
}

/// The second moments that every product of a model sees.
class AllInputs final : public Tap {
 public:
  explicit AllInputs(ThreadPool& pool, const Microkernels& kernels) : ctx_{pool, kernels, arena_} {}
  void observe(int, const Activation&) override {}
  void product(const Weight& weight, const Activation& x) override {
    if (weight.name.empty()) return;
    Moments& moments = seen[weight.name];
    moments.cols = x.cols;
    moments.add(ctx_, widened(x));
  }
  std::map<std::string, Moments> seen;

 private:
  Arena arena_;
  Context ctx_;
};

CalibrationData data_of(const QuantizeFixture& fixture) {
  const QuantizeOptions options = fixture.options("");
  return load_calibration({options.calibration, options.samples, options.seq_len, options.seed,
                           fixture.checkpoint.config.at("vocab_size")},
                          {});
}

std::string write_recipe(const QuantizeFixture& fixture, const std::string& base,
                         const std::string& rounding) {
  Json recipe = load_recipe(base).source;
  recipe["round"] = rounding;
  const std::string path = fixture.directory / "recipe.json";
  write_file_atomic(path, recipe.dump());
  return path;
}

std::string bytes_of(const Tensor& tensor) {
  return {static_cast<const char*>(tensor.view().data), tensor.bytes()};
}

class RoundLayers : public testing::TestWithParam<std::string> {
 protected:
  QuantizeFixture fixture{family(GetParam())};
};

TEST_P(RoundLayers, RoundOnTheInputsOfTheFinishedModel) {
  const Checkpoint made = open_checkpoint(fixture.run("gptq-w4a8", "out"));
  TestRuntime runtime;
  const auto model = load_model(runtime.ctx, made.config, *made.tensors);
  AllInputs inputs(runtime.pool, runtime.ctx.kernels);
  run_samples(runtime.ctx, inputs, *model, data_of(fixture), "test", {});

  const auto source = fixture.checkpoint.source();
  const QuantizationPlan plan =
      plan_quantization(load_recipe("gptq-w4a8"), fixture.checkpoint.config, *source);
  int compared = 0;
  for (const TensorPlan& tensor : plan.tensors) {
    if (!tensor.is_rounded_product()) continue;
    const LinearSite& site = plan.layout.linears[static_cast<std::size_t>(tensor.linear)];
    const Moments& moments = inputs.seen.at(site.name);
    const bool is_expert = site.name.find("experts") != std::string::npos;
    if (is_expert && moments.tokens < site.cols) continue;
    const Tensor value = to_f32(float_value(runtime.pool, tensor, *source, {}).view());
    const RoundedMatrix rounded =
        round_gptq(runtime.pool, value.as<float>(), site.rows, site.cols, moments.own,
                   *tensor.integers, gptq_options(plan.recipe.rounding()), site.name);
    const QuantizedTensor expected = pack_rounded(rounded, tensor.shape, *tensor.integers);
    EXPECT_EQ(bytes_of(made.tensors->get(tensor.outputs()[0].name)), bytes_of(expected.q))
        << site.name;
    EXPECT_EQ(bytes_of(made.tensors->get(tensor.outputs()[1].name)), bytes_of(expected.scale));
    ++compared;
  }
  EXPECT_GE(compared, 4);
}

TEST_P(RoundLayers, DoNotDependOnThreads) {
  for (const char* rounding : {"gptq", "nearest/weighted_mse"}) {
    const std::string recipe = write_recipe(fixture, "gptq-w4a8", rounding);
    std::string first;
    for (const int threads : {1, 3}) {
      QuantizeOptions options = fixture.options(recipe);
      options.threads = threads;
      options.overwrite = true;
      quantize(fixture.directory / "model", fixture.directory / "out", options);
      const std::string bytes = read_file(fixture.directory / "out/model.safetensors");
      if (first.empty()) first = bytes;
      EXPECT_TRUE(bytes == first) << rounding << threads;
    }
  }
}

/// Mean squared difference of all logits on the calibration samples to the float model's.
double logit_error(const QuantizeFixture& fixture, const std::string& directory) {
  TestRuntime runtime;
  const Checkpoint made = open_checkpoint(directory);
  const auto source = fixture.checkpoint.source();
  const auto model = load_model(runtime.ctx, made.config, *made.tensors);
  const auto original = load_model(runtime.ctx, fixture.checkpoint.config, *source);
  double sum = 0;
  for (const auto& sample : data_of(fixture).samples) {
    SequenceState a(model->state_layout()), b(original->state_layout());
    const std::vector<float> x = all_logits(runtime.ctx, *model, sample, a);
    const std::vector<float> y = all_logits(runtime.ctx, *original, sample, b);
    for (std::size_t i = 0; i < x.size(); ++i) {
      sum += std::pow(static_cast<double>(x[i]) - static_cast<double>(y[i]), 2);
    }
  }
  return sum;
}

TEST_P(RoundLayers, LoseLessThanTheNearest) {
  const auto error = [&](const std::string& rounding, const std::string& name) {
    return logit_error(fixture, fixture.run(write_recipe(fixture, "gptq-w4a8", rounding), name));
  };
  const double nearest =
      logit_error(fixture, fixture.run(write_recipe(fixture, "rtn-w4a8", "nearest"), "a"));
  EXPECT_LT(error("gptq-paper", "b"), 0.9 * nearest);
  EXPECT_LT(error("gptq", "c"), 0.9 * nearest);
}

/// Words of codes, and a table that is rounded for its use as a head.
TEST_P(RoundLayers, LoseLessThanTheNearestWords) {
  for (const char* recipe : {"krait-w3a8", "krait-w2a8"}) {
    const auto error = [&](const std::string& rounding, const std::string& name) {
      return logit_error(fixture,
                         fixture.run(write_recipe(fixture, recipe, rounding), name + recipe));
    };
    const double nearest = error("nearest/weighted_mse", "a");
    EXPECT_LT(error("gptq", "b"), 0.95 * nearest) << recipe;
  }
}

TEST_P(RoundLayers, CalibrateOnWhatTheModelWrites) {
  QuantizeOptions options = fixture.options("krait-w4a8");
  options.calibration.clear();
  quantize(fixture.directory / "model", fixture.directory / "out", options);
  const Json config = parse_json(read_file(fixture.directory / "out/config.json"), "config");
  const Json& data = config.at("/quantization_config/krait/provenance/calibration"_json_pointer);
  EXPECT_EQ(data.at("source"), "text generated by the model");
  EXPECT_EQ(data.at("tokens"), 5 * 33);
}

INSTANTIATE_TEST_SUITE_P(Families, RoundLayers, testing::Values("mamba", "mamba2", "neox", "jamba"),
                         [](const auto& test) { return test.param; });

/// Few samples: some experts see few tokens or none.
TEST(RoundLayers, TakeExpertsThatSawNothing) {
  const QuantizeFixture fixture(
      tiny_jamba({.D = 48, .heads = 4, .F = 80, .experts = 16, .experts_per_token = 1}));
  QuantizeOptions options = fixture.options("krait-w4a8");
  options.samples = 1;
  options.seq_len = 5;
  quantize(fixture.directory / "model", fixture.directory / "out", options);
  EXPECT_TRUE(std::isfinite(logit_error(fixture, fixture.directory / "out")));
}

}  // namespace
}  // namespace krait
