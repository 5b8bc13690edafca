// Weights of 4 bits are what the format of compressed-tensors says.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "models/test_support.h"
#include "quant/quantize_to_memory.h"

namespace krait {
namespace {

const TinyMamba kShape{.V = 61, .D = 24, .E = 40, .N = 16, .R = 3};

QuantizedModel quantized(const Recipe& recipe) {
  ThreadPool threads(1);
  const TestCheckpoint checkpoint = tiny_mamba(kShape);
  return quantize_to_memory(checkpoint.config, *checkpoint.source(), recipe, threads);
}

std::vector<float> logits_of(const Json& config, const TensorSource& tensors,
                             std::span<const std::int32_t> ids) {
  TestRuntime runtime(select_isa());
  const auto model = load_model(runtime.ctx, config, tensors);
  SequenceState state(model->state_layout());
  return all_logits(runtime.ctx, *model, ids, state);
}

/// The same checkpoint with every 4-bit weight as f32, by the words of compressed-tensors: eight
/// values + 8 in an int32, the first in the lowest bits, a scale for each group of columns.
TestCheckpoint unpacked(const QuantizedModel& made) {
  TestCheckpoint result{made.config, {}};
  for (const TensorInfo& info : made.tensors->list()) {
    const Tensor tensor = made.tensors->get(info.name);
    if (!info.name.ends_with("_packed")) {
      result.tensors[info.name] = tensor;
      continue;
    }
    const std::string name = info.name.substr(0, info.name.size() - 7);
    const Tensor scale = to_f32(made.tensors->get(name + "_scale").view());
    const auto shape = made.tensors->get(name + "_shape").as<std::int64_t>();
    const std::int64_t cols = shape[1], group = cols / scale.shape()[1];
    Tensor wide(DType::f32, {shape[0], cols});
    for (std::int64_t i = 0; i < wide.elements(); ++i) {
      const auto word =
          static_cast<std::uint32_t>(tensor.as<std::int32_t>()[static_cast<std::size_t>(i / 8)]);
      const int q = static_cast<int>(word >> (4 * (i % 8)) & 15) - 8;
      wide.mutable_as<float>()[static_cast<std::size_t>(i)] =
          static_cast<float>(q) * scale.as<float>()[static_cast<std::size_t>(i / group)];
    }
    result.tensors[name] = wide;
  }
  for (auto it = result.tensors.begin(); it != result.tensors.end();) {
    const bool companion =
        result.tensors.contains(it->first.substr(0, it->first.size() - 6)) &&
        (it->first.ends_with("weight_scale") || it->first.ends_with("weight_shape")) &&
        result.tensors.at(it->first.substr(0, it->first.size() - 6)).dtype() == DType::f32;
    it = companion ? result.tensors.erase(it) : std::next(it);
  }
  return result;
}

TEST(FourBits, AreWhatCompressedTensorsSays) {
  // A head of 4 bits is one of its own.
  Json with_head = load_recipe("krait-w4a16").source;
  with_head["weights"]["head"] = "int4/group32";
  with_head["activations"].erase("head.input");
  for (const Json& recipe : {load_recipe("krait-w4a16").source, with_head}) {
    const QuantizedModel made = quantized(parse_recipe(recipe, "test"));
    const TestCheckpoint wide = unpacked(made);
    EXPECT_TRUE(wide.tensors.contains("backbone.layers.1.mixer.x_proj.weight"));
    EXPECT_EQ(wide.tensors.contains("lm_head.weight"), recipe == with_head);
    const std::vector<std::int32_t> ids = random_ids(8, 40, kShape.V);
    const std::vector<float> expected = logits_of(wide.config, *wide.source(), ids);
    const std::vector<float> got = logits_of(made.config, *made.tensors, ids);
    double squares = 0, largest = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
      squares += static_cast<double>(expected[i]) * expected[i];
      largest = std::max(largest, std::fabs(static_cast<double>(got[i]) - expected[i]));
    }
    // An int8 head input may round the other way where the two differ in the last bit.
    const double bound = recipe == with_head ? 1e-5 : 0.05;
    EXPECT_LT(largest, bound * std::sqrt(squares / static_cast<double>(got.size())));
  }
}

}  // namespace
}  // namespace krait
