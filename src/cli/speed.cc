#include "cli/speed.h"

#include <algorithm>
#include <chrono>

#include "core/rng.h"
#include "runtime/engine_impl.h"

namespace krait::cli {
namespace {

template <typename Fn>
double rate(int tokens, Fn&& fn) {
  const auto start = std::chrono::steady_clock::now();
  fn();
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  return tokens / std::max(taken.count(), 1e-9);
}

}  // namespace

Speed measure_speed(const Engine& engine, int prefill, int decode, int repeats) {
  Engine::Impl& impl = *engine.impl();
  Rng rng(1);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(std::max(prefill, decode)));
  for (std::int32_t& id : ids) {
    id = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(engine.vocab_size())));
  }
  const std::span<const std::int32_t> prompt =
      std::span(ids).first(static_cast<std::size_t>(prefill));
  std::vector<float> logits(static_cast<std::size_t>(engine.vocab_rows()));
  SequenceState state(impl.model->state_layout());
  SequenceState* states[] = {&state};
  Speed speed;
  for (int r = -1; r < repeats; ++r) {  // -1: the warm-up
    state.reset();
    const double prefilled =
        rate(prefill, [&] { impl.prefill(prompt, state, LogitRows::last, logits.data()); });
    state.reset();
    const double decoded = rate(decode, [&] {
      for (std::size_t i = 0; i < static_cast<std::size_t>(decode); ++i) {
        impl.decode(std::span(ids).subspan(i, 1), states, logits.data());
      }
    });
    if (r < 0) continue;
    speed.prefill.push_back(prefilled);
    speed.decode.push_back(decoded);
  }
  return speed;
}

}  // namespace krait::cli
