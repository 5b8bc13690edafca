// What stands behind Engine and Session, for the parts of krait that need more than the public API:
// evaluation, benchmarks and the command line.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/cpu_info.h"
#include "core/memory.h"
#include "core/thread_pool.h"
#include "io/json.h"
#include "io/tensor_source.h"
#include "kernels/context.h"
#include "krait/engine.h"
#include "krait/session.h"
#include "models/model.h"
#include "tokenizer/tokenizer.h"

namespace krait {

/// Tokens of a prompt that go through the model at a time: memory does not grow with the prompt.
inline constexpr std::int64_t kPrefillChunk = 512;

/// Everything that an engine is made of, wherever it comes from.
struct EngineParts {
  Json config;
  Json generation_config;
  std::shared_ptr<const TensorSource> tensors;
  std::optional<Tokenizer> tokenizer;
};

/// `isa`: instead of the best one of this CPU. Errors: Error, as of load_model().
Engine make_engine(EngineParts parts, const EngineOptions& options = {},
                   std::optional<Isa> isa = std::nullopt);

struct Engine::Impl {
  Impl(EngineParts parts, int thread_count, Isa wanted_isa, const LoadOptions& options);
  static Engine wrap(std::shared_ptr<Impl> impl) { return Engine(std::move(impl)); }

  /// Runs `ids` from `state`, which advances, in calls of kPrefillChunk; one sequence at a time has
  /// the model, others wait. `logits` gets the last row (LogitRows::last) or
  /// nothing (none).
  void prefill(std::span<const std::int32_t> ids, SequenceState& state, LogitRows rows,
               float* logits);
  /// ids[i] into *states[i], which are all different; logits [states, vocab_rows]. Waits likewise.
  void decode(std::span<const std::int32_t> ids, std::span<SequenceState* const> states,
              float* logits);
  /// Throws invalid_argument that names the first id outside [0, vocab_rows).
  void check_ids(std::span<const std::int32_t> ids) const;

  const Isa isa;
  ThreadPool threads;
  Arena arena;  // of the forward pass that holds the mutex
  Context context;
  std::mutex mutex;  // guards context, arena and threads
  std::unique_ptr<const Model> model;
  std::string numerics;  // "F32", or of a quantized checkpoint the name of its recipe
  std::string where;     // the tensors' files, for messages
  std::optional<const Tokenizer> tokenizer;
  std::vector<std::int32_t> eos_ids;
  std::int64_t vocab_size = 0;  // ids at or above are padding
};

struct Session::Impl {
  std::shared_ptr<Engine::Impl> engine;
  SequenceState state;
  std::vector<float> logits;  // [vocab_rows] or empty
};

/// Gets rows [first, first + rows) of the logits, f32 [rows, vocab_rows], valid during the call.
using LogitsFn = std::function<void(std::int64_t first, std::int64_t rows, const float* logits)>;

/// Runs `ids` from `state`, which advances, and hands out the logits of every token in chunks of
/// logits_chunk() rows. Errors: invalid_argument for ids outside the vocabulary.
void forward_logits(const Engine& engine, std::span<const std::int32_t> ids, SequenceState& state,
                    const LogitsFn& on_rows);
/// Rows whose logits are made at a time: about 32 MiB of them.
std::int64_t logits_chunk(const Engine& engine);

}  // namespace krait
