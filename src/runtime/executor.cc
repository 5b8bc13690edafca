#include "runtime/executor.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/check.h"
#include "io/json.h"

namespace krait {
namespace {

using enum ErrorCode;

/// Whether an exponent is all ones: NaN or infinity. The loop has no exit, so that it vectorizes.
bool has_overflow(const float* row, std::size_t size) {
  std::uint32_t carry = 0;
  for (std::size_t i = 0; i < size; ++i) {
    carry |= (std::bit_cast<std::uint32_t>(row[i]) & 0x7fffffffu) + 0x00800000u;
  }
  return carry >> 31 != 0;
}

std::int64_t rows_of(const Step& step) { return logit_rows(step.rows, std::ssize(step.ids)); }

void check_states(std::span<const Step> steps) {
  std::vector<const SequenceState*> states;
  for (const Step& step : steps) states.push_back(&step.state);
  std::sort(states.begin(), states.end());
  check(std::adjacent_find(states.begin(), states.end()) == states.end(), invalid_argument,
        "one of {} sequences is in the list twice", steps.size());
}

}  // namespace

void fail_of_overflow(const Overflow& overflow) {
  fail(bad_data,
       "the model's logits are NaN or infinite after the token at position {} of sequence {}: its "
       "activations overflow, as those of a badly merged model or one trained in float16 may",
       overflow.position, overflow.step);
}

Executor::Executor(const Json& config, const TensorSource& tensors, int threads, Isa isa,
                   const LoadOptions& options)
    : isa_(isa),
      threads_(threads),
      context_{threads_, microkernels(isa), arena_},
      model_(load_model(context_, config, tensors, options)) {}

void Executor::check_ids(std::span<const std::int32_t> ids) const {
  const std::int64_t rows = model_->info().vocab_rows;
  const auto bad =
      std::find_if(ids.begin(), ids.end(), [&](std::int32_t id) { return id < 0 || id >= rows; });
  if (bad != ids.end()) {
    fail(invalid_argument, "token id {} at position {} is outside the vocabulary [0, {})", *bad,
         bad - ids.begin(), rows);
  }
}

std::vector<Overflow> Executor::try_run(std::span<const Step> steps, Tap* tap) {
  if (steps.size() > 1) check_states(steps);
  std::vector<std::int32_t> ids, bounds{0};
  std::vector<SequenceState*> states;
  std::vector<LogitRows> rows;
  const auto vocab = static_cast<std::size_t>(model_->info().vocab_rows);
  std::size_t wanted = 0;
  float* begin = nullptr;
  bool in_line = true;  // each step's logits begin where those of the one before end
  for (const Step& step : steps) {
    check_ids(step.ids);
    if (steps.size() > 1) ids.insert(ids.end(), step.ids.begin(), step.ids.end());
    bounds.push_back(bounds.back() + static_cast<std::int32_t>(step.ids.size()));
    states.push_back(&step.state);
    rows.push_back(step.rows);
    const std::int64_t own = rows_of(step);
    if (own == 0) continue;
    if (wanted == 0) begin = step.logits;
    in_line &= step.logits == begin + wanted * vocab;
    wanted += static_cast<std::size_t>(own);
  }

  const std::lock_guard lock(mutex_);
  if (!in_line && logits_.size() < wanted * vocab) logits_.resize(wanted * vocab);
  float* logits = in_line ? begin : logits_.data();
  Context watched{threads_, context_.kernels, arena_, tap};
  const Batch batch{steps.size() == 1 ? steps.front().ids : std::span<const std::int32_t>(ids),
                    bounds, states, rows};
  model_->forward(watched, batch, logits);

  std::vector<Overflow> overflows;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const std::int64_t own = rows_of(steps[i]);
    for (std::int64_t r = 0; r < own; ++r) {
      if (!has_overflow(logits + static_cast<std::size_t>(r) * vocab, vocab)) continue;
      overflows.push_back({i, steps[i].state.position() - own + r});
      break;
    }
    const std::size_t size = static_cast<std::size_t>(own) * vocab;
    if (!in_line && own > 0) std::copy_n(logits, size, steps[i].logits);
    logits += size;
  }
  return overflows;
}

void Executor::run(std::span<const Step> steps, Tap* tap) {
  const std::vector<Overflow> overflows = try_run(steps, tap);
  if (!overflows.empty()) fail_of_overflow(overflows.front());
}

void Executor::read(std::span<const std::int32_t> ids, SequenceState& state, LogitRows rows,
                    float* logits) {
  check_ids(ids);
  while (!ids.empty()) {
    const std::size_t count = std::min(ids.size(), static_cast<std::size_t>(kPrefillChunk));
    const bool is_end = count == ids.size();
    const Step step{state, ids.first(count), is_end ? rows : LogitRows::none, logits};
    run({&step, 1});
    ids = ids.subspan(count);
  }
}

std::int64_t logits_chunk(const Executor& executor) {
  constexpr std::int64_t kElements = std::int64_t{8} << 20;
  return std::clamp<std::int64_t>(kElements / executor.model().info().vocab_rows, 1, kPrefillChunk);
}

void forward_logits(Executor& executor, std::span<const std::int32_t> ids, SequenceState& state,
                    const LogitsFn& on_rows) {
  executor.check_ids(ids);
  const auto chunk = static_cast<std::size_t>(logits_chunk(executor));
  const auto vocab = static_cast<std::size_t>(executor.model().info().vocab_rows);
  std::vector<float> logits(std::min(chunk, ids.size()) * vocab);
  for (std::size_t first = 0; first < ids.size(); first += chunk) {
    const auto part = ids.subspan(first, std::min(chunk, ids.size() - first));
    const Step step{state, part, LogitRows::all, logits.data()};
    executor.run({&step, 1});
    on_rows(static_cast<std::int64_t>(first), std::ssize(part), logits.data());
  }
}

}  // namespace krait
