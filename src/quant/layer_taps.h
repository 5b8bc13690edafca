// What rounding layer by layer watches: inputs of products, and values of the float model.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "kernels/hadamard/hadamard.h"
#include "models/model.h"
#include "quant/calibrate.h"
#include "quant/moments.h"
#include "quant/plan.h"

namespace krait {

/// Products that read one value, and what they saw.
struct Stage {
  int input_site = -1;
  std::vector<const TensorPlan*> products;
  bool by_expert = false;  // several products of one role: each sees tokens of its own
};

/// The rows of values [tokens, n] times their weights.
inline void scale_tokens(std::span<float> values, std::span<const float> weights) {
  if (weights.empty()) return;
  const std::size_t n = values.size() / weights.size();
  for (std::size_t i = 0; i < values.size(); ++i) values[i] *= weights[i / n];
}

/// Watches the products of a stage. One that `waits` keeps an input until it is told what else is
/// known of its tokens.
class InputTap final : public Tap {
 public:
  InputTap(const Context& ctx, const ModelLayout& layout, const Stage& stage, bool waits)
      : ctx_{ctx.threads, ctx.kernels, arena_},
        owner_(stage.products.size(), -1),
        moments_(stage.products.size()),
        waits_(waits) {
    for (std::size_t i = 0; i < stage.products.size(); ++i) {
      const LinearSite& site = layout.linears[static_cast<std::size_t>(stage.products[i]->linear)];
      names_[site.name] = i;
      moments_[i].cols = site.cols;
    }
  }

  void observe(int, const Activation&) override {}
  void product(const Weight& weight, const Activation& x) override {
    const auto found = names_.find(weight.name);
    // Products that read the same value run one after the other.
    const int neighbour = x.data == last_data_ ? last_ : -1;
    last_data_ = x.data;
    last_ = found == names_.end() ? -1 : static_cast<int>(found->second);
    if (last_ < 0) return;
    int& owner = owner_[static_cast<std::size_t>(last_)];
    if (neighbour >= 0 && neighbour != last_) {  // else it is the next sample's
      owner = owner_[static_cast<std::size_t>(neighbour)];
      return;
    }
    owner = last_;
    if (waits_) {
      input_ = widened(x);
    } else {
      moments_[static_cast<std::size_t>(owner)].add(ctx_, widened(x));
    }
  }

  /// Adds the input that waits and `values` for the same tokens, each token times its weight; {}:
  /// one.
  void add_with(std::vector<float> values, std::span<const float> weights) {
    scale_tokens(input_, weights);
    scale_tokens(values, weights);
    Moments& moments = moments_[static_cast<std::size_t>(owner_.front())];
    moments.add(ctx_, input_);
    moments.add_cross(ctx_, values, input_);
  }

  /// Of a product; nullptr if it saw nothing.
  const Moments* of(std::size_t product) const {
    const int owner = owner_[product];
    return owner < 0 ? nullptr : &moments_[static_cast<std::size_t>(owner)];
  }

 private:
  Arena arena_;
  Context ctx_;
  std::map<std::string, std::size_t, std::less<>> names_;
  std::vector<int> owner_;  // whose moments are a product's: its own or those of a neighbour
  std::vector<Moments> moments_;
  bool waits_;
  std::vector<float> input_;
  const void* last_data_ = nullptr;
  int last_ = -1;
};

/// Keeps a value of the float model, changed as the quantized model's site would change it.
class ValueTap final : public Tap {
 public:
  ValueTap(const Context& ctx, const QuantizationPlan& plan, int site,
           const CalibrationResult& calibrated)
      : ctx_{ctx.threads, ctx.kernels, arena_}, site_(site) {
    const ActivationSite& described = plan.layout.activations[static_cast<std::size_t>(site)];
    const int smoothing = find_smoothing(plan.smoothings, described.norm);
    if (smoothing >= 0) {
      factors_ = calibrated.smoothing_factors[static_cast<std::size_t>(smoothing)];
    }
    const auto numerics = plan.numerics.find(described.role);
    if (numerics != plan.numerics.end()) block_ = numerics->second.hadamard_block;
  }
  void observe(int site, const Activation& value) override {
    if (site != site_) return;
    values_ = widened(value);
    for (std::size_t i = 0; i < values_.size() && !factors_.empty(); ++i) {
      values_[i] /= factors_[i % factors_.size()];
    }
    if (block_ > 0) {
      const Activation all = f32_activation(values_.data(), value.rows, value.cols);
      hadamard(ctx_, all, block_, all);
    }
  }
  std::vector<float> take() { return std::move(values_); }

 private:
  Arena arena_;
  Context ctx_;
  int site_;
  std::vector<float> factors_;
  std::int64_t block_ = 0;
  std::vector<float> values_;
};

/// Second moments of a value of the float model.
class HeadTap final : public Tap {
 public:
  HeadTap(Context& ctx, const QuantizationPlan& plan, int site, const CalibrationResult& calibrated,
          std::int64_t cols)
      : ctx_(ctx), values_(ctx, plan, site, calibrated) {
    moments.cols = cols;
  }
  void observe(int site, const Activation& value) override {
    values_.observe(site, value);
    moments.add(ctx_, values_.take());
  }
  Moments moments;

 private:
  Context& ctx_;
  ValueTap values_;
};

}  // namespace krait
