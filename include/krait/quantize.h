#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "krait/cancel.h"
#include "krait/export.h"

namespace krait {

/// A long job reports where it stands; called from the thread that started it.
struct Progress {
  std::string phase;  ///< "calibrate", "quantize", ...
  std::int64_t done = 0, total = 0;
  std::string unit;  ///< "samples", "tensors", "tokens"
};
using ProgressFn = std::function<void(const Progress&)>;

struct QuantizeOptions {
  std::string recipe = "krait-w8a8";  ///< a name (see recipe_names()) or the path of a JSON file
  /// Text, .jsonl ({"text": ...}) or .bin/.npy token file; "built-in": the text that ships with
  /// krait; "generated": what the float model writes; "": what the recipe says, else built-in.
  std::string calibration;
  int samples = 512;
  int seq_len = 512;
  std::uint64_t seed = 1234;
  int threads = 0;
  bool overwrite = false;  ///< replace an output directory that krait wrote
  ProgressFn progress;
  CancelToken cancel = {};  ///< looked at between samples, layers and tensors
};

struct QuantizeReport {
  std::string recipe;
  std::size_t source_bytes = 0, output_bytes = 0;  ///< tensors only
  double bits_per_weight = 0;  ///< all tensors of the output over all parameters
  int calibration_samples = 0;
  std::int64_t calibration_tokens = 0;
};

/// Reads the checkpoint at `model`, writes a quantized Hugging Face directory to `output`: all of
/// it or nothing. Errors: Error; cancelled. Any threads may do so at once, for different outputs.
KRAIT_API QuantizeReport quantize(const std::string& model, const std::string& output,
                                  const QuantizeOptions& options);

/// Names of the recipes that ship with krait.
KRAIT_API std::vector<std::string> recipe_names();

}  // namespace krait
