#include "kernels/machine/machine.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "core/check.h"
#include "kernels/machine/machine_kernels.h"

namespace krait {
namespace {

using Clock = std::chrono::steady_clock;

// Far above the caches of one socket, small enough for small boards.
constexpr std::size_t kMinBuffer = std::size_t{256} << 20;
constexpr std::size_t kMaxBuffer = std::size_t{1} << 30;
constexpr std::int64_t kPiece = 1 << 20;
constexpr double kBandwidthSeconds = 0.12;
constexpr double kComputeSeconds = 0.03;
constexpr int kComputeRounds = 3;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Anonymous memory in huge pages where the system has them: bandwidth, not page walks.
class Buffer {
 public:
  explicit Buffer(std::size_t bytes) : bytes_(bytes) {
    data_ = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(data_ != MAP_FAILED, ErrorCode::io_error,
          "no memory to measure the bandwidth with: wanted {} bytes", bytes);
    ::madvise(data_, bytes, MADV_HUGEPAGE);
  }
  ~Buffer() { ::munmap(data_, bytes_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  char* data() const { return static_cast<char*>(data_); }

 private:
  void* data_;
  std::size_t bytes_;
};

std::size_t buffer_bytes() {
  const long l3 = ::sysconf(_SC_LEVEL3_CACHE_SIZE);
  const long pages = ::sysconf(_SC_AVPHYS_PAGES), page = ::sysconf(_SC_PAGESIZE);
  std::size_t bytes = std::max(kMinBuffer, 4 * static_cast<std::size_t>(std::max(l3, 0L)));
  if (pages > 0 && page > 0) {
    const std::size_t free = static_cast<std::size_t>(pages) * static_cast<std::size_t>(page);
    bytes = std::min(bytes, std::max(free / 4, std::size_t{16} << 20));
  }
  return std::min(bytes, kMaxBuffer) / static_cast<std::size_t>(kPiece) *
         static_cast<std::size_t>(kPiece);
}

/// Best rate of fn(rounds) in all threads at once, in rounds per second.
template <typename Fn>
double best_rate(ThreadPool& threads, const Fn& fn) {
  std::int64_t rounds = 1000;
  double best = 0;
  for (int measured = 0; measured < kComputeRounds;) {
    const auto start = Clock::now();
    threads.parallel_for(threads.threads(), 1,
                         [&](std::int64_t, std::int64_t, int) { fn(rounds); });
    const double seconds = seconds_since(start);
    if (seconds < kComputeSeconds / 2) {  // not long enough to tell: more rounds, not counted
      const double factor = kComputeSeconds / std::max(seconds, 1e-7);
      rounds = static_cast<std::int64_t>(static_cast<double>(rounds) * std::min(factor, 100.0));
      continue;
    }
    best = std::max(best, static_cast<double>(rounds * threads.threads()) / seconds);
    ++measured;
  }
  return best;
}

}  // namespace

const MachineKernels& machine_kernels(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::avx2:
      return machine_avx2;
    case Isa::avx_vnni:
      return machine_avx_vnni;
    case Isa::avx512_vnni:
      return machine_avx512;
#elif defined(__aarch64__)
    case Isa::neon:
      return machine_neon;
    case Isa::neon_dotprod:
      return machine_neon_dotprod;
    case Isa::neon_i8mm:
      return machine_neon_i8mm;
#endif
    default:
      return machine_reference;
  }
}

double measure_read_bandwidth(ThreadPool& threads, Isa isa) {
  const MachineKernels& kernels = machine_kernels(isa);
  const std::size_t bytes = buffer_bytes();
  const Buffer buffer(bytes);
  const std::int64_t pieces = static_cast<std::int64_t>(bytes) / kPiece;
  // Written by the thread that will read it, so that each reads memory of its own node.
  threads.parallel_for(pieces, 1, [&](std::int64_t begin, std::int64_t end, int) {
    std::memset(buffer.data() + begin * kPiece, 1,
                static_cast<std::size_t>((end - begin) * kPiece));
  });
  std::atomic<std::uint32_t> sum{0};
  double best = 0, total = 0;
  while (total < kBandwidthSeconds) {
    const auto start = Clock::now();
    threads.parallel_for(pieces, 1, [&](std::int64_t begin, std::int64_t end, int) {
      sum += kernels.read(buffer.data() + begin * kPiece,
                          static_cast<std::size_t>((end - begin) * kPiece));
    });
    const double seconds = seconds_since(start);
    best = std::max(best, static_cast<double>(bytes) / seconds);
    total += seconds;
  }
  return best;
}

MachinePeaks measure_machine(ThreadPool& threads, Isa isa) {
  const MachineKernels& kernels = machine_kernels(isa);
  std::atomic<std::uint32_t> sink{0};
  const double int8_rate =
      best_rate(threads, [&](std::int64_t rounds) { sink += kernels.int8_dot(rounds); });
  const double fp32_rate = best_rate(
      threads, [&](std::int64_t rounds) { sink += kernels.fp32_fma(rounds) > 0 ? 1u : 0u; });
  return {.read_bandwidth = measure_read_bandwidth(threads, isa),
          .int8_ops = int8_rate * static_cast<double>(kernels.int8_ops_per_round),
          .fp32_flops = fp32_rate * static_cast<double>(kernels.fp32_flops_per_round)};
}

}  // namespace krait
