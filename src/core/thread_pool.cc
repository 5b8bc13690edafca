#include "core/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "core/check.h"

namespace krait {
namespace {

// About 20 microseconds: longer than the serial stretches between two parallel regions of a layer,
// short enough that an idle pool costs nothing that a person would notice.
constexpr int kSpins = 2000;

void relax() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

struct ThreadPool::Shared {
  explicit Shared(int threads) : claimed(static_cast<std::size_t>(threads)) {}

  // A job is published by writing its fields and then bumping `epoch`. Its parts, one per thread,
  // are claimed by moving claimed[part] from the epoch before to this one; only who has claimed a
  // part of an epoch may read the fields, and the job cannot end before that part is done. So a
  // thread that wakes late finds nothing to claim, and nobody has waited for it.
  std::atomic<std::uint64_t> epoch{0};
  std::vector<std::atomic<std::uint64_t>> claimed;
  std::atomic<int> pending{0};  // parts that are not done
  std::atomic<bool> stop{false};
  std::int64_t n = 0;
  std::int64_t step = 0;
  void* context = nullptr;
  Invoke invoke = nullptr;
  std::mutex mutex;
  std::condition_variable work, done;
  std::vector<std::thread> workers;

  /// Runs all parts of the job that nobody has begun, `thread`'s own first. Returns whether the
  /// last part of the job was among them.
  bool run_parts(std::uint64_t job, int thread) {
    const int parts = static_cast<int>(claimed.size());
    bool last = false;
    for (int i = 0; i < parts; ++i) {
      const int part = thread + i < parts ? thread + i : thread + i - parts;
      std::uint64_t before = job - 1;
      if (!claimed[static_cast<std::size_t>(part)].compare_exchange_strong(
              before, job, std::memory_order_acq_rel)) {
        continue;
      }
      const std::int64_t begin = std::min(n, step * part), end = std::min(n, begin + step);
      if (begin < end) invoke(context, begin, end, part);
      last = pending.fetch_sub(1, std::memory_order_acq_rel) == 1;
    }
    return last;
  }

  void worker(int thread) {
    std::uint64_t seen = 0;
    for (;;) {
      for (int i = 0; i < kSpins && epoch.load(std::memory_order_acquire) == seen; ++i) relax();
      if (epoch.load(std::memory_order_acquire) == seen) {
        std::unique_lock lock(mutex);
        work.wait(lock, [&] { return epoch.load(std::memory_order_acquire) != seen; });
      }
      seen = epoch.load(std::memory_order_acquire);
      if (stop.load(std::memory_order_acquire)) return;
      if (run_parts(seen, thread)) {
        std::lock_guard lock(mutex);
        done.notify_one();
      }
    }
  }

  void publish() {
    {
      std::lock_guard lock(mutex);
      epoch.fetch_add(1, std::memory_order_release);
    }
    work.notify_all();
  }

  void join() {
    stop.store(true, std::memory_order_release);
    publish();
    for (std::thread& worker : workers) worker.join();
  }
};

ThreadPool::ThreadPool(int threads)
    : shared_(std::make_unique<Shared>(std::max(threads, 1))), threads_(threads) {
  check(threads >= 1 && threads <= 1024, ErrorCode::invalid_argument,
        "the number of threads must be between 1 and 1024, got {}", threads);
  // More workers than cores would only keep each other from them: then each takes several ranges.
  const int workers = std::min(threads, hardware_threads());
  try {
    for (int i = 1; i < workers; ++i) {
      shared_->workers.emplace_back([shared = shared_.get(), i] { shared->worker(i); });
    }
  } catch (const std::system_error& error) {
    shared_->join();
    fail(ErrorCode::io_error, "cannot start {} threads: {}", threads, error.what());
  }
}

ThreadPool::~ThreadPool() { shared_->join(); }

void ThreadPool::run(std::int64_t n, std::int64_t grain, void* context, Invoke invoke) {
  if (n <= 0) return;
  grain = std::max<std::int64_t>(grain, 1);
  const std::int64_t pieces = (n - 1) / grain + 1;
  if (threads_ == 1 || pieces == 1) {
    invoke(context, 0, n, 0);
    return;
  }
  Shared& s = *shared_;
  s.n = n;
  s.step = (pieces + threads_ - 1) / threads_ * grain;
  s.context = context;
  s.invoke = invoke;
  s.pending.store(threads_, std::memory_order_relaxed);
  s.publish();
  s.run_parts(s.epoch.load(std::memory_order_relaxed), 0);
  for (int i = 0; i < kSpins && s.pending.load(std::memory_order_acquire) > 0; ++i) relax();
  if (s.pending.load(std::memory_order_acquire) > 0) {
    std::unique_lock lock(s.mutex);
    s.done.wait(lock, [&] { return s.pending.load(std::memory_order_acquire) == 0; });
  }
}

int hardware_threads() noexcept {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace krait
