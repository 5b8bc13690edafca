#include "cli/interrupt.h"

#include <csignal>

namespace krait::cli {
namespace {

volatile std::sig_atomic_t arrived = 0;

void remember(int signal) { arrived = signal; }

}  // namespace

void catch_interrupts() {
  struct sigaction action {};
  action.sa_handler = remember;
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM}) sigaction(signal, &action, nullptr);
}

int interrupt_signal() noexcept { return arrived; }

void throw_if_interrupted() {
  if (arrived != 0) throw Interrupted();
}

}  // namespace krait::cli
