// The only "environment" parameter of operations and models.
#pragma once

#include <string_view>

#include "core/activation.h"
#include "core/memory.h"
#include "core/thread_pool.h"
#include "core/weight.h"
#include "kernels/microkernels.h"
#include "kernels/operations.h"

namespace krait {

/// Someone who watches activations: calibration, golden diffs. Called on the coordinating thread
/// after the value of a site is complete; `site` is an index into Model::activation_sites().
class Tap {
 public:
  virtual ~Tap() = default;
  virtual void observe(int site, const Activation& value) = 0;
  /// Before x W^T is computed: every product of the model, those of single experts too.
  virtual void product([[maybe_unused]] const Weight& weight,
                       [[maybe_unused]] const Activation& x) {}
};

/// Borrowed pieces; one Context serves one forward pass at a time.
struct Context {
  ThreadPool& threads;
  const Microkernels& kernels;
  Arena& arena;  ///< in the memory of the device
  Tap* tap = nullptr;
  const Operations& operations = cpu_operations;
};

}  // namespace krait
