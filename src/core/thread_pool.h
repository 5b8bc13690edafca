// A small fork-join pool: workers spin briefly for the next job and then sleep, so that a busy
// neighbour costs little more than its share; there are never more of them than cores.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace krait {

class ThreadPool {
 public:
  /// Counts the calling thread; >= 1. Work is split for that many, by as many as there are cores.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const noexcept { return threads_; }

  /// Calls fn(begin, end, part) on at most threads() disjoint ranges covering [0, n), multiples of
  /// `grain` but for the last. `part` < threads() is another for each of them, whoever runs it: the
  /// index of scratch and of partial results. Returns when all are done; one range (n <= grain, or
  /// one thread) runs in place. fn must not throw. Not reentrant. No result depends on the split.
  template <typename Fn>
  void parallel_for(std::int64_t n, std::int64_t grain, Fn&& fn) {
    using F = std::remove_reference_t<Fn>;
    run(n, grain, const_cast<void*>(static_cast<const void*>(&fn)),
        [](void* context, std::int64_t begin, std::int64_t end, int thread) {
          (*static_cast<F*>(context))(begin, end, thread);
        });
  }

 private:
  using Invoke = void (*)(void*, std::int64_t, std::int64_t, int);
  void run(std::int64_t n, std::int64_t grain, void* context, Invoke invoke);

  struct Shared;
  std::unique_ptr<Shared> shared_;
  int threads_;
};

int hardware_threads() noexcept;  ///< CPUs that this process may use

}  // namespace krait
