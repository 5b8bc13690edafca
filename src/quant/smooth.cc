#include "quant/smooth.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/choices.h"

namespace krait {
namespace {

using enum ErrorCode;

/// Row r of a float matrix, widened.
Tensor row_of(const TensorView& view, std::int64_t r) {
  const std::int64_t cols = view.shape[1];
  const auto* from = static_cast<const std::byte*>(view.data) +
                     r * cols * static_cast<std::int64_t>(size_of(view.dtype));
  return to_f32({from, view.dtype, {cols}});
}

/// The largest magnitude of every column; `most` is updated.
void widen_column_maxima(ThreadPool& threads, const TensorView& view, std::vector<float>& most) {
  const std::size_t cols = most.size();
  std::vector<float> parts(cols * static_cast<std::size_t>(threads.threads()));
  threads.parallel_for(view.shape[0], 1, [&](std::int64_t begin, std::int64_t end, int thread) {
    float* mine = parts.data() + static_cast<std::size_t>(thread) * cols;
    for (std::int64_t r = begin; r < end; ++r) {
      const Tensor row = row_of(view, r);
      for (std::size_t c = 0; c < cols; ++c)
        mine[c] = std::max(mine[c], std::fabs(row.as<float>()[c]));
    }
  });
  for (std::size_t i = 0; i < parts.size(); ++i)
    most[i % cols] = std::max(most[i % cols], parts[i]);
}

}  // namespace

std::vector<Smoothing> smoothings_of(const Recipe& recipe, const ModelLayout& layout) {
  std::vector<std::string> choices;
  for (const ActivationSite& site : layout.activations) {
    const bool known = std::find(choices.begin(), choices.end(), site.role) != choices.end();
    if (!site.norm.empty() && !known) choices.push_back(site.role);
  }
  std::vector<Smoothing> result;
  for (const auto& [role, alpha] : recipe.smooth) {
    if (std::find(choices.begin(), choices.end(), role) == choices.end()) {
      fail(invalid_argument, "recipe {}: no norm of {} makes {}, which smoothing needs",
           recipe.name, layout.info.architecture, unknown_name(role, choices));
    }
    for (std::size_t i = 0; i < layout.activations.size(); ++i) {
      const ActivationSite& site = layout.activations[i];
      if (site.role != role) continue;
      check(find_smoothing(result, site.norm) < 0, invalid_argument,
            "recipe {}: {} cannot be smoothed for {} once more, the norm makes several sites: name "
            "one of them",
            recipe.name, site.norm, role);
      result.push_back({static_cast<int>(i), *alpha, site.norm});
    }
  }
  return result;
}

int find_smoothing(const std::vector<Smoothing>& smoothings, std::string_view norm) {
  const auto it = std::find_if(smoothings.begin(), smoothings.end(),
                               [&](const Smoothing& s) { return s.norm == norm; });
  return it == smoothings.end() || norm.empty() ? -1 : static_cast<int>(it - smoothings.begin());
}

std::vector<float> smoothing_factors(ThreadPool& threads, const ModelLayout& layout,
                                     const TensorSource& tensors, const Smoothing& smoothing,
                                     std::span<const float> maxima) {
  std::vector<float> weights(maxima.size());
  for (const LinearSite& linear : layout.linears) {
    if (linear.input_site != smoothing.site) continue;
    const std::string& name = linear.tied_to.empty() ? linear.name : linear.tied_to;
    widen_column_maxima(threads, tensors.get(name + ".weight").view(), weights);
  }
  const std::string& site = layout.activations[static_cast<std::size_t>(smoothing.site)].name;
  std::vector<float> factors(maxima.size(), 1.0f);
  for (std::size_t j = 0; j < factors.size(); ++j) {
    check(std::isfinite(maxima[j]) && std::isfinite(weights[j]), bad_data,
          "smoothing of {}: channel {} or its weights are NaN or infinite", site, j);
    if (maxima[j] < 1e-30f || weights[j] < 1e-30f) continue;
    const double s = std::pow(static_cast<double>(maxima[j]), smoothing.alpha) /
                     std::pow(static_cast<double>(weights[j]), 1 - smoothing.alpha);
    factors[j] = static_cast<float>(std::clamp(s, 1e-5, 1e5));
  }
  return factors;
}

Tensor smooth(ThreadPool& threads, const TensorView& view, std::span<const float> factors) {
  Tensor result(DType::f32, view.shape);
  float* out = result.mutable_as<float>().data();
  if (view.shape.rank() == 1) {
    const Tensor values = to_f32(view);
    for (std::size_t c = 0; c < factors.size(); ++c) {
      out[c] = static_cast<float>(static_cast<double>(values.as<float>()[c]) / factors[c]);
    }
    return result;
  }
  threads.parallel_for(view.shape[0], 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin; r < end; ++r) {
      const Tensor row = row_of(view, r);
      float* to = out + r * view.shape[1];
      for (std::size_t c = 0; c < factors.size(); ++c) {
        to[c] = static_cast<float>(static_cast<double>(row.as<float>()[c]) * factors[c]);
      }
    }
  });
  return result;
}

}  // namespace krait
