// Words of trellis codes: the Viterbi algorithm over the windows of core/weight.h.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/thread_pool.h"
#include "quant/steps.h"

namespace krait {

/// How the squared errors of a word's C columns count, the same in both rows: with e_j = w_j - s
/// q_j the error of a row is
///
///   sum over j of weight_j (want_j + sum over i before j of e_i feed_ij - s q_j)^2
///
/// which is e H e^T for want = w, weight_j = V_jj^2 and feed_ij = V_ij / V_jj, where V V^T = H and
/// V is upper triangular.
struct WordNorm {
  std::array<float, 16> weight{};
  std::array<std::array<float, 16>, 16> feed{};  ///< [i][j], 0 where j <= i
  bool has_feed = false;
};

/// What a word shall stand for: columns of two rows. A row that is not there has step 0.
struct WordTarget {
  std::array<std::array<float, 16>, 2> w{}, want{};
  std::array<float, 2> step{};
};

struct EncodedWord {
  std::array<std::array<std::uint8_t, 16>, 2> code{};  ///< own bits
  std::array<std::array<std::int8_t, 16>, 2> q{};      ///< entries of the table
  float error = 0;
};

/// Closings: the overlap of a word's last window with its first.
enum class Closing {
  open,      ///< none: only the error is of use (one run)
  circular,  ///< the one that a second round through the word begins with (three runs at most)
  every      ///< the best of all of them (4 to 16 runs)
};

/// The word with the least error, exactly if norm.has_feed is false and the closing is `every`.
/// With a feed each survivor, one for each overlap, has targets of its own, made by its own errors
/// (per-survivor processing, Raheli, Polydoros and Tzou 1995).
EncodedWord encode_word(int bits, const WordTarget& target, const WordNorm& norm, Closing closing);

/// Steps [rows, cols / group] for words of two rows: of several multiples of the groups' standard
/// deviations the one with the least error, weighted by weights [cols], then least squares steps
/// for what was encoded as long as that helps.
std::vector<float> choose_trellis_steps(ThreadPool& threads, std::span<const float> w,
                                        std::int64_t rows, std::int64_t cols,
                                        const IntegerFormat& format,
                                        std::span<const double> weights);

/// The nearest words for given steps, squared errors weighted by weights [cols]: fills rounded.q
/// and rounded.code.
void encode_nearest(ThreadPool& threads, std::span<const float> w, std::int64_t rows,
                    std::int64_t cols, const IntegerFormat& format, std::span<const double> weights,
                    RoundedMatrix& rounded);

}  // namespace krait
