// SIGINT and SIGTERM: long jobs stop at the next safe place instead of dying in the middle.
#pragma once

#include <stdexcept>

#include "krait/cancel.h"

namespace krait::cli {

/// Thrown out of a progress callback once a signal has arrived; main() ends with 128 + signal.
struct Interrupted : std::runtime_error {
  Interrupted() : std::runtime_error("interrupted") {}
};

/// From now on the first SIGINT or SIGTERM only sets a flag and cancels the token that is returned;
/// a second one ends the process. One that came before is forgotten.
CancelToken catch_interrupts();
/// The signal that has arrived, or 0.
int interrupt_signal() noexcept;
/// Throws Interrupted if one has.
void throw_if_interrupted();

}  // namespace krait::cli
