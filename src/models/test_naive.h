// Independent forward passes for tests: scalar code in double precision, token by token, with every
// value rounded at the sites that config.json quantizes.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "models/test_int8.h"
#include "models/test_support.h"

namespace krait {

using Vector = std::vector<double>;

/// What nested loops over a checkpoint's tensors share. int8 tensors are widened, and at every site
/// that the config quantizes the value is rounded to its grid: the arithmetic that integer kernels
/// stand for.
class NaiveModel {
 public:
  virtual ~NaiveModel() = default;

  Vector logits(std::span<const std::int32_t> ids) {
    Vector result;
    const std::size_t D = tensors_.at("backbone.norm_f.weight").size();
    for (const std::int32_t id : ids) {
      const auto row =
          tensors_.at("backbone.embeddings.weight").begin() + id * static_cast<std::ptrdiff_t>(D);
      Vector residual(row, row + static_cast<std::ptrdiff_t>(D));
      for (std::int64_t i = 0; i < layers_; ++i) {
        const std::string block = "backbone.layers." + std::to_string(i) + ".";
        const Vector hidden =
            rounded(block + "mixer.", "in_proj.input", norm(residual, block + "norm.weight"));
        const Vector out = mixer(block + "mixer.", hidden);
        for (std::size_t d = 0; d < residual.size(); ++d) residual[d] += out[d];
      }
      const bool tied = !tensors_.contains("lm_head.weight");
      const Vector last =
          multiply(tied ? "backbone.embeddings" : "lm_head",
                   rounded("", "lm_head.input", norm(residual, "backbone.norm_f.weight")));
      result.insert(result.end(), last.begin(), last.end());
    }
    return result;
  }

 protected:
  NaiveModel(const TestCheckpoint& checkpoint, std::int64_t layers)
      : layers_(layers), eps_(checkpoint.config.at("layer_norm_epsilon").get<double>()) {
    for (const auto& [name, tensor] : checkpoint.tensors) {
      if (tensor.dtype() == DType::i8) {
        const auto scale = checkpoint.tensors.at(name + "_scale").as<float>();
        const std::size_t per_scale = tensor.as<std::int8_t>().size() / scale.size();
        for (const std::int8_t q : tensor.as<std::int8_t>()) {
          Vector& values = tensors_[name];
          values.push_back(q * static_cast<double>(scale[values.size() / per_scale]));
        }
      } else {
        const Tensor values = to_f32(tensor.view());
        tensors_[name].assign(values.as<float>().begin(), values.as<float>().end());
      }
    }
    activations_ = checkpoint.config.value("/quantization_config/krait/activations"_json_pointer,
                                           Json::object());
  }

  /// One token through one mixer, whose tensors' names begin with `mixer`.
  virtual Vector mixer(const std::string& mixer, const Vector& hidden) = 0;

  static std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }
  static double silu(double v) { return v / (1 + std::exp(-v)); }

  /// RMSNorm over each of `groups` groups.
  Vector norm(const Vector& x, const std::string& weight, std::size_t groups = 1) const {
    const std::size_t width = x.size() / groups;
    Vector y(x.size());
    for (std::size_t begin = 0; begin < x.size(); begin += width) {
      double squares = 0;
      for (std::size_t i = begin; i < begin + width; ++i) squares += x[i] * x[i];
      const double scale = 1 / std::sqrt(squares / static_cast<double>(width) + eps_);
      for (std::size_t i = begin; i < begin + width; ++i) {
        y[i] = x[i] * scale * tensors_.at(weight)[i];
      }
    }
    return y;
  }

  Vector multiply(const std::string& name, const Vector& x) const {
    const Vector& weight = tensors_.at(name + ".weight");
    Vector y(weight.size() / x.size());
    const auto bias = tensors_.find(name + ".bias");
    for (std::size_t r = 0; r < y.size(); ++r) {
      for (std::size_t c = 0; c < x.size(); ++c) y[r] += weight[r * x.size() + c] * x[c];
      if (bias != tensors_.end() && !name.ends_with("dt_proj")) y[r] += bias->second[r];
    }
    return y;
  }

  /// The newest input joins the window of the last K; silu(conv) of it.
  Vector convolve(const std::string& mixer, const Vector& input) {
    const Vector& weight = tensors_.at(mixer + "conv1d.weight");
    const std::size_t K = weight.size() / input.size();
    Vector& window = windows_[mixer];
    window.resize(weight.size());
    Vector u(input.size());
    for (std::size_t e = 0; e < u.size(); ++e) {
      const auto w = window.begin() + static_cast<std::ptrdiff_t>(e * K);
      std::rotate(w, w + 1, w + static_cast<std::ptrdiff_t>(K));
      window[e * K + K - 1] = input[e];
      const auto bias = tensors_.find(mixer + "conv1d.bias");
      double sum = bias == tensors_.end() ? 0 : bias->second[e];
      for (std::size_t k = 0; k < K; ++k) sum += weight[e * K + k] * window[e * K + k];
      u[e] = silu(sum);
    }
    return u;
  }

  /// The value as the site's numerics keep it.
  Vector rounded(const std::string& prefix, const std::string& role, Vector x) const {
    if (!activations_.contains(role)) return x;
    double scale = 0;
    if (activations_.at(role).value("dynamic", false)) {
      for (const double v : x) scale = std::max(scale, std::abs(v) / 127);
    } else {
      scale = tensors_.at(prefix + role + "_scale").at(0);
    }
    for (double& v : x) v = scale * std::clamp(std::nearbyint(v / scale), -128.0, 127.0);
    return x;
  }

  double rounded_state(double h) const {
    return activations_.contains("ssm_state")
               ? static_cast<double>(f16_to_f32(f32_to_f16(static_cast<float>(h))))
               : h;
  }

  std::int64_t layers_;
  double eps_;
  std::map<std::string, Vector> tensors_;
  Json activations_;
  std::map<std::string, Vector> windows_, states_;  ///< by mixer
};

inline double deviation(const Vector& values) {
  double sum = 0, squares = 0;
  for (const double v : values) {
    sum += v;
    squares += v * v;
  }
  const auto n = static_cast<double>(values.size());
  return std::sqrt(squares / n - sum / n * (sum / n));
}

inline double max_difference(const std::vector<float>& got, const Vector& expected) {
  EXPECT_EQ(got.size(), expected.size());
  double most = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    most = std::max(most, std::abs(static_cast<double>(got[i]) - expected[i]));
  }
  return most;
}

inline std::vector<float> run(const TestCheckpoint& checkpoint, std::span<const std::int32_t> ids) {
  TestRuntime runtime(select_isa());
  const auto model = load_model(runtime.ctx, checkpoint.config, *checkpoint.source());
  SequenceState state(model->state_layout());
  std::vector<float> logits = all_logits(runtime.ctx, *model, ids, state);
  EXPECT_EQ(state.position(), static_cast<std::int64_t>(ids.size()));
  return logits;
}

/// Root mean square of the difference, in standard deviations of the expected values.
inline double relative_error(const std::vector<float>& got, const Vector& expected) {
  EXPECT_EQ(got.size(), expected.size());
  double squares = 0;
  for (std::size_t i = 0; i < got.size(); ++i) squares += std::pow(got[i] - expected[i], 2);
  return std::sqrt(squares / static_cast<double>(got.size())) / deviation(expected);
}

/// Sites seen, with their widths.
struct CountingTap : Tap {
  void observe(int site, const Activation& value) override { seen[site].push_back(value); }
  std::map<int, std::vector<Activation>> seen;
};

/// Two sequences through the model: every site once with all tokens, a state [states, channels]
/// once per sequence.
inline void expect_every_site_is_shown(const TestCheckpoint& checkpoint, std::int64_t states) {
  TestRuntime runtime;
  const auto model = load_model(runtime.ctx, checkpoint.config, *checkpoint.source());
  CountingTap tap;
  runtime.ctx.tap = &tap;
  const auto ids = random_ids(9, 12, model->info().vocab_rows);
  SequenceState a(model->state_layout()), b(model->state_layout());
  const std::int32_t cu_seqlens[] = {0, 5, 12};
  SequenceState* both[] = {&a, &b};
  model->forward(runtime.ctx, {ids, cu_seqlens, both}, nullptr);
  const auto& sites = model->layout().activations;
  ASSERT_EQ(tap.seen.size(), sites.size());
  for (const auto& [index, values] : tap.seen) {
    const ActivationSite& site = sites[static_cast<std::size_t>(index)];
    EXPECT_EQ(values.size(), site.is_state ? 2u : 1u) << site.name;
    EXPECT_EQ(values.front().rows, site.is_state ? states : 12) << site.name;
    EXPECT_EQ(values.front().cols, site.channels) << site.name;
  }
}

}  // namespace krait
