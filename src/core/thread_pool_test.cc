#include "core/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <mutex>
#include <numeric>
#include <thread>
#include <vector>

#include "core/test_support.h"
#include "krait/error.h"

namespace krait {
namespace {

struct Call {
  std::int64_t begin, end;
  int part;
};

class Pools : public testing::TestWithParam<int> {
 protected:
  ThreadPool pool_{GetParam()};
};

TEST_P(Pools, PartsAreDisjointCoverTheRangeAndKeepTheGrain) {
  for (std::int64_t n = 0; n <= 70; ++n) {
    for (const std::int64_t grain : {-1, 0, 1, 2, 3, 16, 64, 1000}) {
      std::mutex mutex;
      std::vector<Call> calls;
      pool_.parallel_for(n, grain, [&](std::int64_t begin, std::int64_t end, int part) {
        const std::lock_guard lock(mutex);
        calls.push_back({begin, end, part});
      });
      std::vector<int> covered(static_cast<std::size_t>(n), 0);
      ASSERT_LE(calls.size(), static_cast<std::size_t>(pool_.threads()));
      for (const Call& call : calls) {
        ASSERT_LT(call.begin, call.end);
        ASSERT_GE(call.part, 0);
        ASSERT_LT(call.part, pool_.threads());
        ASSERT_EQ(std::ranges::count(calls, call.part, &Call::part), 1);
        if (call.end < n && grain > 0) {
          EXPECT_EQ((call.end - call.begin) % grain, 0);
        }
        for (auto i = call.begin; i < call.end; ++i) ++covered[static_cast<std::size_t>(i)];
      }
      for (const int count : covered) ASSERT_EQ(count, 1) << n << " by " << grain;
      if (n > 0 && n <= grain) {
        EXPECT_EQ(calls.size(), 1u);
      }
    }
  }
}

TEST_P(Pools, HugeGrainsDoNotOverflow) {
  std::int64_t covered = 0;  // one range: runs in place
  pool_.parallel_for(100, std::numeric_limits<std::int64_t>::max(),
                     [&](std::int64_t begin, std::int64_t end, int) { covered += end - begin; });
  EXPECT_EQ(covered, 100);
}

TEST_P(Pools, ManySmallJobsInARow) {
  std::vector<std::int64_t> values(1000);
  for (int job = 0; job < 3000; ++job) {
    pool_.parallel_for(1000, 7, [&](std::int64_t begin, std::int64_t end, int) {
      for (auto i = begin; i < end; ++i) values[static_cast<std::size_t>(i)] += i;
    });
  }
  for (std::int64_t i = 0; i < 1000; ++i) EXPECT_EQ(values[static_cast<std::size_t>(i)], 3000 * i);
}

TEST_P(Pools, WakesWorkersThatSleep) {
  std::vector<std::int64_t> sums(static_cast<std::size_t>(pool_.threads()));
  for (int job = 0; job < 20; ++job) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // longer than the spinning
    pool_.parallel_for(64, 1, [&](std::int64_t begin, std::int64_t end, int part) {
      sums[static_cast<std::size_t>(part)] += end - begin;  // partial results
    });
  }
  EXPECT_EQ(std::accumulate(sums.begin(), sums.end(), std::int64_t{0}), 20 * 64);
}

TEST_P(Pools, ReadsWhatTheCallerWroteBefore) {
  std::vector<int> in(256), out(256);
  for (int job = 1; job <= 500; ++job) {
    for (int& x : in) x = job;
    pool_.parallel_for(256, 1, [&](std::int64_t begin, std::int64_t end, int) {
      for (auto i = begin; i < end; ++i)
        out[static_cast<std::size_t>(i)] = in[static_cast<std::size_t>(i)];
    });
    ASSERT_EQ(std::accumulate(out.begin(), out.end(), 0), 256 * job);
  }
}

INSTANTIATE_TEST_SUITE_P(Threads, Pools, testing::Values(1, 2, 5));

TEST(ThreadPool, GivesEachRangeAnIndexOfItsOwnWhoeverRunsIt) {
  const OnOneCpu one;
  ThreadPool pool(4);
  std::vector<int> used(4);
  pool.parallel_for(400, 1, [&](std::int64_t, std::int64_t, int part) {
    ++used[static_cast<std::size_t>(part)];
  });
  EXPECT_EQ(used, (std::vector<int>{1, 1, 1, 1}));
}

TEST(ThreadPool, IsBuiltAndDestroyedAtOnce) {
  for (int i = 0; i < 200; ++i) {
    ThreadPool pool(1 + i % 5);
    EXPECT_EQ(pool.threads(), 1 + i % 5);
  }
}

TEST(ThreadPool, PoolsDoNotDisturbEachOther) {
  std::atomic<std::int64_t> total{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 3; ++caller) {
    callers.emplace_back([&] {
      ThreadPool pool(3);
      for (int job = 0; job < 300; ++job) {
        pool.parallel_for(10, 1,
                          [&](std::int64_t begin, std::int64_t end, int) { total += end - begin; });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(total.load(), 3 * 300 * 10);
}

TEST(ThreadPool, RefusesImpossibleCounts) {
  for (const int threads : {0, -1, 1025}) EXPECT_THROW(ThreadPool{threads}, Error);
  EXPECT_GE(hardware_threads(), 1);
}

}  // namespace
}  // namespace krait
