// linear() with 4-bit weights in groups.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "core/float16.h"
#include "kernels/linear/linear.h"
#include "kernels/quantize/quantize.h"
#include "kernels/test_support.h"

namespace krait {
namespace {

constexpr std::int64_t kRows[] = {1, 15, 16, 17, 33, 80};
constexpr std::int64_t kTokens[] = {1, 2, 3, 4, 5, 6, 7, 13, 33};
struct Groups {
  std::int64_t count, size;
};
constexpr Groups kGroups[] = {{1, 8}, {3, 8}, {2, 24}, {1, 64}, {7, 64}, {13, 64}, {5, 128}};

std::vector<Isa> isas_of_this_cpu() {
  std::vector<Isa> isas;
  for (const Isa isa : all_isas()) {
    if (cpu_supports(isa)) isas.push_back(isa);
  }
  return isas;
}

/// A packed weight beside the integers and scales that it was made of.
struct Made {
  std::vector<int> q;        // [rows, cols], -8 to 7
  std::vector<float> scale;  // [rows, groups]
  Weight weight;
};

Made make(std::int64_t rows, Groups groups, std::vector<int> q, DType scale_dtype, Rng& rng) {
  const std::int64_t cols = groups.count * groups.size;
  Made made{std::move(q), random_floats(rng, rows * groups.count, 0.001, 0.02), {}};
  Weight& weight = made.weight;
  weight.strategy = Strategy::group;
  weight.group_size = static_cast<int>(groups.size);
  weight.data = Tensor(DType::i32, {rows, cols / 8});
  for (std::size_t i = 0; i < made.q.size(); ++i) {
    auto& word = weight.data.mutable_as<std::int32_t>()[i / 8];
    word = static_cast<std::int32_t>(static_cast<std::uint32_t>(word) |
                                     static_cast<std::uint32_t>(made.q[i] + 8) << (i % 8 * 4));
  }
  weight.scale = Tensor(scale_dtype, {rows, groups.count});
  for (std::size_t i = 0; i < made.scale.size(); ++i) {
    if (scale_dtype == DType::f32) {
      weight.scale.mutable_as<float>()[i] = made.scale[i];
    } else {
      const bool bf16 = scale_dtype == DType::bf16;
      const std::uint16_t half = bf16 ? f32_to_bf16(made.scale[i]) : f32_to_f16(made.scale[i]);
      weight.scale.mutable_as<std::uint16_t>()[i] = half;
      made.scale[i] = bf16 ? bf16_to_f32(half) : f16_to_f32(half);
    }
  }
  check_linear(weight, "w");
  TestContext runner(Isa::reference);
  pack(runner.ctx, weight);
  const bool narrow =
      std::ranges::all_of(made.scale, [](float s) { return bf16_to_f32(f32_to_bf16(s)) == s; });
  EXPECT_EQ(weight.packed4->scale_is_f32, !narrow);
  return made;
}

Made make_random(std::int64_t rows, Groups groups, DType scale_dtype, bool bias, Rng& rng) {
  std::vector<int> q(static_cast<std::size_t>(rows * groups.count * groups.size));
  for (int& value : q) value = static_cast<int>(rng.below(16)) - 8;
  Made made = make(rows, groups, std::move(q), scale_dtype, rng);
  if (bias) {
    made.weight.bias = Tensor(DType::f32, {rows});
    const std::vector<float> values = random_floats(rng, rows, 1);
    std::ranges::copy(values, made.weight.bias.mutable_as<float>().begin());
  }
  return made;
}

constexpr Numerics kF32{DType::f32, Strategy::tensor, false};
constexpr Numerics kToken{DType::i8, Strategy::token, true};

/// x with rows that do not touch each other, filled at random.
std::unique_ptr<TestActivation> random_x(const Numerics& numerics, std::int64_t tokens,
                                         std::int64_t cols, Rng& rng) {
  auto x = std::make_unique<TestActivation>(numerics, tokens, cols, 0.01F, 3);
  for (float& value : x->f32) value = static_cast<float>(2 * rng.uniform() - 1);
  for (std::int8_t& value : x->i8) value = static_cast<std::int8_t>(rng.next());
  for (float& value : x->scale) value *= static_cast<float>(0.5 + rng.uniform());
  return x;
}

/// The contract of linear.h, from the integers instead of the tiles.
float expected_at(const Made& made, const Activation& x, std::int64_t t, std::int64_t r) {
  const std::int64_t cols = made.weight.cols(), size = made.weight.group_size;
  float y = 0;
  for (std::int64_t g = 0; g < cols / size; ++g) {
    std::int32_t exact = 0;
    float sum = 0;
    for (std::int64_t k = g * size; k < (g + 1) * size; ++k) {
      const int q = made.q[static_cast<std::size_t>(r * cols + k)];
      if (x.dtype == DType::i8) {
        exact += x.i8(t)[k] * q;
      } else {
        sum = std::fma(x.f32(t)[k], static_cast<float>(q), sum);
      }
    }
    const float scale = made.scale[static_cast<std::size_t>(r * (cols / size) + g)];
    y = std::fma(x.dtype == DType::i8 ? static_cast<float>(exact) : sum, scale, y);
  }
  if (x.dtype == DType::i8) y *= x.scale[x.strategy == Strategy::token ? t : 0];
  if (!made.weight.bias.empty()) y += made.weight.bias.as<float>()[static_cast<std::size_t>(r)];
  return y;
}

/// The same number in double precision; `size` becomes the sum of the magnitudes.
double exact_at(const Made& made, const Activation& x, std::int64_t t, std::int64_t r,
                double& size) {
  const std::int64_t cols = made.weight.cols(), group = made.weight.group_size;
  double sum = 0;
  size = 0;
  for (std::int64_t k = 0; k < cols; ++k) {
    const double w =
        made.q[static_cast<std::size_t>(r * cols + k)] *
        static_cast<double>(made.scale[static_cast<std::size_t>((r * cols + k) / group)]);
    const double value =
        x.dtype == DType::i8
            ? x.i8(t)[k] * static_cast<double>(x.scale[x.strategy == Strategy::token ? t : 0])
            : static_cast<double>(x.f32(t)[k]);
    sum += w * value;
    size += std::fabs(w * value);
  }
  if (!made.weight.bias.empty()) sum += made.weight.bias.as<float>()[static_cast<std::size_t>(r)];
  return sum;
}

/// Contexts are kept: starting threads takes longer than these products.
Context& context_of(Isa isa, int threads) {
  static std::map<std::pair<Isa, int>, TestContext> contexts;
  return contexts.try_emplace({isa, threads}, isa, threads).first->second.ctx;
}

/// Everybody gives `expected` to the bit, and every row of it alone.
void expect_everywhere(const Made& made, const TestActivation& x, const TestActivation& expected) {
  const std::int64_t tokens = x.view.rows, rows = made.weight.rows();
  for (const Isa isa : isas_of_this_cpu()) {
    for (const int threads : {1, 2, 5}) {
      TestActivation y(kF32, tokens, rows, 1, 3);
      linear(context_of(isa, threads), made.weight, x.view, y.view);
      ASSERT_TRUE(y.same_bits_as(expected))
          << name_of(isa) << ", " << threads << " threads, " << rows << " x " << made.weight.cols()
          << " in groups of " << made.weight.group_size << ", " << tokens << " tokens of "
          << name_of(x.view.dtype);
    }
    for (std::int64_t t = 0; t < tokens; ++t) {
      TestActivation y(kF32, 1, rows, 1);
      linear(context_of(isa, 1), made.weight, x.view.row_range(t, t + 1), y.view);
      ASSERT_EQ(std::memcmp(y.view.f32(), expected.view.f32(t),
                            static_cast<std::size_t>(rows) * sizeof(float)),
                0)
          << name_of(isa) << ", token " << t << " of " << tokens;
    }
  }
}

TEST(Linear4, IsTheContractToTheBitEverywhere) {
  Rng rng(1);
  for (const std::int64_t rows : kRows) {
    for (const Groups groups : kGroups) {
      for (const std::int64_t tokens : kTokens) {
        const DType scales[] = {DType::bf16, DType::f32, DType::f16};
        const Made made = make_random(rows, groups, scales[rng.below(3)], rng.below(2), rng);
        const Numerics inputs[] = {kF32, kToken, {DType::i8, Strategy::tensor, false}};
        const auto x = random_x(inputs[rng.below(3)], tokens, made.weight.cols(), rng);
        TestActivation expected(kF32, tokens, rows, 1, 3);
        for (std::int64_t t = 0; t < tokens; ++t) {
          for (std::int64_t r = 0; r < rows; ++r) {
            expected.view.f32(t)[r] = expected_at(made, x->view, t, r);
            double size = 0;
            const double exact = exact_at(made, x->view, t, r, size);
            ASSERT_NEAR(expected.view.f32(t)[r], exact, 4e-6 * size + 1e-6 * std::fabs(exact));
          }
        }
        expect_everywhere(made, *x, expected);
      }
    }
  }
}

// Long prompts go through blocks of tokens and chunks of rows, and threads may share out tokens.
TEST(Linear4, ManyTokensGiveTheBitsOfOne) {
  Rng rng(2);
  for (const Numerics& numerics : {kF32, kToken}) {
    for (const std::int64_t rows : {24, 200}) {
      const Made made = make_random(rows, {12, 64}, DType::bf16, true, rng);
      const auto x = random_x(numerics, 110, made.weight.cols(), rng);
      TestActivation expected(kF32, 110, rows, 1, 3);
      for (std::int64_t t = 0; t < 110; ++t) {
        linear(context_of(Isa::reference, 1), made.weight, x->view.row_range(t, t + 1),
               expected.view.row_range(t, t + 1));
      }
      expect_everywhere(made, *x, expected);
    }
  }
}

TEST(Linear4, ExtremeOperandsNeverOverflow) {
  Rng rng(3);
  for (const int q : {-8, 7}) {
    for (const int x_value : {-128, 127}) {
      for (const Groups groups : {Groups{1, 4096}, Groups{3, 128}, Groups{5, 40}}) {
        const std::int64_t rows = 17, cols = groups.count * groups.size;
        Made made = make(rows, groups, std::vector<int>(static_cast<std::size_t>(rows * cols), q),
                         DType::f32, rng);
        std::ranges::fill(made.weight.scale.mutable_as<float>(), 1.0F);
        pack(context_of(Isa::reference, 1), made.weight);
        for (const std::int64_t tokens : {1, 6}) {
          TestActivation x(kToken, tokens, cols, 1);
          std::ranges::fill(x.i8, static_cast<std::int8_t>(x_value));
          for (const Isa isa : isas_of_this_cpu()) {
            TestActivation y(kF32, tokens, rows, 1);
            linear(context_of(isa, 1), made.weight, x.view, y.view);
            for (const float value : y.f32) {
              ASSERT_EQ(value, static_cast<float>(cols * q * x_value)) << name_of(isa);
            }
          }
        }
      }
    }
  }
}

TEST(Linear4, QuantizedOutputsAreTheQuantizedFloatOutput) {
  Rng rng(4);
  const Made made = make_random(150, {3, 64}, DType::bf16, true, rng);
  for (const Numerics& input : {kF32, kToken}) {
    for (const Numerics& output : kAllNumerics) {
      if (output.dtype == DType::f32) continue;
      for (const std::int64_t tokens : {1, 3, 100}) {
        const auto x = random_x(input, tokens, made.weight.cols(), rng);
        TestActivation whole(kF32, tokens, 150, 1);
        linear(context_of(Isa::reference, 1), made.weight, x->view, whole.view);
        TestActivation expected(output, tokens, 150, 0.05F, 2);
        quantize(context_of(Isa::reference, 1), whole.view, expected.view);
        for (const Isa isa : isas_of_this_cpu()) {
          for (const int threads : {1, 2, 5}) {
            TestActivation y(output, tokens, 150, 0.05F, 2);
            linear(context_of(isa, threads), made.weight, x->view, y.view);
            EXPECT_TRUE(y.same_bits_as(expected)) << name_of(isa);
          }
        }
      }
    }
  }
}

// The layout as core/weight.h describes it, line by line.
TEST(Pack4, LinesHoldEveryWeightAndScaleOnceAndZerosBeyondTheLastRow) {
  Rng rng(5);
  for (const std::int64_t rows : kRows) {
    for (const DType scale : {DType::bf16, DType::f32}) {
      Made made = make_random(rows, {3, 24}, scale, false, rng);
      if (scale == DType::f32) {  // no bf16
        made.weight.scale.mutable_as<float>()[0] = made.scale[0] = 0.1F;
      }
      // A mapped tensor may lie at any address.
      const std::size_t bytes = made.weight.data.bytes();
      const std::shared_ptr<char> odd(new char[bytes + 1], std::default_delete<char[]>());
      std::memcpy(odd.get() + 1, made.weight.data.view().data, bytes);
      made.weight.data =
          Tensor(TensorView{odd.get() + 1, DType::i32, made.weight.data.shape()}, odd);
      for (const int threads : {1, 3}) {
        pack(context_of(Isa::reference, threads), made.weight);
        const PackedI4& packed = *made.weight.packed4;
        ASSERT_EQ(packed.scale_is_f32, scale == DType::f32);
        // Scales of two groups, 2 x 3 lines, scales of the last, 3 lines; or 3 times 1 + 3.
        const std::vector<int> first_line =
            packed.scale_is_f32 ? std::vector{1, 5, 9} : std::vector{1, 4, 8};
        const std::vector<int> scale_line =
            packed.scale_is_f32 ? std::vector{0, 4, 8} : std::vector{0, 0, 7};
        const std::int64_t lines = packed.scale_is_f32 ? 12 : 11, tile_rows = (rows + 15) / 16;
        ASSERT_EQ(packed.lines.shape(), (Shape{tile_rows, lines, 64}));
        for (std::int64_t r = 0; r < tile_rows * 16; ++r) {
          const std::uint8_t* tile = packed.lines.as<std::uint8_t>().data() + r / 16 * lines * 64;
          for (std::int64_t k = 0; k < 72; ++k) {
            const std::int64_t line = first_line[static_cast<std::size_t>(k / 24)] + k % 24 / 8;
            const int byte = tile[line * 64 + r % 16 * 4 + k % 4];
            const int q = (k % 8 < 4 ? byte & 15 : byte >> 4) - 8;
            ASSERT_EQ(q, r < rows ? made.q[static_cast<std::size_t>(r * 72 + k)] : 0);
          }
          for (std::int64_t g = 0; g < 3 && r < rows; ++g) {
            const std::uint8_t* at = tile + scale_line[static_cast<std::size_t>(g)] * 64;
            std::uint16_t half = 0;
            float value = 0;
            std::memcpy(&value, at + r % 16 * 4, 4);
            std::memcpy(&half, at + (g % 2 * 16 + r % 16) * 2, 2);
            ASSERT_EQ(packed.scale_is_f32 ? value : bf16_to_f32(half),
                      made.scale[static_cast<std::size_t>(r * 3 + g)]);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace krait
