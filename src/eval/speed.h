// Tokens per second of prefill and decode, beside what the machine allows.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "kernels/machine/machine.h"
#include "krait/engine.h"
#include "krait/quantize.h"
#include "models/state.h"

namespace krait {

struct SpeedTest {
  int tokens = 0;
  bool decode = false;  ///< one by one, each of them into every sequence; otherwise all at once
  int sequences = 1;    ///< decode: that take each step together
  int depth = 0;  ///< tokens that the states have consumed before; the rows that attention would
                  ///< have kept of them are random, as time depends on their number only

  /// "pp512", "tg128", "tg128 @ d4096", as llama-bench calls them, "tg128 x8".
  std::string name() const;
};

struct SpeedResult {
  SpeedTest test;
  std::vector<double> rates = {};   ///< tokens per second of each repeat, of all sequences together
  std::size_t state_bytes = 0;      ///< of one sequence at the end
  double bytes_per_step = 0;        ///< decode: see step_bytes()
  std::string bound{};              ///< what limits it: "read bandwidth", "int8 peak", "fp32 peak"
  std::vector<double> fractions{};  ///< of that bound, for each repeat
};

struct SpeedReport {
  std::vector<SpeedResult> results;  ///< in the order of the tests
  std::vector<MachinePeaks> peaks;   ///< one before the first repeat and one after each
  std::size_t peak_rss = 0;          ///< bytes, without what measuring the machine takes
  MachinePeaks median_peaks() const;
};

/// Random tokens; each test is run `repeats` times after a warm-up, all tests in turn.
/// `with_bounds`: the machine is measured between the repeats, and each repeat is held against the
/// means of the two measurements around it, since other tenants of a server change its bandwidth
/// within seconds; otherwise there are no bounds, fractions and peaks. tokens >= 1.
SpeedReport measure_speed(const Engine& engine, std::span<const SpeedTest> tests, int repeats,
                          bool with_bounds, const ProgressFn& progress = {});

/// Bytes of memory that decoding a token of every sequence has to move where attention reads `rows`
/// rows of the tokens before: all weights are read once, the constant part of each state is read
/// and written as its layout says, of the rows all are read and one is written.
double step_bytes(std::size_t weight_bytes, const StateLayout& state, double rows,
                  int sequences = 1);

}  // namespace krait
