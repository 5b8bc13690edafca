#include "krait/session.h"

#include <algorithm>

#include "core/check.h"
#include "runtime/engine_impl.h"

namespace krait {

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::Session(const Session& other) : impl_(std::make_unique<Impl>(*other.impl_)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

Session& Session::operator=(const Session& other) {
  if (this != &other) impl_ = std::make_unique<Impl>(*other.impl_);
  return *this;
}

void Session::prefill(std::span<const std::int32_t> ids) {
  if (ids.empty()) return;
  Engine::Impl& engine = *impl_->engine;
  engine.check_ids(ids);
  impl_->logits.resize(static_cast<std::size_t>(engine.model->info().vocab_rows));
  engine.prefill(ids, impl_->state, LogitRows::last, impl_->logits.data());
}

std::span<const float> Session::logits() const { return impl_->logits; }
std::int64_t Session::position() const { return impl_->state.position(); }
std::size_t Session::state_bytes() const { return impl_->state.bytes(); }
std::string Session::save() const { return impl_->state.serialize(); }

void decode(std::span<Session* const> sessions, std::span<const std::int32_t> ids) {
  using enum ErrorCode;
  check(sessions.size() == ids.size(), invalid_argument,
        "{} tokens are given for {} sessions, expected one for each", ids.size(), sessions.size());
  if (sessions.empty()) return;
  const std::shared_ptr<Engine::Impl>& engine = sessions.front()->impl_->engine;
  engine->check_ids(ids);
  std::vector<SequenceState*> states;
  for (std::size_t i = 0; i < sessions.size(); ++i) {
    const Session::Impl& session = *sessions[i]->impl_;
    check(session.engine == engine, invalid_argument,
          "session {} is of another engine than session 0", i);
    states.push_back(&sessions[i]->impl_->state);
  }
  std::vector<SequenceState*> sorted = states;
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) {
    fail(invalid_argument, "session {} is in the list twice",
         std::find(states.begin(), states.end(), *twice) - states.begin());
  }

  const auto vocab = static_cast<std::size_t>(engine->model->info().vocab_rows);
  std::vector<float> logits(sessions.size() * vocab);
  engine->decode(ids, states, logits.data());
  for (std::size_t i = 0; i < sessions.size(); ++i) {
    const auto row = logits.begin() + static_cast<std::ptrdiff_t>(i * vocab);
    sessions[i]->impl_->logits.assign(row, row + static_cast<std::ptrdiff_t>(vocab));
  }
}

void Session::reset() {
  impl_->state.reset();
  impl_->logits.clear();
}

}  // namespace krait
