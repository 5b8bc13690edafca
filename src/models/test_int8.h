// An int8 checkpoint made by hand from a float one, for tests: observed scales, round to nearest.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/hadamard/hadamard.h"
#include "models/test_support.h"

namespace krait {

/// Which int8 numerics quantize_by_hand() gives a model.
enum class HandScheme { static_tensor, dynamic_token, dynamic_tensor };

inline std::string_view name_of(HandScheme scheme) {
  switch (scheme) {
    case HandScheme::static_tensor:
      return "static_tensor";
    case HandScheme::dynamic_token:
      return "dynamic_token";
    case HandScheme::dynamic_tensor:
      return "dynamic_tensor";
  }
  return "?";
}

/// Largest magnitude seen at each site.
class AbsmaxTap : public Tap {
 public:
  explicit AbsmaxTap(const ModelLayout& layout) : absmax(layout.activations.size(), 0.0f) {}
  void observe(int site, const Activation& value) override {
    float& most = absmax[static_cast<std::size_t>(site)];
    for (std::int64_t t = 0; t < value.rows; ++t) {
      for (std::int64_t c = 0; c < value.cols; ++c)
        most = std::max(most, std::abs(value.f32(t)[c]));
    }
  }
  std::vector<float> absmax;
};

/// Round to nearest with one scale per row (per_row) or for all. Adds name and name + "_scale".
inline void quantize_tensor(TestCheckpoint& checkpoint, const std::string& name, bool per_row) {
  const Tensor values = to_f32(checkpoint.tensors.at(name).view());
  const std::int64_t rows = values.shape()[0], scales = per_row ? rows : 1;
  const std::int64_t cols = values.elements() / scales;
  Tensor q(DType::i8, values.shape());
  Tensor scale(DType::f32, per_row ? Shape{rows, 1} : Shape{1});
  for (std::int64_t r = 0; r < scales; ++r) {
    float most = 1e-5f;
    for (std::int64_t c = 0; c < cols; ++c) {
      most = std::max(most, std::abs(values.as<float>()[static_cast<std::size_t>(r * cols + c)]));
    }
    const float s = most / 127.0f;
    scale.mutable_as<float>()[static_cast<std::size_t>(r)] = s;
    for (std::int64_t c = 0; c < cols; ++c) {
      const auto i = static_cast<std::size_t>(r * cols + c);
      q.mutable_as<std::int8_t>()[i] =
          static_cast<std::int8_t>(std::lrint(values.as<float>()[i] / s));
    }
  }
  checkpoint.tensors[name] = q;
  checkpoint.tensors[name + "_scale"] = scale;
}

/// The float checkpoint with the inputs of products rotated in the forward pass, wherever that is
/// possible, and their weights to match: the same function. A tied head stays one with the table.
inline TestCheckpoint rotate_by_hand(const TestCheckpoint& original, const ModelLayout& layout) {
  TestCheckpoint result = original;
  for (const LinearSite& site : layout.linears) {
    if (site.input_site < 0) continue;
    const std::string name = (site.tied_to.empty() ? site.name : site.tied_to) + ".weight";
    const ActivationSite& input = layout.activations[static_cast<std::size_t>(site.input_site)];
    if (!input.rotatable) continue;
    const std::int64_t block = largest_hadamard_block(site.cols);
    const Tensor values = to_f32(original.tensors.at(name).view());
    Tensor rotated(DType::f32, values.shape());
    for (std::int64_t r = 0; r < site.rows; ++r) {
      const auto from = values.as<float>().begin() + r * site.cols;
      std::vector<double> row(from, from + site.cols);
      for (std::int64_t c = 0; c < site.cols; c += block) {
        hadamard_row(
            std::span(row).subspan(static_cast<std::size_t>(c), static_cast<std::size_t>(block)),
            block);
      }
      std::copy(row.begin(), row.end(), rotated.mutable_as<float>().begin() + r * site.cols);
    }
    result.tensors[name] = rotated;
    result.config["quantization_config"]["krait"]["activations"][input.role] = {
        {"hadamard_block", block}};
  }
  return result;
}

/// An int8 version of a float checkpoint: every linear and the table per row; static_tensor also
/// the small parameters, every site and a float16 state, with scales observed on `ids`. What the
/// quantizer makes, without the quantizer.
inline TestCheckpoint quantize_by_hand(const TestCheckpoint& original, HandScheme scheme,
                                       std::span<const std::int32_t> ids, bool rotate = false) {
  const ModelLayout layout = describe_model(original.config, *original.source());
  TestCheckpoint result = rotate ? rotate_by_hand(original, layout) : original;
  AbsmaxTap tap(layout);
  {
    TestRuntime runtime;
    const auto model = load_model(runtime.ctx, result.config, *result.source());
    SequenceState state(model->state_layout());
    runtime.ctx.tap = &tap;
    all_logits(runtime.ctx, *model, ids, state);
  }
  for (const LinearSite& site : layout.linears) {
    if (site.tied_to.empty()) quantize_tensor(result, site.name + ".weight", true);
  }
  Json& activations = result.config["quantization_config"]["krait"]["activations"];
  for (std::size_t i = 0; i < layout.activations.size(); ++i) {
    const ActivationSite& site = layout.activations[i];
    const bool feeds_product = site.role.ends_with(".input") && site.role != "conv1d.input";
    Json numerics = {{"bits", 8}, {"type", "int"}, {"strategy", "tensor"}, {"dynamic", false}};
    if (scheme == HandScheme::static_tensor) {
      if (site.is_state) numerics = {{"bits", 16}, {"type", "float"}};
    } else {
      if (site.is_state || (scheme == HandScheme::dynamic_token && !feeds_product)) continue;
      numerics["dynamic"] = true;
      if (scheme == HandScheme::dynamic_token) numerics["strategy"] = "token";
    }
    activations[site.role].update(numerics);
    if (scheme == HandScheme::static_tensor && !site.is_state) {
      result.tensors[site.name + "_scale"] =
          test_tensor({1}, std::vector<float>{tap.absmax[i] / 127.0f});
    }
  }
  if (scheme == HandScheme::static_tensor) {
    for (const ParamSite& site : layout.params) {
      if (site.quantizable) quantize_tensor(result, site.name, false);
    }
  }
  result.config["quantization_config"]["quant_method"] = "compressed-tensors";
  return result;
}

}  // namespace krait
