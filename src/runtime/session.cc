#include "krait/session.h"

#include <algorithm>

#include "core/check.h"
#include "runtime/engine_access.h"
#include "runtime/sequence.h"

namespace krait {

namespace {

const Tokenizer* tokenizer_of(const LoadedModel& model) {
  return model.tokenizer ? &*model.tokenizer : nullptr;
}

}  // namespace

Session::Session(std::shared_ptr<LoadedModel> model)
    : model_(std::move(model)),
      sequence_(std::make_unique<Sequence>(
          new_sequence(model_->executor.model().state_layout(), tokenizer_of(*model_)))) {}

Session::Session(std::shared_ptr<LoadedModel> model, std::string_view saved)
    : model_(std::move(model)),
      sequence_(std::make_unique<Sequence>(
          restore_sequence(saved, model_->executor.model().state_layout(),
                           model_->executor.model().info().vocab_rows, tokenizer_of(*model_)))) {}

Session::Session(const Session& other)
    : model_(other.model_), sequence_(std::make_unique<Sequence>(*other.sequence_)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

Session& Session::operator=(const Session& other) {
  if (this != &other) *this = Session(other);
  return *this;
}

void Session::prefill(std::span<const std::int32_t> ids) { sequence_->read(model_->executor, ids); }

std::span<const float> Session::logits() const { return sequence_->logits; }
std::int64_t Session::position() const { return sequence_->state.position(); }
std::size_t Session::state_bytes() const { return sequence_->state.bytes(); }
std::string Session::save() const { return sequence_->save(); }

void decode(std::span<Session* const> sessions, std::span<const std::int32_t> ids) {
  using enum ErrorCode;
  check(sessions.size() == ids.size(), invalid_argument,
        "{} tokens are given for {} sessions, expected one for each", ids.size(), sessions.size());
  if (sessions.empty()) return;
  const std::shared_ptr<LoadedModel>& model = sessions.front()->model_;
  model->executor.check_ids(ids);
  for (std::size_t i = 0; i < sessions.size(); ++i) {
    check(sessions[i]->model_ == model, invalid_argument,
          "session {} is of another engine than session 0", i);
  }
  std::vector<Session*> sorted(sessions.begin(), sessions.end());
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) {
    fail(invalid_argument, "session {} is in the list twice",
         std::find(sessions.begin(), sessions.end(), *twice) - sessions.begin());
  }

  std::vector<Step> steps;
  for (std::size_t i = 0; i < sessions.size(); ++i) {
    Sequence& sequence = *sessions[i]->sequence_;
    sequence.logits.resize(static_cast<std::size_t>(model->executor.model().info().vocab_rows));
    steps.push_back({sequence.state, ids.subspan(i, 1), LogitRows::last, sequence.logits.data()});
  }
  const std::vector<Overflow> overflows = model->executor.try_run(steps);
  for (std::size_t i = 0; i < sessions.size(); ++i) {
    sessions[i]->sequence_->have_read(ids.subspan(i, 1));
  }
  for (const Overflow& overflow : overflows) sessions[overflow.step]->sequence_->logits.clear();
  if (!overflows.empty()) fail_of_overflow(overflows.front());
}

void Session::reset() { sequence_->reset(); }
void Session::keep_history(std::int64_t tokens) { sequence_->state.keep_history(tokens); }
void Session::rollback(std::int64_t tokens) { sequence_->go_back(tokens); }

}  // namespace krait
