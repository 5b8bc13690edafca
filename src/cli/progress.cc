#include "cli/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "cli/output.h"
#include "report/units.h"

namespace krait::cli {
namespace {

constexpr double kQuiet = 2.0;      // seconds that pass without a word
constexpr double kBarEvery = 0.1;   // seconds between two pictures of the bar
constexpr double kLineEvery = 5.0;  // seconds between two lines in a log
constexpr std::int64_t kBarWidth = 24;

}  // namespace

std::string progress_line(const Progress& progress, double elapsed, bool bar) {
  const std::int64_t total = std::max<std::int64_t>(progress.total, 0);
  const std::int64_t done = total > 0 ? std::min(progress.done, total) : progress.done;
  std::string line = progress.phase;
  if (bar && total > 0) {
    const auto filled = static_cast<std::size_t>(kBarWidth * done / total);
    line += " [" + std::string(filled, '#') +
            std::string(static_cast<std::size_t>(kBarWidth) - filled, ' ') + "]";
  }
  line += total > 0 ? fmt::format(" {}/{} {}", done, total, progress.unit)
                    : fmt::format(" {} {}", done, progress.unit);
  if (done > 0 && elapsed > 0) {
    const double rate = static_cast<double>(done) / elapsed;
    line += fmt::format(", {} {}/s", format_rate(rate), progress.unit);
    if (total > done) {
      line += fmt::format(", {} left", format_duration(static_cast<double>(total - done) / rate));
    }
  }
  return line;
}

ProgressReport::ProgressReport() : ProgressReport(::isatty(STDERR_FILENO) == 1) {}

ProgressReport::~ProgressReport() { finish(); }

void ProgressReport::update(const Progress& progress) {
  const auto now = Clock::now();
  if (progress.phase != last_.phase) {
    end_phase();
    start_ = written_ = now;
  }
  last_ = progress;
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  const double since = std::chrono::duration<double>(now - written_).count();
  // A job that will clearly take longer is shown before the two seconds are over.
  const double expected = progress.done > 0 ? elapsed * static_cast<double>(progress.total) /
                                                  static_cast<double>(progress.done)
                                            : 0;
  const bool wanted = !is_quiet() && (elapsed > kQuiet || (elapsed > 0.5 && expected > kQuiet));
  if (!wanted || (shown_ && since < (terminal_ ? kBarEvery : kLineEvery))) return;
  const std::string line = progress_line(progress, elapsed, terminal_);
  write_err(terminal_ ? "\r\x1b[K" + line : line + "\n");
  shown_ = true;
  written_ = now;
}

void ProgressReport::end_phase() {
  if (shown_) {
    const double elapsed = std::chrono::duration<double>(Clock::now() - start_).count();
    write_err(fmt::format("{}{} {} {} in {}\n", terminal_ ? "\r\x1b[K" : "", last_.phase,
                          last_.done, last_.unit, format_duration(elapsed)));
  }
  shown_ = false;
}

void ProgressReport::finish() {
  end_phase();
  last_ = {};
}

}  // namespace krait::cli
