#include "quant/bias_correction.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "io/checkpoint.h"
#include "models/test_attention.h"
#include "quant/calibrate.h"
#include "quant/moments.h"
#include "quant/recipe.h"
#include "quant/test_support.h"

namespace krait {
namespace {

/// Two outputs of two inputs over three tokens, by hand: W = [[1, 2], [-1, 0.5]], of which 0.5
/// [[2, 3], [-2, 1]] is left.
TEST(MeanOutputError, IsTheDifferenceOfMeanOutputs) {
  InputSums sums;
  sums.add(std::vector<float>{1, 2, 3, 4}, std::vector<float>{1, 2, 3, 3}, 2);
  sums.add(std::vector<float>{-1, 6}, std::vector<float>{2, 4}, 2);
  EXPECT_EQ(sums.tokens, 3);
  EXPECT_EQ(sums.of_float, (std::vector<double>{3, 12}));
  EXPECT_EQ(sums.of_quantized, (std::vector<double>{6, 9}));
  const std::vector<float> w = {1, 2, -1, 0.5f};
  const RoundedMatrix rounded{.q = {2, 3, -2, 1}, .steps = {0.5f, 0.5f}};
  // (1 * 3 + 2 * 12) / 3 - (1 * 6 + 1.5 * 9) / 3 and (-3 + 6) / 3 - (-6 + 4.5) / 3
  IntegerFormat format;
  format.group = 2;
  const std::vector<double> error = mean_output_error(w, rounded, format, sums);
  EXPECT_EQ(error, (std::vector<double>{9 - 6.5, 1.5}));
  // The same with a step for each column.
  const RoundedMatrix by_column{.q = {1, 3, -1, 2}, .steps = {1, 0.5f, 1, 0.25f}};
  format.group = 1;
  EXPECT_EQ(mean_output_error(w, by_column, format, sums), error);
}

/// The mean input of every product.
class MeanInputs final : public Tap {
 public:
  void observe(int, const Activation&) override {}
  void product(const Weight& weight, const Activation& x) override {
    if (weight.name.empty()) return;
    std::vector<double>& mean = sums_[weight.name];
    mean.resize(static_cast<std::size_t>(x.cols));
    const std::vector<float> values = widened(x);
    for (std::size_t i = 0; i < values.size(); ++i) mean[i % mean.size()] += values[i];
    tokens_[weight.name] += static_cast<double>(x.rows);
  }
  /// E[W x] + bias of a product without groups.
  std::vector<double> mean_output(const TensorSource& tensors, const std::string& name) const {
    const Tensor w = tensors.get(name + ".weight");
    const std::vector<double>& sum = sums_.at(name);
    std::vector<float> values, bias;
    if (w.dtype() == DType::i8) {
      const float scale = tensors.get(name + ".weight_scale").as<float>()[0];
      for (const std::int8_t q : w.as<std::int8_t>()) values.push_back(scale * q);
    } else {
      const Tensor wide = to_f32(w.view());
      values.assign(wide.as<float>().begin(), wide.as<float>().end());
    }
    std::vector<double> result(values.size() / sum.size());
    if (tensors.contains(name + ".bias")) {
      const Tensor wide = to_f32(tensors.get(name + ".bias").view());
      std::copy_n(wide.as<float>().begin(), result.size(), result.begin());
    }
    for (std::size_t i = 0; i < values.size(); ++i) {
      result[i / sum.size()] += values[i] * sum[i % sum.size()] / tokens_.at(name);
    }
    return result;
  }

 private:
  std::map<std::string, std::vector<double>> sums_;
  std::map<std::string, double> tokens_;
};

/// A checkpoint of a family, the key of config.json that gives its products biases, and how many
/// products have one then.
struct Family {
  TestCheckpoint checkpoint;
  std::string bias_key;
  int corrected;
};

Family family_of(const std::string& name) {
  if (name == "neox") {
    return {tiny_neox({.D = 64, .heads = 4, .F = 112, .attention_bias = false}), "attention_bias",
            8};
  }
  if (name == "jamba") return {tiny_jamba({.D = 48, .heads = 4, .F = 80}), "mamba_proj_bias", 9};
  if (name == "mamba2") {
    return {tiny_mamba2({.D = 32, .H = 20, .P = 4, .G = 2, .N = 16}), "use_bias", 4};
  }
  return {tiny_mamba({.D = 32, .E = 80}), "use_bias", 6};
}

class BiasCorrection : public testing::TestWithParam<std::string> {
 protected:
  Family family = family_of(GetParam());
  QuantizeFixture fixture{family.checkpoint};

  /// static-w8a8 with float biases and the given last step, if any, in DIR/`name`.
  std::string run(const Json& step, const std::string& name) const {
    Json recipe = load_recipe("static-w8a8").source;
    for (const char* role : {"dt_proj.bias", "dt_bias", "conv1d.bias"}) {
      recipe["weights"].erase(role);
    }
    if (!step.is_null()) recipe["steps"].push_back(step);
    const std::string path = fixture.directory / ("recipe" + name);
    write_file_atomic(path, recipe.dump());
    return fixture.run(path, name);
  }

  MeanInputs inputs_of(const Json& config, const TensorSource& tensors) const {
    TestRuntime runtime;
    const QuantizeOptions options = fixture.options("");
    const CalibrationData data =
        load_calibration({options.calibration, options.samples, options.seq_len, options.seed,
                          fixture.checkpoint.config.at("vocab_size")},
                         {});
    MeanInputs inputs;
    run_samples(runtime.ctx, inputs, *load_model(runtime.ctx, config, tensors), data, "test", {});
    return inputs;
  }

  /// The sum of all differences between the mean outputs that the products of `names` have in the
  /// finished model and shall have, of the float weights for the inputs of the same model or, if
  /// `of_float`, of the float model.
  double error(const std::string& directory, const std::vector<std::string>& names,
               bool of_float) const {
    const Checkpoint made = open_checkpoint(directory);
    const auto source = fixture.checkpoint.source();
    const MeanInputs inputs = inputs_of(made.config, *made.tensors);
    const MeanInputs wanted = of_float ? inputs_of(fixture.checkpoint.config, *source) : inputs;
    double sum = 0;
    for (const std::string& name : names) {
      const std::vector<double> want = wanted.mean_output(*source, name);
      const std::vector<double> got = inputs.mean_output(*made.tensors, name);
      for (std::size_t r = 0; r < want.size(); ++r) sum += std::abs(want[r] - got[r]);
    }
    return sum;
  }
};

/// What the products of the finished model put out on the calibration data has the mean that it
/// shall have, the later ones behind corrected earlier ones. Biases that are new are bf16.
TEST_P(BiasCorrection, GivesOutputsTheirMean) {
  const std::string plain = run(nullptr, "plain");
  EXPECT_FALSE(open_checkpoint(plain).config.value(family.bias_key, false));
  for (const char* target : {"quantized", "float"}) {
    const std::string corrected = run({{"name", "bias_correction"}, {"target", target}}, target);
    const Checkpoint made = open_checkpoint(corrected);
    EXPECT_TRUE(made.config.at(family.bias_key));
    std::vector<std::string> names;
    for (const LinearSite& site : describe_model(made.config, *made.tensors).linears) {
      if (made.tensors->contains(site.name + ".bias")) names.push_back(site.name);
    }
    EXPECT_EQ(std::ssize(names), family.corrected);
    const bool of_float = std::string(target) == "float";
    EXPECT_LT(error(corrected, names, of_float), 0.1 * error(plain, names, of_float)) << target;
  }
}

/// A bias of integers is corrected before it is rounded.
TEST(BiasCorrectionOfIntegers, RoundsTheSum) {
  const QuantizeFixture fixture(tiny_mamba({.D = 32, .E = 80}));
  Json recipe = load_recipe("static-w8a8").source;
  recipe["steps"].push_back({{"name", "bias_correction"}});
  const std::string path = fixture.directory / "recipe";
  write_file_atomic(path, recipe.dump());
  const Checkpoint made = open_checkpoint(fixture.run(path, "a"));
  const Checkpoint plain = open_checkpoint(fixture.run("static-w8a8", "b"));
  const std::string name = "backbone.layers.1.mixer.dt_proj.bias";
  const auto value = [&](const Checkpoint& from, std::size_t i) {
    return from.tensors->get(name + "_scale").as<float>()[0] *
           from.tensors->get(name).as<std::int8_t>()[i];
  };
  double change = 0, largest = 0;
  for (std::size_t i = 0; i < 80; ++i) {
    change = std::max(change, std::abs(static_cast<double>(value(made, i) - value(plain, i))));
    largest = std::max(largest, std::abs(static_cast<double>(value(plain, i))));
  }
  EXPECT_GT(change, 0);
  EXPECT_LT(change, 0.1 * largest);
}

INSTANTIATE_TEST_SUITE_P(Families, BiasCorrection,
                         testing::Values("mamba", "mamba2", "neox", "jamba"),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace krait
