// Reconstruction points of the trellis codes of src/quant/codes.cc, for normal weights.
//
//   g++ -std=c++20 -O3 -march=native -o trellis_table training/trellis_table.cc && ./trellis_table
//   2
//
// A weight's value is table[its window of 6 bits], b of which are its own; windows overlap and
// close at the end of a word (tail-biting). The table is fitted as in vector quantization (Linde,
// Buzo and Gray 1980; for trellises Marcellin and Fischer 1990, "Trellis coded quantization of
// memoryless and Gauss-Markov sources"; windows of a shift register as in QTIP, Tseng et al. 2024,
// arXiv 2406.11235): encode random words with the Viterbi algorithm, move every entry to the mean
// of what it stood for, keep t[63 - w] = -t[w]; the best of several random starts.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <vector>

namespace {

constexpr int kWindow = 6, kEntries = 1 << kWindow;

struct Trellis {
  int bits, length;  // of a code; codes in a word
  std::vector<double> table;

  int overlap() const { return (1 << (kWindow - bits)) - 1; }

  // The best windows for x, with the given first and last overlap or any (-1); the squared error.
  double encode(const std::vector<double>& x, int closed, std::vector<int>& windows) const {
    constexpr double kNever = 1e30;
    std::vector<double> cost(kEntries, kNever), next(kEntries);
    std::vector<std::vector<int>> from(x.size(), std::vector<int>(kEntries));
    for (int w = 0; w < kEntries; ++w) {
      if (closed < 0 || (w & overlap()) == closed) cost[w] = std::pow(x[0] - table[w], 2);
    }
    for (std::size_t i = 1; i < x.size(); ++i) {
      for (int w = 0; w < kEntries; ++w) {
        const int first = (w & overlap()) << bits;
        const auto begin = cost.begin() + first;
        const auto best = std::min_element(begin, begin + (1 << bits));
        from[i][w] = static_cast<int>(best - cost.begin());
        next[w] = *best + std::pow(x[i] - table[w], 2);
      }
      std::swap(cost, next);
    }
    int last = 0;
    double least = kNever;
    for (int w = 0; w < kEntries; ++w) {
      if ((closed < 0 || w >> bits == closed) && cost[w] < least) least = cost[last = w];
    }
    windows.resize(x.size());
    for (std::size_t i = x.size(); i-- > 0; last = from[i][last]) windows[i] = last;
    return least;
  }

  // Closed at the overlap that a first run over the word, begun in its middle, passes its start
  // with.
  double encode_word(const std::vector<double>& x, std::vector<int>& windows) const {
    std::vector<double> turned(x.size());
    std::rotate_copy(x.begin(), x.begin() + length / 2, x.end(), turned.begin());
    encode(turned, -1, windows);
    return encode(x, windows[length - length / 2] & overlap(), windows);
  }

  double error(std::mt19937_64& random, int words, std::vector<double>* sums,
               std::vector<double>* counts) const {
    std::normal_distribution<double> normal;
    std::vector<double> x(length);
    std::vector<int> windows;
    double total = 0;
    for (int n = 0; n < words; ++n) {
      for (double& value : x) value = normal(random);
      total += encode_word(x, windows);
      for (int i = 0; sums && i < length; ++i) {
        (*sums)[windows[i]] += x[i];
        (*counts)[windows[i]] += 1;
      }
    }
    return total / words / length;
  }
};

}  // namespace

int main(int argc, char** argv) {
  const int bits = argc > 1 ? std::atoi(argv[1]) : 2;
  const int starts = argc > 2 ? std::atoi(argv[2]) : 24,
            rounds = argc > 3 ? std::atoi(argv[3]) : 100;
  const int length = bits == 2 ? 32 : 16;
  Trellis best{bits, length, {}};
  double least = 1e30;
  for (int start = 0; start < starts; ++start) {
    std::mt19937_64 random(static_cast<unsigned>(start));
    std::normal_distribution<double> normal;
    Trellis trellis{bits, length, std::vector<double>(kEntries)};
    for (int w = 0; w < kEntries / 2; ++w) {
      trellis.table[kEntries - 1 - w] = -(trellis.table[w] = normal(random));
    }
    for (int round = 0; round < rounds; ++round) {
      std::vector<double> sums(kEntries), counts(kEntries);
      trellis.error(random, 40000 / length, &sums, &counts);
      for (int w = 0; w < kEntries / 2; ++w) {
        const int other = kEntries - 1 - w;
        const double n = counts[w] + counts[other];
        if (n > 0) trellis.table[other] = -(trellis.table[w] = (sums[w] - sums[other]) / n);
      }
    }
    std::mt19937_64 held_out(12345);
    const double error = trellis.error(held_out, 400000 / length, nullptr, nullptr);
    std::fprintf(stderr, "start %d: %.5f\n", start, error);
    if (error < least) {
      least = error;
      best = trellis;
    }
  }
  const double unit = 127 / *std::max_element(best.table.begin(), best.table.end());
  std::printf("// %d bits: error %.5f of the variance, unit %.4f\n", bits, least, unit);
  for (int w = 0; w < kEntries; ++w)
    std::printf("%.0f,%s", best.table[w] * unit, w % 16 == 15 ? "\n" : " ");
}
