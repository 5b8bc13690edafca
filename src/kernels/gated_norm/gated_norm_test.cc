#include "kernels/gated_norm/gated_norm.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/gated_norm/gated_norm_kernels.h"
#include "kernels/quantize/quantize.h"
#include "kernels/test_support.h"

namespace krait {
namespace {

constexpr float kEps = 1e-5f;

struct Shape2 {
  std::int64_t cols, groups;
};
constexpr Shape2 kShapes[] = {{1, 1},  {7, 1},  {16, 2},  {33, 3},  {48, 1},
                              {72, 3}, {96, 8}, {100, 4}, {384, 2}, {770, 1}};

struct Inputs {
  Inputs(std::int64_t rows, std::int64_t cols, const Numerics& numerics = kAllNumerics[0])
      : rng(11), y(random_floats(rng, rows * cols, 3.0)), z(numerics, rows, cols, 0.03f, 2) {
    z.f32 = random_floats(rng, std::ssize(z.f32), 4.0);
    z.i8 = random_bytes(rng, std::ssize(z.i8));
    z.view.data = z.f32.empty() ? static_cast<void*>(z.i8.data()) : z.f32.data();
    weight = random_floats(rng, cols, 1.5);
  }
  Rng rng;
  std::vector<float> y;
  TestActivation z;
  std::vector<float> weight;
};

void run(Context& ctx, const Inputs& in, std::int64_t groups, const Activation& out) {
  std::vector<float> y = in.y;  // it is overwritten
  gated_rms_norm(ctx, f32_activation(y.data(), out.rows, out.cols), in.z.view, in.weight.data(),
                 kEps, groups, out);
}

class GatedNorm : public ForEachIsa {};
INSTANTIATE_TEST_SUITE_P(Isas, GatedNorm, supported_isas(), isa_name);

TEST_P(GatedNorm, AgreesWithDoublePrecision) {
  TestContext test(GetParam());
  for (const auto [cols, groups] : kShapes) {
    for (const Numerics& numerics : kAllNumerics) {
      const std::int64_t rows = 3, width = cols / groups;
      const Inputs in(rows, cols, numerics);
      std::vector<float> out(in.y.size()), z(static_cast<std::size_t>(cols));
      run(test.ctx, in, groups, f32_activation(out.data(), rows, cols));
      for (std::int64_t t = 0; t < rows; ++t) {
        load_row(quantize_reference, in.z.view, t, 0, cols, z.data());
        std::vector<double> v, squares(static_cast<std::size_t>(groups));
        for (std::int64_t c = 0; c < cols; ++c) {
          const double gate = z[static_cast<std::size_t>(c)];
          v.push_back(in.y[static_cast<std::size_t>(t * cols + c)] * gate / (1 + std::exp(-gate)));
          squares[static_cast<std::size_t>(c / width)] += v.back() * v.back();
        }
        for (std::int64_t c = 0; c < cols; ++c) {
          const std::size_t i = static_cast<std::size_t>(c);
          const double mean =
              squares[static_cast<std::size_t>(c / width)] / static_cast<double>(width);
          const double wanted = v[i] / std::sqrt(mean + kEps) * in.weight[i];
          EXPECT_NEAR(out[static_cast<std::size_t>(t * cols + c)], wanted,
                      1e-6 * std::abs(wanted) + 1e-12);
        }
      }
    }
  }
}

// Reference, this instruction set, any number of threads, any numerics: the same bytes.
TEST_P(GatedNorm, SameBitsAsReference) {
  for (const auto [cols, groups] : kShapes) {
    for (const std::int64_t rows : {1, 5, 300}) {
      for (const Numerics& gate : kAllNumerics) {
        const Inputs in(rows, cols, gate);
        for (const Numerics& numerics : kAllNumerics) {
          if (rows == 300 && numerics.strategy != gate.strategy) continue;
          TestContext reference(Isa::reference);
          TestActivation expected(numerics, rows, cols, 0.02f, 3);
          run(reference.ctx, in, groups, expected.view);
          EXPECT_TRUE(expected.gaps_untouched());
          for (const int threads : {1, 3}) {
            TestContext test(GetParam(), threads);
            TestActivation out(numerics, rows, cols, 0.02f, 3);
            run(test.ctx, in, groups, out.view);
            ASSERT_TRUE(out.same_bits_as(expected)) << cols << " " << groups << " " << rows;
          }
        }
      }
    }
  }
}

// Quantizing as part of the norm is quantizing its f32 result.
TEST_P(GatedNorm, QuantizedIsTheQuantizedFloatResult) {
  TestContext test(GetParam());
  const std::int64_t rows = 9, cols = 100;
  const Inputs in(rows, cols);
  std::vector<float> wide(in.y.size());
  run(test.ctx, in, 4, f32_activation(wide.data(), rows, cols));
  for (const Numerics& numerics : kAllNumerics) {
    TestActivation fused(numerics, rows, cols, 0.02f), separate(numerics, rows, cols, 0.02f);
    run(test.ctx, in, 4, fused.view);
    quantize(test.ctx, f32_activation(wide.data(), rows, cols), separate.view);
    EXPECT_TRUE(fused.same_bits_as(separate));
  }
}

TEST_P(GatedNorm, SumRunsInSixteenLanesAndATree) {
  Rng rng(5);
  for (const std::int64_t n : {1, 5, 16, 23, 40, 257}) {
    const std::vector<float> y = random_floats(rng, n, 100.0), z = random_floats(rng, n, 5.0);
    Guarded<float> v(y), gate(z);
    const float sum =
        microkernels(GetParam()).gated_norm->gate_sum_of_squares(v.data(), gate.data(), n);
    float lane[16] = {};
    for (std::int64_t k = 0; k < n; ++k) lane[k % 16] = std::fma(v[k], v[k], lane[k % 16]);
    for (int half : {8, 4, 2, 1}) {
      for (int l = 0; l < half; ++l) lane[l] += lane[l + half];
    }
    EXPECT_EQ(sum, lane[0]);
  }
}

}  // namespace
}  // namespace krait
