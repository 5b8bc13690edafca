// Words of trellis codes against other ways to the same answer, and GPTQ for them against rounding
// to the nearest and against integers.
#include "quant/nearest.h"
#include "quant/trellis.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/float16.h"
#include "core/rng.h"
#include "quant/codes.h"
#include "quant/gptq.h"
#include "quant/test_rounding.h"

namespace krait {
namespace {

float normal(Rng& rng) {  // nearly: the sum of twelve uniform values
  double sum = -6;
  for (int i = 0; i < 12; ++i) sum += rng.uniform();
  return static_cast<float>(sum);
}

std::vector<float> normals(std::uint64_t seed, std::int64_t n) {
  Rng rng(seed);
  std::vector<float> values(static_cast<std::size_t>(n));
  for (float& x : values) x = normal(rng);
  return values;
}

WordTarget random_target(Rng& rng, int bits, bool second_row = true) {
  const auto width = static_cast<std::size_t>(word_columns(bits));
  WordTarget target;
  target.step = {0.02f, second_row ? 0.05f : 0};
  const auto unit = static_cast<float>(code_unit(bits, Codes::trellis));
  for (std::size_t r = 0; r < 2; ++r) {
    for (std::size_t j = 0; j < width; ++j) {
      target.w[r][j] = target.want[r][j] = normal(rng) * target.step[r] * unit;
    }
  }
  return target;
}

/// Positive weights and, if asked for, what columns pass on.
WordNorm random_norm(Rng& rng, bool has_feed) {
  WordNorm norm;
  norm.has_feed = has_feed;
  for (std::size_t i = 0; i < 16; ++i) {
    norm.weight[i] = static_cast<float>(0.5 + rng.uniform());
    for (std::size_t j = i + 1; j < 16 && has_feed; ++j) {
      norm.feed[i][j] = static_cast<float>(rng.uniform() - 0.3);
    }
  }
  return norm;
}

/// The error of own bits as the headers define it, from windows made anew.
double error_of(int bits, const std::array<std::array<std::uint8_t, 16>, 2>& code,
                const WordTarget& target, const WordNorm& norm) {
  const auto table = code_table(bits, Codes::trellis);
  const int width = static_cast<int>(word_columns(bits)), total = 2 * width;
  double sum = 0;
  for (int r = 0; r < 2; ++r) {
    double e[16] = {};
    const auto row = static_cast<std::size_t>(r);
    for (int j = 0; j < width; ++j) {
      unsigned window = 0;
      for (int k = 0; k * bits < 6; ++k) {
        const int i = (2 * j + r + k) % total;
        window |= static_cast<unsigned>(
                      code[static_cast<std::size_t>(i % 2)][static_cast<std::size_t>(i / 2)])
                  << (k * bits);
      }
      const auto column = static_cast<std::size_t>(j);
      const double value = static_cast<double>(target.step[row]) * table[window % 64];
      double want = static_cast<double>(target.want[row][column]);
      for (std::size_t i = 0; i < column; ++i) {
        want += e[i] * static_cast<double>(norm.feed[i][column]);
      }
      e[j] = static_cast<double>(target.w[row][column]) - value;
      if (target.step[row] > 0) {
        sum += static_cast<double>(norm.weight[column]) * (want - value) * (want - value);
      }
    }
  }
  return sum;
}

/// The least error over all words, by another dynamic programme: over windows, backwards in time,
/// for every first window.
double least_error(int bits, const WordTarget& target, const WordNorm& norm) {
  const auto table = code_table(bits, Codes::trellis);
  const int total = 2 * static_cast<int>(word_columns(bits)), overlap = 1 << (6 - bits);
  const auto cost = [&](int i, int w) {
    const auto r = static_cast<std::size_t>(i % 2), j = static_cast<std::size_t>(i / 2);
    const double e = static_cast<double>(target.want[r][j]) -
                     static_cast<double>(target.step[r]) * table[static_cast<std::size_t>(w)];
    return target.step[r] > 0 ? static_cast<double>(norm.weight[j]) * e * e : 0;
  };
  double least = std::numeric_limits<double>::infinity();
  for (int closing = 0; closing < overlap; ++closing) {
    std::vector<double> to_go(64, std::numeric_limits<double>::infinity());
    for (int w = 0; w < 64; ++w) {
      if (w >> bits == closing) to_go[static_cast<std::size_t>(w)] = cost(total - 1, w);
    }
    for (int i = total - 2; i >= 0; --i) {
      std::vector<double> before(64);
      for (int w = 0; w < 64; ++w) {
        double best = std::numeric_limits<double>::infinity();
        for (int next = 0; next < 64; ++next) {
          if ((next & (overlap - 1)) == w >> bits) {
            best = std::min(best, to_go[static_cast<std::size_t>(next)]);
          }
        }
        before[static_cast<std::size_t>(w)] = cost(i, w) + best;
      }
      to_go = before;
    }
    for (int w = 0; w < 64; ++w) {
      if ((w & (overlap - 1)) == closing) {
        least = std::min(least, to_go[static_cast<std::size_t>(w)]);
      }
    }
  }
  return least;
}

TEST(EncodeWord, FindsTheNearestWord) {
  Rng rng(1);
  for (const int bits : {2, 3, 4}) {
    double sum = 0, circular = 0;
    for (int k = 0; k < 40; ++k) {
      const WordTarget target = random_target(rng, bits, k % 4 != 0);
      const WordNorm norm = random_norm(rng, false);
      const EncodedWord word = encode_word(bits, target, norm, Closing::every);
      const double expected = least_error(bits, target, norm);
      EXPECT_NEAR(error_of(bits, word.code, target, norm), expected, 1e-4 * expected);
      EXPECT_NEAR(static_cast<double>(word.error), expected, 1e-4 * expected);
      sum += expected;
      const EncodedWord fast = encode_word(bits, target, norm, Closing::circular);
      const double error = error_of(bits, fast.code, target, norm);
      EXPECT_NEAR(static_cast<double>(fast.error), error, 1e-4 * error);
      EXPECT_LE(static_cast<double>(encode_word(bits, target, norm, Closing::open).error),
                expected * 1.0001);
      circular += error;
    }
    EXPECT_LT(circular, 1.02 * sum) << bits;  // 0.4, 0.9 and 0 % more for normal weights
  }
}

TEST(EncodeWord, StatesTheEntriesOfItsWord) {
  Rng rng(2);
  for (const int bits : {2, 3, 4}) {
    const WordTarget target = random_target(rng, bits);
    for (const bool has_feed : {false, true}) {
      const WordNorm norm = random_norm(rng, has_feed);
      const EncodedWord word = encode_word(bits, target, norm, Closing::circular);
      const auto table = code_table(bits, Codes::trellis);
      const int width = static_cast<int>(word_columns(bits));
      for (int i = 0; i < 2 * width; ++i) {
        unsigned window = 0;
        for (int k = 0; k * bits < 6; ++k) {
          const auto at = static_cast<std::size_t>((i + k) % (2 * width));
          window |= static_cast<unsigned>(word.code[at % 2][at / 2]) << (k * bits);
        }
        const auto r = static_cast<std::size_t>(i % 2), j = static_cast<std::size_t>(i / 2);
        EXPECT_EQ(word.q[r][j], table[window % 64]);
        EXPECT_LT(word.code[r][j], 1 << bits);
      }
    }
  }
}

/// With a feed the survivors are no longer all that matters, but random changes to the word find
/// little that is better, and the error is the one that the header defines.
TEST(EncodeWord, FeedsErrorsForward) {
  Rng rng(3);
  for (const int bits : {2, 3, 4}) {
    const auto width = static_cast<double>(word_columns(bits));
    double fed = 0, nearest = 0, searched = 0;
    for (int k = 0; k < 20; ++k) {
      const WordTarget target = random_target(rng, bits);
      const WordNorm norm = random_norm(rng, true);
      WordNorm without = norm;
      without.has_feed = false;
      const EncodedWord word = encode_word(bits, target, norm, Closing::every);
      const double error = error_of(bits, word.code, target, norm);
      EXPECT_NEAR(static_cast<double>(word.error), error, 1e-3 * error);
      fed += error;
      const EncodedWord plain = encode_word(bits, target, without, Closing::every);
      auto code = plain.code;
      double least = error_of(bits, code, target, norm);
      nearest += least;
      for (int trial = 0; trial < 3000; ++trial) {  // hill climbing from the nearest word
        auto next = code;
        for (int change = 0; change < 2; ++change) {
          next[rng.uniform() < 0.5][static_cast<std::size_t>(rng.uniform() * width)] =
              static_cast<std::uint8_t>(rng.uniform() * static_cast<double>(1 << bits));
        }
        const double found = error_of(bits, next, target, norm);
        if (found < least) code = next, least = found;
      }
      searched += least;
    }
    EXPECT_LT(fed, 0.8 * nearest) << bits;
    EXPECT_LT(fed, searched) << bits;
  }
}

/// Mean squared errors for normal weights: docs/methods/codes.md.
TEST(RoundNearest, OfTrellisCodesHasTheErrorOfItsTable) {
  ThreadPool pool(2);
  const std::int64_t rows = 64, cols = 128;
  const std::vector<float> w = normals(4, rows * cols);
  const double bounds[] = {0.084, 0.0245, 0.0072};
  for (const int bits : {2, 3, 4}) {
    const IntegerFormat format = format_codes(bits, Codes::trellis, 64);
    const RoundedMatrix m = round_nearest(pool, w, rows, cols, {}, format, StepChoice::absmax);
    double sum = 0;
    for (std::size_t i = 0; i < w.size(); ++i) {
      const double e = static_cast<double>(w[i]) - static_cast<double>(m.steps[i / 64]) * m.q[i];
      sum += e * e;
    }
    EXPECT_LT(sum / static_cast<double>(w.size()), bounds[bits - 2]) << bits;
    for (const float step : m.steps) EXPECT_EQ(step, bf16_to_f32(f32_to_bf16(step)));
  }
}

TEST(RoundNearest, MakesNextToNothingOfNothing) {
  ThreadPool pool(1);
  std::vector<float> w(3 * 32);
  w[40] = 1;
  for (const Codes codes : {Codes::trellis, Codes::ternary, Codes::integer}) {
    const IntegerFormat format = format_codes(2, codes, 32);
    const RoundedMatrix m = round_nearest(pool, w, 3, 32, {}, format, StepChoice::mse);
    for (std::size_t i = 0; i < w.size(); ++i) {
      if (i / 32 == 1) continue;
      EXPECT_LT(std::abs(m.steps[i / 32] * static_cast<float>(m.q[i])), 1e-20f);
    }
  }
}

TEST(RoundNearest, RecoversTernaryWeightsExactly) {
  ThreadPool pool(2);
  Rng rng(5);
  const std::int64_t rows = 7, cols = 128;
  const IntegerFormat format = format_codes(2, Codes::ternary, 64);
  std::vector<float> w(static_cast<std::size_t>(rows * cols));
  std::vector<float> steps;
  for (std::size_t i = 0; i < w.size(); ++i) {
    if (i % 64 == 0) {
      steps.push_back(bf16_to_f32(f32_to_bf16(static_cast<float>(rng.uniform() * 0.1 + 1e-3))));
    }
    w[i] = steps.back() * static_cast<float>(static_cast<int>(rng.uniform() * 3) - 1);
  }
  for (const StepChoice choice : {StepChoice::absmax, StepChoice::mse}) {
    const RoundedMatrix m = round_nearest(pool, w, rows, cols, {}, format, choice);
    EXPECT_EQ(m.steps, steps);
    for (std::size_t i = 0; i < w.size(); ++i) {
      EXPECT_EQ(m.steps[i / 64] * static_cast<float>(m.q[i]), w[i]);
    }
  }
}

/// Among all steps: a fine search finds nothing better but for what bf16 gives and takes.
TEST(RoundNearest, FindsTheBestTernaryStep) {
  ThreadPool pool(1);
  const IntegerFormat format = format_codes(2, Codes::ternary, 64);
  const std::vector<float> w = normals(6, 64);
  const auto error = [&](float step) {
    double sum = 0;
    for (const float x : w) {
      const int q = round_to_grid(x, step, format);
      sum += std::pow(static_cast<double>(x) - static_cast<double>(step) * q, 2);
    }
    return sum;
  };
  const RoundedMatrix m = round_nearest(pool, w, 1, 64, {}, format, StepChoice::mse);
  for (int k = 1; k < 4000; ++k) {
    EXPECT_LE(error(m.steps[0]), error(static_cast<float>(k) * 1e-3f) * (1 + 2e-4)) << k;
  }
}

/// Sum of x x^T over inputs that have a common part.
std::vector<double> correlated(std::int64_t n, std::uint64_t seed) {
  Rng rng(seed);
  const auto size = static_cast<std::size_t>(n);
  std::vector<double> H(size * size), x(size);
  for (std::size_t t = 0; t < 4 * size; ++t) {
    double level = 0;
    for (std::size_t i = 0; i < size; ++i) {
      level = 0.9 * level + rng.uniform() - 0.5;
      x[i] = level + 0.3 * (rng.uniform() - 0.4);
    }
    for (std::size_t i = 0; i < H.size(); ++i) H[i] += x[i / size] * x[i % size];
  }
  return H;
}

TEST(GptqOfTrellisCodes, BeatsTheNearestAndIntegers) {
  ThreadPool pool(2);
  const std::int64_t rows = 9, cols = 128;
  const std::vector<float> w = normals(8, rows * cols);
  const std::vector<double> H = correlated(cols, 9);
  for (const int bits : {2, 3, 4}) {
    const IntegerFormat trellis = format_codes(bits, Codes::trellis, 64);
    const IntegerFormat integer = format_codes(bits, Codes::integer, 64);
    const auto error = [&](const RoundedMatrix& m, const IntegerFormat& format) {
      return weighted_error(w, m, rows, cols, H, format);
    };
    const GptqOptions plain{.scale = StepChoice::mse};
    const GptqOptions swept{.sweeps = 3, .scale = StepChoice::mse};
    const auto gptq = [&](const IntegerFormat& format, const GptqOptions& options) {
      return error(round_gptq(pool, w, rows, cols, H, format, options, "w"), format);
    };
    const double nearest =
        error(round_nearest(pool, w, rows, cols, {}, trellis, StepChoice::mse), trellis);
    const double fed = gptq(trellis, plain);
    EXPECT_LT(fed, 0.6 * nearest) << bits;
    EXPECT_LT(fed, 0.85 * gptq(integer, plain)) << bits;
    EXPECT_LT(gptq(trellis, swept), 0.95 * fed) << bits;
    EXPECT_LT(gptq(trellis, swept), 0.85 * gptq(integer, swept)) << bits;
  }
}

TEST(GptqOfTrellisCodes, HasEntriesThatItsWordsMean) {
  ThreadPool pool(3), one(1);
  const std::int64_t rows = 11, cols = 64;
  const std::vector<float> w = normals(10, rows * cols);
  const std::vector<double> H = correlated(cols, 11);
  for (const int bits : {2, 3, 4}) {
    const IntegerFormat format = format_codes(bits, Codes::trellis, 32);
    const GptqOptions options{.sweeps = 2, .scale = StepChoice::weighted_mse};
    const RoundedMatrix m = round_gptq(pool, w, rows, cols, H, format, options, "w");
    const RoundedMatrix again = round_gptq(one, w, rows, cols, H, format, options, "w");
    EXPECT_EQ(m.q, again.q);
    EXPECT_EQ(m.code, again.code);
    EXPECT_EQ(m.steps, again.steps);
    const auto table = code_table(bits, Codes::trellis);
    const std::int64_t width = word_columns(bits);
    for (std::int64_t r = 0; r + 1 < rows; ++r) {
      for (std::int64_t c = 0; c < cols; ++c) {
        unsigned window = 0;
        for (std::int64_t k = 0; k * bits < 6; ++k) {
          const std::int64_t i = (2 * (c % width) + r % 2 + k) % (2 * width);
          const std::int64_t from = (r - r % 2 + i % 2) * cols + c - c % width + i / 2;
          window |= static_cast<unsigned>(m.code[static_cast<std::size_t>(from)]) << (k * bits);
        }
        EXPECT_EQ(m.q[static_cast<std::size_t>(r * cols + c)], table[window % 64]);
      }
    }
  }
}

}  // namespace
}  // namespace krait
