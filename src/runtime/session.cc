#include "krait/session.h"

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

void Session::reset() {
  impl_->state.reset();
  impl_->logits.clear();
}

}  // namespace krait
