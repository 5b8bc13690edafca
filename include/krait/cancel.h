#pragma once

#include <atomic>
#include <memory>
#if __has_include(<stop_token>)
#include <stop_token>
#endif

namespace krait {

/// Asks something that runs long to stop at the next safe place. Copies share the question: one is
/// given away in options, the other is kept. Any thread may call it at any time.
class CancelToken {
 public:
  CancelToken() : asked_(std::make_shared<std::atomic<bool>>(false)) {}
#ifdef __cpp_lib_jthread
  /// Asks as well when `token` does, or has.
  explicit CancelToken(std::stop_token token) {
    const auto linked = std::make_shared<Linked>(std::move(token));
    asked_ = {linked, &linked->asked};
  }
#endif

  void cancel() const noexcept { asked_->store(true, std::memory_order_relaxed); }
  bool cancelled() const noexcept { return asked_->load(std::memory_order_relaxed); }

 private:
#ifdef __cpp_lib_jthread
  struct Ask {
    std::atomic<bool>* asked;
    void operator()() const noexcept { asked->store(true, std::memory_order_relaxed); }
  };
  struct Linked {
    explicit Linked(std::stop_token token) : on_stop(std::move(token), Ask{&asked}) {}
    std::atomic<bool> asked{false};
    std::stop_callback<Ask> on_stop;
  };
#endif
  std::shared_ptr<std::atomic<bool>> asked_;
};

}  // namespace krait
