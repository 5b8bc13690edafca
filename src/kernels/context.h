// The only "environment" parameter of operations and models.
#pragma once

#include <string_view>

#include "core/activation.h"
#include "core/memory.h"
#include "core/thread_pool.h"
#include "kernels/microkernels.h"

namespace krait {

/// Someone who watches activations: calibration, golden diffs. Called on the coordinating thread
/// after the value of a site is complete; `site` is an index into Model::activation_sites().
class Tap {
 public:
  virtual ~Tap() = default;
  virtual void observe(int site, const Activation& value) = 0;
};

/// Borrowed pieces; one Context serves one forward pass at a time.
struct Context {
  ThreadPool& threads;
  const Microkernels& kernels;
  Arena& arena;
  Tap* tap = nullptr;
};

/// fn(lane, i) for i in [0, n), dealt out to the threads in contiguous ranges: many small
/// operations side by side, rather than each on all threads. `lane` is a Context of that thread
/// alone, without a tap. Results are the same bits as with `ctx` one after the other. fn must not
/// throw.
template <typename Fn>
void for_each_lane(Context& ctx, std::int64_t n, Fn&& fn) {
  ctx.arena.lane(static_cast<std::size_t>(ctx.threads.threads() - 1));
  ctx.threads.parallel_for(n, 1, [&](std::int64_t begin, std::int64_t end, int thread) {
    ThreadPool alone(1);
    Context lane{alone, ctx.kernels, ctx.arena.lane(static_cast<std::size_t>(thread))};
    for (std::int64_t i = begin; i < end; ++i) fn(lane, i);
  });
}

}  // namespace krait
