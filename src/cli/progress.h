// How far a long job is, on stderr.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "krait/quantize.h"

namespace krait::cli {

/// A bar with rate and time left on a terminal; a line every few seconds when stderr is not one.
/// Says nothing about phases that take less than about two seconds.
class ProgressReport {
 public:
  ProgressReport();
  explicit ProgressReport(bool terminal) : terminal_(terminal) {}
  ~ProgressReport();
  ProgressReport(const ProgressReport&) = delete;
  ProgressReport& operator=(const ProgressReport&) = delete;

  void update(const Progress& progress);
  /// Clears or ends the line of the current phase.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  void end_phase();

  bool terminal_;
  bool shown_ = false;  ///< something about the current phase has been written
  Progress last_;
  Clock::time_point start_, written_;
};

/// The text of the bar: "calibrate [#####     ] 256/512 samples, 12.3 samples/s, 21 s left".
std::string progress_line(const Progress& progress, double elapsed, bool bar);

}  // namespace krait::cli
