#include "kernels/machine/machine.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/tensor.h"
#include "kernels/machine/machine_kernels.h"

namespace krait {
namespace {

struct Level {
  Isa isa;
  const MachineKernels* kernels;
};

std::vector<Level> levels() {
  std::vector<Level> result;
  for (const Isa isa : all_isas()) {
    if (cpu_supports(isa)) result.push_back({isa, &machine_kernels(isa)});
  }
  return result;
}

TEST(Machine, ReadsEveryByteOnce) {
  Tensor buffer(DType::i32, {1024});
  std::uint32_t expected = 0;
  for (std::size_t i = 0; i < 1024; ++i) {
    buffer.mutable_as<std::int32_t>()[i] = static_cast<std::int32_t>(i * i * 2654435761u);
    expected += static_cast<std::uint32_t>(buffer.as<std::int32_t>()[i]);
  }
  for (const Level& level : levels()) {
    EXPECT_EQ(level.kernels->read(buffer.view().data, 4096), expected) << name_of(level.isa);
    EXPECT_EQ(level.kernels->read(buffer.view().data, 0), 0u) << name_of(level.isa);
  }
}

// The operations are really done: each round adds its products, 3 * -5 for every second operation.
TEST(Machine, CountsItsInt8Operations) {
  for (const Level& level : levels()) {
    for (const std::int64_t rounds : {0, 1, 7}) {
      EXPECT_EQ(level.kernels->int8_dot(rounds),
                static_cast<std::uint32_t>(-15 * rounds * level.kernels->int8_ops_per_round / 2))
          << name_of(level.isa);
    }
  }
}

// s <- s / 2 + 1 / 4 goes to 1 / 2 in every lane; two operations per lane and round.
TEST(Machine, CountsItsFp32Operations) {
  for (const Level& level : levels()) {
    EXPECT_FLOAT_EQ(level.kernels->fp32_fma(200),
                    0.25f * static_cast<float>(level.kernels->fp32_flops_per_round))
        << name_of(level.isa);
  }
}

TEST(Machine, PeaksArePlausible) {
  ThreadPool threads(2);
  for (const Level& level : levels()) {
    const MachinePeaks peaks = measure_machine(threads, level.isa);
    EXPECT_GT(peaks.read_bandwidth, 1e7) << name_of(level.isa);
    EXPECT_LT(peaks.read_bandwidth, 1e13) << name_of(level.isa);
    EXPECT_GT(peaks.int8_ops, 1e6) << name_of(level.isa);
    EXPECT_LT(peaks.int8_ops, 1e15) << name_of(level.isa);
    EXPECT_GT(peaks.fp32_flops, 1e6) << name_of(level.isa);
  }
}

}  // namespace
}  // namespace krait
