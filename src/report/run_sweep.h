// The work of a sweep: every model under every recipe, measured, one result file each.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "io/json.h"
#include "krait/quantize.h"
#include "report/sweep_file.h"

namespace krait {

struct SweepOptions {
  std::string file;    ///< of the sweep, for the command that makes a result again
  std::string output;  ///< directory of the results; made if it is missing
  bool keep = false;   ///< the quantized checkpoints beside the results
  int threads = 0;     ///< 0: all that the process may use
  /// May throw anything but an Error to end the sweep. Phases begin with the name of their cell.
  ProgressFn progress;
  /// Called with every result that was made, and its file.
  std::function<void(const SweepCell& cell, const std::string& path, const Json& result)> on_result;
};

struct SweepCounts {
  std::size_t made = 0, failed = 0;
  std::size_t kept = 0;  ///< were there, made with the same specification
};

/// Quantizes and measures the cells in their order; a model's own measures are made once for all
/// its recipes. A cell that fails has a result file that says why, and the sweep goes on. Results
/// that are there are kept, failures tried again. Errors: as sweep_settings(), of texts and tasks
/// that cannot be read, and of files that cannot be written; before any work, of files and
/// directories of those names that no sweep has written, and as check_output().
SweepCounts run_sweep(const SweepFile& sweep, const std::vector<SweepCell>& cells,
                      const SweepOptions& options);

}  // namespace krait
