#include "report/footprint.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "eval/speed.h"
#include "io/checkpoint.h"
#include "io/test_support.h"
#include "krait/quantize.h"
#include "models/dummy.h"
#include "models/test_support.h"
#include "quant/quantize_to_memory.h"

namespace krait {
namespace {

struct Reported {
  std::size_t weights = 0, read = 0, state = 0, cache_per_token = 0;
  double bytes_per_token = 0;
};

/// What a model says of itself once it is loaded.
Reported loaded(const Json& config, const TensorSource& tensors) {
  TestRuntime runtime;
  const auto model = load_model(runtime.ctx, config, tensors);
  const StateLayout& state = *model->state_layout();
  Reported reported{.read = model->weight_bytes(),
                    .state = state.bytes,
                    .cache_per_token = state.bytes_per_token,
                    .bytes_per_token = step_bytes(model->weight_bytes(), state, 0)};
  for (const TensorInfo& info : tensors.list()) {
    reported.weights += static_cast<std::size_t>(info.shape.elements()) * size_of(info.dtype);
  }
  return reported;
}

void expect_same(const Footprint& footprint, const Reported& reported) {
  EXPECT_EQ(footprint.weights, reported.weights);
  EXPECT_EQ(footprint.state, reported.state);
  EXPECT_EQ(footprint.cache_per_token, reported.cache_per_token);
}

TEST(Footprint, IsWhatALoadedModelReports) {
  ThreadPool threads(2);
  int checked = 0;
  for (const auto& entry : std::filesystem::directory_iterator(KRAIT_SOURCE_DIR "/tests/golden")) {
    const bool is_checkpoint = std::filesystem::exists(entry.path() / "ids.json");
    if (!is_checkpoint) continue;
    const Checkpoint source = open_checkpoint(entry.path().string());
    SCOPED_TRACE(source.directory);
    expect_same(footprint_of_float(source.config, *source.tensors),
                loaded(source.config, *source.tensors));
    for (const std::string& name : recipe_names()) {
      SCOPED_TRACE(name);
      const Recipe recipe = load_recipe(name);
      Footprint footprint;
      try {
        footprint = footprint_of(recipe, source.config, *source.tensors);
      } catch (const Error&) {  // not for this model
        continue;
      }
      const QuantizedModel made =
          quantize_to_memory(source.config, *source.tensors, recipe, threads, {}, Digits::rough);
      expect_same(footprint, loaded(made.config, *made.tensors));
      ++checked;
    }
  }
  EXPECT_GT(checked, 200);
}

// Where rows and columns fill the packed forms, what a token reads is known to a few percent.
TEST(Footprint, TokensReadWhatAModelReads) {
  ThreadPool threads(2);
  const TestCheckpoint original = tiny_mamba({.V = 512, .D = 64, .E = 128, .N = 16, .R = 16});
  const auto source = original.source();
  for (const char* name : {"krait-w8a8", "krait-w4a8", "krait-w2a8", "krait-w4a16"}) {
    const Recipe recipe = load_recipe(name);
    const QuantizedModel made =
        quantize_to_memory(original.config, *source, recipe, threads, {}, Digits::rough);
    const double reported = loaded(made.config, *made.tensors).bytes_per_token;
    EXPECT_NEAR(footprint_of(recipe, original.config, *source).bytes_per_token, reported,
                0.06 * reported)
        << name;
  }
}

TEST(Footprint, ShapesAreEnough) {
  const DummyModel model = make_dummy_model("mamba-2.8b");
  const Footprint whole = footprint_of_float(model.config, *model.tensors);
  const Footprint footprint = footprint_of(load_recipe("krait-w8a8"), model.config, *model.tensors);
  EXPECT_NEAR(static_cast<double>(whole.weights), 2 * 2.77e9, 0.1e9);  // float16
  EXPECT_NEAR(footprint.bits_per_weight, 8, 0.2);
  EXPECT_EQ(footprint.cache_per_token, 0u);
  EXPECT_GT(footprint.running, footprint.weights + footprint.state);
  EXPECT_GT(footprint.quantizing, whole.weights);
  EXPECT_NEAR(footprint.decode_seconds(45e9), 2.8e9 / (0.9 * 45e9), 5e-3);
}

TEST(Footprint, ExpertsAreReadAsATokenTakesThem) {
  const DummyModel model = make_dummy_model("jamba-mini-4-layers");
  const Footprint footprint = footprint_of_float(model.config, *model.tensors);
  EXPECT_LT(footprint.bytes_per_token, 0.5 * static_cast<double>(footprint.weights));
  EXPECT_GT(footprint.cache_per_token, 0u);
}

}  // namespace
}  // namespace krait
