// What runs a model: its weights, threads and scratch memory, and the one way in.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "core/cpu_info.h"
#include "core/memory.h"
#include "core/thread_pool.h"
#include "io/json_fwd.h"
#include "io/tensor_source.h"
#include "kernels/context.h"
#include "models/model.h"

namespace krait {

/// Tokens of a prompt that go through the model at a time: memory does not grow with the prompt.
inline constexpr std::int64_t kPrefillChunk = 512;

/// What one sequence has in a forward pass: tokens of its prompt, or the next one.
struct Step {
  SequenceState& state;               ///< advances by the tokens
  std::span<const std::int32_t> ids;  ///< in [0, vocab_rows); may be empty
  LogitRows rows = LogitRows::none;   ///< after which of them logits are wanted
  float* logits = nullptr;            ///< f32 [rows, vocab_rows]
};

/// A row of logits that holds NaN or infinity.
struct Overflow {
  std::size_t step = 0;       ///< index of the step
  std::int64_t position = 0;  ///< of the token that they follow, counted from the sequence's start
};
/// The sentence for it: bad_data.
[[noreturn]] void fail_of_overflow(const Overflow& overflow);

/// Any thread may call it at any time: forward passes take turns, and nobody else needs a lock.
class Executor {
 public:
  /// Errors: as load_model(), and of ThreadPool.
  Executor(const Json& config, const TensorSource& tensors, int threads, Isa isa,
           const LoadOptions& options);

  const Model& model() const noexcept { return *model_; }
  Isa isa() const noexcept { return isa_; }
  int threads() const noexcept { return threads_.threads(); }
  SequenceState new_state() const { return SequenceState(model_->state_layout()); }
  /// Throws invalid_argument that names the first id outside [0, vocab_rows).
  void check_ids(std::span<const std::int32_t> ids) const;

  /// One forward pass over the tokens of all steps, whose states are all different. What a sequence
  /// gets does not depend on the others, but for recipes whose scales span tokens. `tap` watches.
  /// Errors: invalid_argument for ids outside the vocabulary and a state that is there twice,
  /// before anything is read; bad_data for logits that are NaN or infinite, once all states have
  /// advanced.
  void run(std::span<const Step> steps, Tap* tap = nullptr);
  /// The same, but tells which logits are NaN or infinite: the first row of each such step.
  std::vector<Overflow> try_run(std::span<const Step> steps, Tap* tap = nullptr);
  /// run() of one sequence with a text of any length, kPrefillChunk tokens at a time, which others
  /// may come between. `logits` gets the last row (LogitRows::last) or nothing (none).
  void read(std::span<const std::int32_t> ids, SequenceState& state,
            LogitRows rows = LogitRows::none, float* logits = nullptr);

  /// fn(ctx), while no forward pass runs: the threads for something else.
  template <typename Fn>
  decltype(auto) exclusively(Fn&& fn) {
    const std::lock_guard lock(mutex_);
    return fn(context_);
  }

 private:
  const Isa isa_;
  ThreadPool threads_;
  Arena arena_;
  Context context_;
  std::mutex mutex_;           // guards context_ with its arena and threads, and logits_
  std::vector<float> logits_;  // of steps whose rows do not lie one after the other
  std::unique_ptr<const Model> model_;
};

/// Gets rows [first, first + rows) of the logits, f32 [rows, vocab_rows], valid during the call.
using LogitsFn = std::function<void(std::int64_t first, std::int64_t rows, const float* logits)>;

/// Runs `ids` from `state`, which advances, and hands out the logits of every token in chunks of
/// logits_chunk() rows. Errors: as Executor::run().
void forward_logits(Executor& executor, std::span<const std::int32_t> ids, SequenceState& state,
                    const LogitsFn& on_rows);
/// Rows whose logits are made at a time: about 32 MiB of them.
std::int64_t logits_chunk(const Executor& executor);

}  // namespace krait
