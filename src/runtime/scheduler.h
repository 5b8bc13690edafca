// Several sequences that are read and written in the same forward passes.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "krait/error.h"
#include "krait/generate.h"
#include "runtime/engine_access.h"
#include "runtime/sequence.h"

namespace krait {

struct SchedulerOptions {
  /// That a forward pass should take while someone waits for the next token: so many tokens of
  /// prompts it takes in. Short enough that a text does not seem to stop, long enough that a prompt
  /// is still read in products of many rows.
  double step_seconds = 0.2;
  std::int64_t step_tokens = kPrefillChunk;  ///< of prompts in one pass, at most
  std::size_t memory = std::numeric_limits<std::size_t>::max();  ///< bytes of all sequences in work
  std::size_t waiting = 256;  ///< requests that wait for memory or for their turn
};

/// What happened to one request in a step.
struct Event {
  std::uint64_t request = 0;
  std::optional<Token> token = std::nullopt;
  FinishReason finish = FinishReason::running;  ///< otherwise it is over and its sequence free
  std::optional<Error> error = std::nullopt;    ///< it is over because of this
};

/// Tokens of prompts that a pass may take beside decoding, from what passes took before.
class PromptBudget {
 public:
  PromptBudget(double seconds, std::int64_t most) : seconds_(seconds), most_(most) {}
  std::int64_t tokens(std::size_t decoding) const;
  /// A pass with tokens of prompts took so long.
  void measured(std::int64_t tokens, double seconds);

 private:
  double seconds_;
  std::int64_t most_;
  double per_token_ = 0;  // 0: not known
};

/// Decoding sequences take their token in every pass; what is left of a pass goes to prompts, in
/// the order of arrival. Requests begin in that order, as soon as memory has room for all that they
/// may become. What a request gets does not depend on the others. submit() and cancel() may be
/// called by any thread, all else by the one that drives.
class Scheduler {
 public:
  explicit Scheduler(std::shared_ptr<LoadedModel> model, const SchedulerOptions& options = {});
  ~Scheduler();

  /// Continues `sequence`, which the caller keeps alive and alone until the event that ends the
  /// request, with the tokens of a prompt. Returns the request's number. Errors: invalid_argument
  /// for options, ids, and nothing to continue from; busy; out_of_memory for what never has room.
  std::uint64_t submit(Sequence& sequence, std::vector<std::int32_t> prompt,
                       const GenerateOptions& options);
  /// Ends a request with the token that it got last, or where its prompt is; unknown ones are none.
  void cancel(std::uint64_t request);

  /// One forward pass over whatever is to be done, if anything. Errors of single requests are
  /// events.
  std::vector<Event> step();
  bool idle() const;  ///< there is nothing to be done
  /// Until there is, or so long.
  void wait(std::chrono::milliseconds most);

 private:
  struct Job;
  void admit(std::vector<Event>& events);
  void look_for_cancelled();
  void remove_ended(std::vector<Event>& events);

  const std::shared_ptr<LoadedModel> model_;
  const SchedulerOptions options_;
  PromptBudget budget_;
  std::vector<std::unique_ptr<Job>> jobs_;  // in work, in the order of arrival
  std::size_t memory_ = 0;                  // theirs

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable arrived_;
  std::vector<std::unique_ptr<Job>> waiting_;
  std::vector<std::uint64_t> cancelled_;
  std::uint64_t last_ = 0;
  bool has_jobs_ = false;  // jobs_ is not empty
};

}  // namespace krait
