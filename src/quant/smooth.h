// Smoothing: y = W x = (W diag(s)) (x / s). The right factor goes into the norm that makes x, the
// left one into the columns of every product that reads it, both before anything runs (SmoothQuant,
// Xiao et al. 2023, arXiv 2211.10438, section 4).
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/thread_pool.h"
#include "io/tensor_source.h"
#include "models/layout.h"
#include "quant/recipe.h"

namespace krait {

/// One site of one layer whose channels are scaled.
struct Smoothing {
  int site = -1;  ///< into ModelLayout::activations
  double alpha = 0.5;
  std::string norm;  ///< of the site: all sites that it makes change with it
};

/// Those that a fitted recipe asks for, in every layer. Errors: invalid_argument for sites
/// that no norm makes, with the choices, and for a norm that would be smoothed twice.
std::vector<Smoothing> smoothings_of(const Recipe& recipe, const ModelLayout& layout);

/// The one that changes what this norm makes: an index, or -1.
int find_smoothing(const std::vector<Smoothing>& smoothings, std::string_view norm);

/// s_j = max |x_j|^alpha / max |w_j|^(1 - alpha), in double and rounded once to f32; w_j is column
/// j of all products that read the site, `maxima` [channels] are max |x_j| over the calibration
/// data. 1 where a maximum is below 1e-30, and within [1e-5, 1e5]. Errors: bad_data for a maximum
/// that is not finite.
std::vector<float> smoothing_factors(ThreadPool& threads, const ModelLayout& layout,
                                     const TensorSource& tensors, const Smoothing& smoothing,
                                     std::span<const float> maxima);

/// A matrix [rows, channels] with its columns multiplied, or a norm's [channels] divided by the
/// factors; f32, from double precision.
Tensor smooth(ThreadPool& threads, const TensorView& view, std::span<const float> factors);

}  // namespace krait
