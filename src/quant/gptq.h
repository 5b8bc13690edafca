// Rounding that looks at the inputs (GPTQ, Frantar et al. 2022, arXiv 2210.17323).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/thread_pool.h"
#include "quant/steps.h"

namespace krait {

struct GptqOptions {
  double damp = 0.01;        ///< of the mean of H's diagonal, added to it
  bool act_order = true;     ///< columns by decreasing diagonal of H
  std::int64_t block = 128;  ///< columns whose errors go on together; changes speed, no bit
  int sweeps = 0;            ///< of coordinate descent over integers and steps afterwards
  StepChoice scale = StepChoice::absmax;
};

/// Of a recipe's rounding.
GptqOptions gptq_options(const Rounding& rounding);

/// Rounds w [rows, cols] so that tr (w - s q) H (w - s q)^T is small, H [cols, cols] being the sum
/// of x x^T over the inputs x of the product (any multiple of it gives the same). With V V^T = H +
/// damping, V upper triangular in the order of rounding, column j becomes
///
///   q_j = rne((w_j + sum over i before j of e_i V_ij / V_jj) / s),   e_i = w_i - s q_i
///
/// which is GPTQ without its inverse (U = V^-1; Chee et al. 2023, arXiv 2307.13304, theorem 6).
/// Groups are those of the columns as they lie, their steps are chosen before anything is rounded.
/// An H of zeros rounds to the nearest. The same bits for any number of threads. Errors: bad_data
/// naming `name` for an H that is not finite.
RoundedMatrix round_gptq(ThreadPool& threads, std::span<const float> w, std::int64_t rows,
                         std::int64_t cols, std::span<const double> H, const IntegerFormat& format,
                         const GptqOptions& options, std::string_view name);

/// w (cross - own) [rows, cols]: what the outputs for inputs x lack to those for inputs x', times
/// x^T, where own is the sum of x x^T and cross that of x' x^T.
std::vector<double> missing_outputs(ThreadPool& threads, std::span<const float> w,
                                    std::int64_t rows, std::int64_t cols,
                                    std::span<const double> own, std::span<const double> cross);

/// w + missing (H + damping)^-1: the weights whose product with the inputs that H is made of comes
/// closest to an output that differs from theirs by D, missing [rows, cols] being the sum of D x^T.
std::vector<float> corrected(ThreadPool& threads, std::span<const float> w, std::int64_t rows,
                             std::int64_t cols, std::span<const double> H,
                             std::span<const double> missing, double damp);

}  // namespace krait
