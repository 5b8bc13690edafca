#include "kernels/hadamard/hadamard.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "kernels/quantize/quantize.h"
#include "kernels/test_support.h"

namespace krait {
namespace {

constexpr std::int64_t kBlocks[] = {1,  2,  4,  8,   12,  16,  20,  24,  28,  32,   40,   48,  56,
                                    64, 80, 96, 112, 128, 160, 384, 512, 768, 1024, 1536, 5120};

/// Row i of the transform in double precision.
std::vector<double> transformed(const std::vector<float>& x, std::int64_t block) {
  std::vector<double> row(x.begin(), x.end());
  hadamard_row(row, block);
  return row;
}

TEST(Hadamard, SupportedSizes) {
  for (std::int64_t block : kBlocks) EXPECT_TRUE(hadamard_supported(block)) << block;
  for (std::int64_t block : {-4, 0, 3, 5, 6, 7, 9, 10, 11, 14, 36, 44, 100, 768 * 3}) {
    EXPECT_FALSE(hadamard_supported(block)) << block;
  }
  EXPECT_EQ(largest_hadamard_block(0), 1);
  EXPECT_EQ(largest_hadamard_block(13), 1);
  EXPECT_EQ(largest_hadamard_block(6), 2);
  EXPECT_EQ(largest_hadamard_block(100), 20);
  EXPECT_EQ(largest_hadamard_block(1536), 1536);
  EXPECT_EQ(largest_hadamard_block(5120), 5120);
  EXPECT_EQ(largest_hadamard_block(3 * 5 * 64), 320);
  for (std::int64_t n = 1; n < 3000; ++n) {
    const std::int64_t block = largest_hadamard_block(n);
    ASSERT_TRUE(n % block == 0 && hadamard_supported(block));
    for (std::int64_t more = block + 1; more <= n; ++more) {
      ASSERT_FALSE(n % more == 0 && hadamard_supported(more)) << n << ": " << more;
    }
  }
}

// Rows of H are +-1/sqrt(n) and orthonormal, and powers of two are Sylvester's matrix.
TEST(Hadamard, MatrixIsOrthogonalWithEqualMagnitudes) {
  for (std::int64_t n : {2, 8, 12, 20, 24, 28, 40, 48, 56, 112, 160}) {
    std::vector<std::vector<double>> columns;
    for (std::int64_t j = 0; j < n; ++j) {
      std::vector<double> unit(static_cast<std::size_t>(n), 0.0);
      unit[static_cast<std::size_t>(j)] = 1;
      hadamard_row(unit, n);
      for (std::size_t i = 0; i < unit.size(); ++i) {
        ASSERT_NEAR(std::abs(unit[i]), 1 / std::sqrt(static_cast<double>(n)), 1e-15);
        if (std::has_single_bit(static_cast<std::uint64_t>(n))) {
          ASSERT_EQ(unit[i] < 0, std::popcount(i & static_cast<std::size_t>(j)) % 2 == 1);
        }
      }
      columns.push_back(std::move(unit));
    }
    for (std::size_t a = 0; a < columns.size(); ++a) {
      for (std::size_t b = 0; b <= a; ++b) {
        double dot = 0;
        for (std::size_t i = 0; i < columns.size(); ++i) dot += columns[a][i] * columns[b][i];
        ASSERT_NEAR(dot, a == b ? 1.0 : 0.0, 1e-13) << n;
      }
    }
  }
}

class HadamardKernel : public ForEachIsa {};
INSTANTIATE_TEST_SUITE_P(Isas, HadamardKernel, supported_isas(), isa_name);

TEST_P(HadamardKernel, AgreesWithDoublePrecision) {
  TestContext test(GetParam());
  Rng rng(31);
  for (std::int64_t block : kBlocks) {
    for (std::int64_t copies : {1, 3}) {
      const std::int64_t n = block * copies;
      std::vector<float> x = random_floats(rng, n, 1.0);
      const std::vector<double> expected = transformed(x, block);
      const Activation row = f32_activation(x.data(), 1, n);
      hadamard(test.ctx, row, block, row);
      for (std::size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(x[i], expected[i], 2e-6) << block;
    }
  }
}

// (W H^T)(H x) = W x: the two functions are one operator.
TEST_P(HadamardKernel, TransformedWeightsTimesTransformedInputsAreUnchanged) {
  TestContext test(GetParam());
  Rng rng(32);
  for (std::int64_t block : kBlocks) {
    const std::int64_t n = 2 * block;
    const std::vector<float> w = random_floats(rng, n, 1.0);
    std::vector<float> x = random_floats(rng, n, 1.0);
    double before = 0, after = 0;
    for (std::size_t i = 0; i < x.size(); ++i) before += static_cast<double>(w[i]) * x[i];
    const std::vector<double> wh = transformed(w, block);
    const Activation row = f32_activation(x.data(), 1, n);
    hadamard(test.ctx, row, block, row);
    for (std::size_t i = 0; i < x.size(); ++i) after += wh[i] * x[i];
    ASSERT_NEAR(after, before, 1e-6 * static_cast<double>(n)) << block;
  }
}

TEST_P(HadamardKernel, SameBitsAsReference) {
  TestContext reference(Isa::reference), one(GetParam(), 1), two(GetParam(), 2),
      five(GetParam(), 5);
  Rng rng(33);
  for (std::int64_t block : kBlocks) {
    const std::int64_t rows = block < 100 ? 67 : 3, cols = block * (block < 100 ? 3 : 1);
    const std::int64_t stride = cols + 3;
    const std::vector<float> values = random_floats(rng, rows * stride, 2.0);
    for (const Numerics& numerics : kAllNumerics) {
      const auto run = [&](TestContext& test, TestActivation& y) {
        std::vector<float> x = values;
        hadamard(test.ctx, f32_activation(x.data(), rows, cols, stride), block, y.view);
      };
      TestActivation expected(numerics, rows, cols, 0.02f, 1);
      run(reference, expected);
      EXPECT_TRUE(expected.gaps_untouched());
      for (TestContext* test : {&one, &two, &five}) {
        TestActivation y(numerics, rows, cols, 0.02f, 1);
        run(*test, y);
        ASSERT_TRUE(y.same_bits_as(expected)) << block;
      }
    }
  }
}

// The order of operations of the contract, one scalar at a time.
TEST_P(HadamardKernel, OrderOfOperations) {
  TestContext test(GetParam());
  Rng rng(34);
  for (std::int64_t block : {16, 12, 24, 20 * 32, 28 * 16}) {
    std::vector<float> x = random_floats(rng, block, 1.0), expected = x;
    const std::int64_t m = block == 16 ? 1 : block % 7 == 0 ? 28 : block % 5 == 0 ? 20 : 12;
    const std::int64_t length = block / m;
    for (std::int64_t stride = 1; stride < length; stride *= 2) {
      for (std::int64_t j = 0; j < block; ++j) {
        if (j & stride) continue;
        const std::size_t low = static_cast<std::size_t>(j),
                          high = static_cast<std::size_t>(j + stride);
        const float a = expected[low], b = expected[high];
        expected[low] = a + b;
        expected[high] = a - b;
      }
    }
    const std::vector<float> rows = expected;
    for (std::int64_t c = 0; c < m; ++c) {
      // Column c of H_m, as signs, from the operator of order m itself.
      std::vector<double> column(static_cast<std::size_t>(m), 0.0);
      column[static_cast<std::size_t>(c)] = 1;
      hadamard_row(column, m);
      for (std::int64_t i = 0; i < block; ++i) {
        const float sign = column[static_cast<std::size_t>(i / length)] < 0 ? -1.0f : 1.0f;
        const float term = sign * rows[static_cast<std::size_t>(c * length + i % length)];
        float& sum = expected[static_cast<std::size_t>(i)];
        sum = c == 0 ? term : sum + term;
      }
    }
    for (float& v : expected) v *= static_cast<float>(1 / std::sqrt(static_cast<double>(block)));
    const Activation row = f32_activation(x.data(), 1, block);
    hadamard(test.ctx, row, block, row);
    EXPECT_TRUE(same_bits(x, expected)) << block;
  }
}

// On every instruction set the same bits, and what was there before.
TEST(Hadamard, InverseUndoesIt) {
  Rng rng(7);
  for (const std::int64_t block : kBlocks) {
    const std::int64_t cols = block * (block < 100 ? 2 : 1), rows = 3;
    const std::vector<float> x = random_floats(rng, rows * cols, 1.0);
    std::vector<float> expected;
    for (const Isa isa : all_isas()) {
      if (!cpu_supports(isa)) continue;
      for (const int threads : {1, 3}) {
        TestContext test(isa, threads);
        std::vector<float> y = x;
        const Activation rows_of_y = f32_activation(y.data(), rows, cols);
        hadamard(test.ctx, rows_of_y, block, rows_of_y);
        if (block > 1) {
          EXPECT_NE(y, x);
        }
        hadamard_inverse(test.ctx, rows_of_y, block);
        for (std::size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(y[i], x[i], 2e-6) << block;
        if (expected.empty()) expected = y;
        EXPECT_TRUE(same_bits(y, expected)) << name_of(isa) << ", block " << block;
      }
    }
  }
}

}  // namespace
}  // namespace krait
