#include "quant/gptq_trellis.h"

#include <algorithm>
#include <numeric>

#include "quant/cholesky.h"
#include "quant/codes.h"
#include "quant/trellis.h"

namespace krait {
namespace {

/// The blocks of `width` columns, largest sum of H's diagonal first, or as they lie.
std::vector<std::int64_t> block_order(std::span<const double> H, std::int64_t n, std::int64_t width,
                                      bool by_size) {
  std::vector<double> sums(at(n / width));
  for (std::int64_t c = 0; c < n; ++c) sums[at(c / width)] += H[at(c * n + c)];
  std::vector<std::int64_t> order(sums.size());
  std::iota(order.begin(), order.end(), std::int64_t{0});
  if (by_size) {
    std::stable_sort(order.begin(), order.end(),
                     [&](std::int64_t a, std::int64_t b) { return sums[at(a)] > sums[at(b)]; });
  }
  return order;
}

/// The norm of the columns [begin, begin + width) of V [n, n].
WordNorm norm_of(std::span<const double> V, std::int64_t n, std::int64_t begin,
                 std::int64_t width) {
  WordNorm norm;
  norm.has_feed = true;
  for (std::int64_t j = 0; j < width; ++j) {
    const double pivot = V[at((begin + j) * n + begin + j)];
    norm.weight[at(j)] = static_cast<float>(pivot * pivot);
    for (std::int64_t i = 0; i < j; ++i) {
      norm.feed[at(i)][at(j)] = static_cast<float>(V[at((begin + i) * n + begin + j)] / pivot);
    }
  }
  return norm;
}

void store(const EncodedWord& word, std::int64_t first, std::int64_t count, std::int64_t column,
           std::int64_t width, std::int64_t cols, RoundedMatrix& m) {
  for (std::int64_t r = 0; r < count; ++r) {
    const std::int64_t to = (first + r) * cols + column;
    std::copy_n(word.q[at(r)].begin(), width, m.q.begin() + to);
    std::copy_n(word.code[at(r)].begin(), width, m.code.begin() + to);
  }
}

/// Everything that the pairs of rows share while words are encoded in order.
struct Feed {
  std::vector<std::int64_t> blocks;  // in order
  std::vector<double> V;             // of the columns in this order, V_ij / V_jj off the diagonal
  std::vector<WordNorm> norms;
};

void encode_in_order(ThreadPool& threads, const RoundingProblem& p, const Feed& feed,
                     RoundedMatrix& m) {
  const std::int64_t n = p.cols, width = word_columns(p.format.bits);
  for_row_chunks(threads, p.rows, [&](std::int64_t first, std::int64_t count) {
    std::vector<double> want(at(count * n)), error(at(count * width));
    for (std::int64_t r = 0; r < count; ++r) {
      for (std::int64_t k = 0; k < n; ++k) {
        want[at(r * n + k)] = p.w[at((first + r) * n + p.order[at(k)])];
      }
    }
    for (std::int64_t b = 0; b < n / width; ++b) {
      const std::int64_t column = feed.blocks[at(b)] * width, begin = b * width;
      for (std::int64_t r = 0; r < count; r += 2) {
        const std::int64_t pair = std::min<std::int64_t>(2, count - r);
        WordTarget target;
        for (std::int64_t k = 0; k < pair; ++k) {
          const std::int64_t row = first + r + k;
          target.step[at(k)] = p.step(m, row, column);
          for (std::int64_t j = 0; j < width; ++j) {
            target.w[at(k)][at(j)] = p.w[at(row * n + column + j)];
            target.want[at(k)][at(j)] = static_cast<float>(want[at((r + k) * n + begin + j)]);
          }
        }
        const EncodedWord word =
            encode_word(p.format.bits, target, feed.norms[at(b)], Closing::circular);
        store(word, first + r, pair, column, width, n, m);
        for (std::int64_t k = 0; k < pair; ++k) {
          for (std::int64_t j = 0; j < width; ++j) {
            error[at((r + k) * width + j)] =
                static_cast<double>(target.w[at(k)][at(j)]) -
                static_cast<double>(target.step[at(k)]) * word.q[at(k)][at(j)];
          }
        }
      }
      for (std::int64_t i = 0; i < width; ++i) {
        const double* from = feed.V.data() + (begin + i) * n;
        for (std::int64_t r = 0; r < count; ++r) {
          const double e = error[at(r * width + i)];
          double* to = want.data() + r * n;
          for (std::int64_t j = begin + width; j < n; ++j) to[j] += e * from[j];
        }
      }
    }
  });
}

/// What sweeps know of a block: the factor of H's own part.
struct Block {
  std::vector<double> V;  // [width, width]
  WordNorm norm;
};

std::vector<Block> own_blocks(ThreadPool& threads, std::span<const double> H, std::int64_t n,
                              std::int64_t width) {
  std::vector<Block> blocks(at(n / width));
  for (std::int64_t b = 0; b < n / width; ++b) {
    Block& block = blocks[at(b)];
    block.V.resize(at(width * width));
    for (std::int64_t i = 0; i < width; ++i) {
      std::copy_n(H.begin() + (b * width + i) * n + b * width, width, block.V.begin() + i * width);
    }
    if (!factor_upper(threads, block.V, width)) {
      block.V.clear();
      continue;
    }
    block.norm = norm_of(block.V, width, 0, width);
  }
  return blocks;
}

/// Encodes one word of two rows (or one) anew; whether it changed. gradient [2, cols] = (w - s q)
/// H.
bool encode_again(const RoundingProblem& p, std::span<const double> H, const Block& block,
                  std::int64_t first, std::int64_t count, std::int64_t column, double* gradient,
                  RoundedMatrix& m) {
  const std::int64_t n = p.cols, width = word_columns(p.format.bits);
  WordTarget target;
  double shift[16];
  for (std::int64_t k = 0; k < count; ++k) {
    const float step = target.step[at(k)] = p.step(m, first + k, column);
    std::copy_n(gradient + k * n + column, width, shift);
    solve_upper(block.V, {shift, at(width)});
    for (std::int64_t j = 0; j < width; ++j) {
      const double x = static_cast<double>(step) * m.q[at((first + k) * n + column + j)] + shift[j];
      target.w[at(k)][at(j)] = target.want[at(k)][at(j)] = static_cast<float>(x);
    }
  }
  const EncodedWord word = encode_word(p.format.bits, target, block.norm, Closing::circular);
  double change[2][16], gain = 0;
  for (std::int64_t k = 0; k < count; ++k) {
    for (std::int64_t j = 0; j < width; ++j) {
      change[k][j] = static_cast<double>(target.step[at(k)]) *
                     (word.q[at(k)][at(j)] - m.q[at((first + k) * n + column + j)]);
    }
    for (std::int64_t j = 0; j < width; ++j) {
      double sum = 0;
      const double* of_row = H.data() + (column + j) * n + column;
      for (std::int64_t i = 0; i < width; ++i) sum += of_row[i] * change[k][i];
      gain += change[k][j] * (2 * gradient[k * n + column + j] - sum);
    }
  }
  if (!(gain > 0)) return false;
  for (std::int64_t k = 0; k < count; ++k) {
    for (std::int64_t j = 0; j < width; ++j) {
      if (change[k][j] != 0) {
        subtract(gradient + k * n, change[k][j], H.data() + (column + j) * n, n);
      }
    }
  }
  store(word, first, count, column, width, n, m);
  return true;
}

void sweep(ThreadPool& threads, const RoundingProblem& p, std::span<const double> H,
           const std::vector<std::int64_t>& order, int sweeps, RoundedMatrix& m) {
  const std::int64_t n = p.cols, width = word_columns(p.format.bits);
  const std::vector<Block> blocks = own_blocks(threads, H, n, width);
  for_row_chunks(threads, p.rows, [&](std::int64_t first, std::int64_t count) {
    std::vector<double> e(at(count * n)), gradient(at(count * n));
    for (std::int64_t r = 0; r < count; ++r) residue(p, m, first + r, e.data() + r * n);
    multiply(H, e.data(), count, n, gradient.data());
    for (std::int64_t r = 0; r < count; r += 2) {
      const std::int64_t pair = std::min<std::int64_t>(2, count - r);
      double* of_pair = gradient.data() + r * n;
      for (int k = 0; k < sweeps; ++k) {
        bool changed = false;
        for (const std::int64_t b : order) {
          if (blocks[at(b)].V.empty()) continue;
          changed |= encode_again(p, H, blocks[at(b)], first + r, pair, b * width, of_pair, m);
        }
        for (std::int64_t i = 0; i < pair; ++i) {
          refit_steps(p, H, first + r + i, of_pair + i * n, m);
        }
        if (!changed) break;
      }
    }
  });
}

}  // namespace

RoundedMatrix round_gptq_trellis(ThreadPool& threads, const RoundingProblem& problem,
                                 std::span<const double> H, const GptqOptions& options) {
  const std::int64_t n = problem.cols, width = word_columns(problem.format.bits);
  const double mean = mean_diagonal(H, n);
  Feed feed;
  feed.blocks = block_order(H, n, width, options.act_order);
  std::vector<std::int64_t> order;
  for (const std::int64_t b : feed.blocks) {
    for (std::int64_t j = 0; j < width; ++j) order.push_back(b * width + j);
  }
  RoundingProblem p = problem;
  p.order = order;
  std::vector<double> weights(at(n), 1.0);
  if (options.scale == StepChoice::weighted_mse) {
    for (std::int64_t c = 0; c < n; ++c) weights[at(c)] = H[at(c * n + c)] / mean;
  }
  RoundedMatrix m;
  m.steps = choose_trellis_steps(threads, p.w, p.rows, n, p.format, weights);
  m.q.resize(at(p.rows * n));
  m.code.resize(at(p.rows * n));
  feed.V = factor_damped(threads, H, n, mean, options.damp, order);
  for (std::int64_t b = 0; b < n / width; ++b) {
    feed.norms.push_back(norm_of(feed.V, n, b * width, width));
  }
  std::vector<double> pivots(at(n));
  for (std::int64_t j = 0; j < n; ++j) pivots[at(j)] = feed.V[at(j * n + j)];
  threads.parallel_for(n, 16, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) {
      for (std::int64_t j = i + 1; j < n; ++j) feed.V[at(i * n + j)] /= pivots[at(j)];
    }
  });
  encode_in_order(threads, p, feed, m);
  if (options.sweeps > 0) {
    std::vector<double> damped(H.begin(), H.end());
    for (std::int64_t c = 0; c < n; ++c) damped[at(c * n + c)] += options.damp * mean;
    sweep(threads, p, damped, feed.blocks, options.sweeps, m);
  }
  return m;
}

}  // namespace krait
