#include "cli/interrupt.h"

#include <atomic>
#include <csignal>
#include <deque>

namespace krait::cli {
namespace {

volatile std::sig_atomic_t arrived = 0;

std::atomic<const CancelToken*> asked = nullptr;

void remember(int signal) {
  arrived = signal;
  if (const CancelToken* token = asked) token->cancel();
}

}  // namespace

CancelToken catch_interrupts() {
  static std::deque<CancelToken> tokens;  // a handler may look at an old one: they stay
  asked = &tokens.emplace_back();
  arrived = 0;
  struct sigaction action {};
  action.sa_handler = remember;
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM}) sigaction(signal, &action, nullptr);
  return tokens.back();
}

int interrupt_signal() noexcept { return arrived; }

void throw_if_interrupted() {
  if (arrived != 0) throw Interrupted();
}

}  // namespace krait::cli
