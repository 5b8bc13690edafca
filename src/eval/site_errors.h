// Where a quantized model loses what it loses: the error of every activation and every product
// against the reference on the same text, and how far outliers reach before and after transforms.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "io/json_fwd.h"
#include "krait/engine.h"
#include "krait/quantize.h"

namespace krait {

/// How the values of a site are spread. Kurtosis: 3 for a Gaussian. Top channel: the energy of the
/// strongest channel over the mean of all, 1 is even.
struct ValueRange {
  double absmax = 0, rms = 0, kurtosis = 0, top_channel = 0;
  double max_over_rms() const { return rms > 0 ? absmax / rms : 0; }
};

/// One activation site. The error is ||q - f||^2 / ||f||^2 over all values of the text, f the
/// reference's and q the model's, both without their Hadamard transforms; NaN where the model keeps
/// channels in another order. Where scales were folded between channels and weights (smoothing),
/// each channel of q has the factor that fits best. It includes what came in from sites before it.
struct SiteError {
  std::string name, role;
  int layer = -1;
  double error = 0;
  ValueRange before{}, after{};  ///< as the reference has it, and as the model keeps it
};

/// One product's output y = x W^T, likewise.
struct ProductError {
  std::string name, role;
  int layer = -1;
  double error = 0;
};

struct SiteErrors {
  std::vector<SiteError> sites;  ///< in the order of the layout
  std::vector<ProductError>
      products;  ///< in the order of the layout; of experts those alike in both
};

/// What a model's recipe did to its channels beside rotating them.
struct ChannelTransforms {
  std::set<std::string> smoothed;  ///< roles of sites
  bool reordered = false;
};
/// Of a checkpoint's config.json.
ChannelTransforms channel_transforms(const Json& config);

/// Runs both over windows of seq_len tokens, each from the zero state. Errors: invalid_argument for
/// models of different layouts, ids outside the vocabulary and windows as in perplexity().
SiteErrors site_errors(const Engine& reference, const Engine& model,
                       const ChannelTransforms& transforms, std::span<const std::int32_t> ids,
                       std::int64_t seq_len = 512, const ProgressFn& progress = {});

}  // namespace krait
