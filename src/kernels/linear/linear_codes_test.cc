// linear() and embedding() with weights that are codes.
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

constexpr std::int64_t kRows[] = {1, 2, 15, 16, 17, 33, 83};
constexpr std::int64_t kTokens[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 33, 67};
struct Groups {
  std::int64_t count, size;
};
constexpr Groups kGroups[] = {{1, 16}, {3, 16},  {5, 32},  {2, 48},
                              {1, 64}, {13, 64}, {5, 128}, {1, 1024}};

std::vector<Isa> isas_of_this_cpu() {
  std::vector<Isa> isas;
  for (const Isa isa : all_isas()) {
    if (cpu_supports(isa)) isas.push_back(isa);
  }
  return isas;
}

/// Contexts are kept: starting threads takes longer than these products.
Context& context_of(Isa isa, int threads) {
  static std::map<std::pair<Isa, int>, TestContext> contexts;
  return contexts.try_emplace({isa, threads}, isa, threads).first->second.ctx;
}

/// A packed weight beside the integers and scales that it stands for.
struct Made {
  std::vector<int> q;        // [rows, cols], -127 to 127
  std::vector<float> scale;  // [rows, groups]
  Weight weight;
};

/// The contract of core/weight.h, bit by bit.
int weight_at(const Weight& weight, std::int64_t row, std::int64_t column) {
  const int bits = weight.code_bits;
  const std::int64_t columns = bits == 2 ? 16 : 8, word_bits = 2 * columns * bits;
  const std::int64_t i = 2 * (column % columns) + row % 2;
  const std::int64_t word = column / columns * word_bits;
  std::size_t window = 0;
  for (std::int64_t b = 0; b < 6; ++b) {
    const std::int64_t bit = word + (bits * i + b) % word_bits;
    const auto byte = static_cast<std::size_t>(row / 2 * weight.data.shape()[1] + bit / 8);
    window |= static_cast<std::size_t>(weight.data.as<std::uint8_t>()[byte] >> bit % 8 & 1) << b;
  }
  return weight.table.as<std::int8_t>()[window];
}

Made make(int bits, std::int64_t rows, Groups groups, const std::vector<std::int8_t>& table,
          bool bias, Rng& rng) {
  Made made;
  Weight& weight = made.weight;
  const std::int64_t cols = groups.count * groups.size;
  weight.code_bits = bits;
  weight.strategy = Strategy::group;
  weight.group_size = static_cast<int>(groups.size);
  weight.data = Tensor(DType::u8, {(rows + 1) / 2, cols * bits / 4});
  for (std::uint8_t& byte : weight.data.mutable_as<std::uint8_t>()) {
    byte = static_cast<std::uint8_t>(rng.next());
  }
  weight.table = Tensor(DType::i8, {64});
  std::ranges::copy(table, weight.table.mutable_as<std::int8_t>().begin());
  weight.scale = Tensor(DType::bf16, {rows, groups.count});
  for (std::uint16_t& scale : weight.scale.mutable_as<std::uint16_t>()) {
    scale = f32_to_bf16(static_cast<float>(0.001 + 0.02 * rng.uniform()));
    made.scale.push_back(bf16_to_f32(scale));
  }
  if (bias) {
    weight.bias = Tensor(DType::f32, {rows});
    std::ranges::copy(random_floats(rng, rows, 1), weight.bias.mutable_as<float>().begin());
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t k = 0; k < cols; ++k) made.q.push_back(weight_at(weight, r, k));
  }
  check_linear(weight, "w");
  pack(context_of(Isa::reference, 1), weight);
  return made;
}

Made make_random(int bits, std::int64_t rows, Groups groups, Rng& rng) {
  std::vector<std::int8_t> table = random_bytes(rng, 64);
  std::ranges::replace(table, std::int8_t{-128}, std::int8_t{127});
  // Where only the lowest 4 bits decide kernels may take another way, unless one value breaks it.
  const std::uint64_t kind = rng.below(4);
  if (kind < 2) {
    for (std::size_t i = 16; i < 64; ++i) table[i] = table[i % 16];
  }
  if (kind == 1) table[16 + rng.below(48)] = 1;
  return make(bits, rows, groups, table, rng.below(2), rng);
}

constexpr Numerics kF32{DType::f32, Strategy::tensor, false};
constexpr Numerics kToken{DType::i8, Strategy::token, true};
constexpr Numerics kTensor{DType::i8, Strategy::tensor, false};

/// x with rows that do not touch each other, filled at random.
std::unique_ptr<TestActivation> random_x(const Numerics& numerics, std::int64_t tokens,
                                         std::int64_t cols, Rng& rng) {
  auto x = std::make_unique<TestActivation>(numerics, tokens, cols, 0.01F, 3);
  for (std::int8_t& value : x->i8) value = static_cast<std::int8_t>(rng.next());
  for (float& value : x->scale) value *= static_cast<float>(0.5 + rng.uniform());
  return x;
}

/// The contract of linear.h; `exact` becomes the same number in double precision, `size` the sum of
/// the magnitudes.
float expected_at(const Made& made, const Activation& x, std::int64_t t, std::int64_t r,
                  double& exact, double& size) {
  const std::int64_t cols = made.weight.cols(), group = made.weight.group_size;
  const float x_scale = x.scale[x.strategy == Strategy::token ? t : 0];
  float y = 0;
  exact = size = 0;
  for (std::int64_t g = 0; g < cols / group; ++g) {
    const float scale = made.scale[static_cast<std::size_t>(r * (cols / group) + g)];
    std::int64_t sum = 0;
    for (std::int64_t k = g * group; k < (g + 1) * group; ++k) {
      const int product = x.i8(t)[k] * made.q[static_cast<std::size_t>(r * cols + k)];
      const double value = product * static_cast<double>(scale) * static_cast<double>(x_scale);
      sum += product;
      exact += value;
      size += std::fabs(value);
    }
    y = std::fma(static_cast<float>(sum), scale, y);
  }
  y *= x_scale;
  if (made.weight.bias.empty()) return y;
  const float bias = made.weight.bias.as<float>()[static_cast<std::size_t>(r)];
  exact += bias;
  return y + bias;
}

/// Everybody gives `expected` to the bit, and every row of it alone; unpacked weights do too.
void expect_everywhere(const Made& made, const TestActivation& x, const TestActivation& expected) {
  const std::int64_t tokens = x.view.rows, rows = made.weight.rows();
  Weight unpacked = made.weight;
  unpacked.packed_codes = nullptr;
  for (const Isa isa : isas_of_this_cpu()) {
    for (const int threads : {1, 2, 5}) {
      for (const Weight* weight : {&made.weight, static_cast<const Weight*>(&unpacked)}) {
        TestActivation y(kF32, tokens, rows, 1, 3);
        linear(context_of(isa, threads), *weight, x.view, y.view);
        ASSERT_TRUE(y.same_bits_as(expected))
            << name_of(isa) << ", " << threads << " threads, " << made.weight.code_bits << " bits, "
            << rows << " x " << made.weight.cols() << " in groups of " << made.weight.group_size
            << ", " << tokens << " tokens, " << (weight->packed_codes ? "packed" : "unpacked");
      }
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

TEST(LinearCodes, IsTheContractToTheBitEverywhere) {
  Rng rng(1);
  for (const int bits : {2, 3, 4}) {
    for (const std::int64_t rows : kRows) {
      for (const Groups groups : kGroups) {
        for (int i = 0; i < 3; ++i) {
          const std::int64_t tokens = kTokens[rng.below(std::size(kTokens))];
          const Made made = make_random(bits, rows, groups, rng);
          const auto x = random_x(rng.below(2) ? kToken : kTensor, tokens, made.weight.cols(), rng);
          TestActivation expected(kF32, tokens, rows, 1, 3);
          for (std::int64_t t = 0; t < tokens; ++t) {
            for (std::int64_t r = 0; r < rows; ++r) {
              double exact = 0, size = 0;
              expected.view.f32(t)[r] = expected_at(made, x->view, t, r, exact, size);
              ASSERT_NEAR(expected.view.f32(t)[r], exact, 4e-6 * size + 1e-6 * std::fabs(exact));
            }
          }
          expect_everywhere(made, *x, expected);
        }
      }
    }
  }
}

// Each number of tokens has a kernel of its own.
TEST(LinearCodes, AnyNumberOfTokensGivesTheBitsOfOne) {
  Rng rng(2);
  for (const int bits : {2, 3, 4}) {
    for (const std::int64_t rows : {24, 200}) {
      const Made made = make_random(bits, rows, {5, 64}, rng);
      for (const std::int64_t tokens :
           {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 25, 64, 65, 130}) {
        const auto x = random_x(kToken, tokens, made.weight.cols(), rng);
        TestActivation expected(kF32, tokens, rows, 1, 3);
        for (std::int64_t t = 0; t < tokens; ++t) {
          linear(context_of(Isa::reference, 1), made.weight, x->view.row_range(t, t + 1),
                 expected.view.row_range(t, t + 1));
        }
        for (const Isa isa : isas_of_this_cpu()) {
          TestActivation y(kF32, tokens, rows, 1, 3);
          linear(context_of(isa, 2), made.weight, x->view, y.view);
          ASSERT_TRUE(y.same_bits_as(expected)) << name_of(isa) << ", " << bits << " bits, " << rows
                                                << " rows, " << tokens << " tokens";
        }
      }
    }
  }
}

TEST(LinearCodes, ExtremeOperandsNeverOverflow) {
  Rng rng(3);
  for (const int q : {-127, 127}) {
    for (const int x_value : {-128, 127}) {
      for (const int bits : {2, 3, 4}) {
        for (const Groups groups : {Groups{1, 1024}, Groups{3, 128}, Groups{5, 16}}) {
          const std::int64_t rows = 17, cols = groups.count * groups.size;
          Made made = make(bits, rows, groups,
                           std::vector<std::int8_t>(64, static_cast<std::int8_t>(q)), false, rng);
          std::ranges::fill(made.weight.scale.mutable_as<std::uint16_t>(), f32_to_bf16(1));
          pack(context_of(Isa::reference, 1), made.weight);
          for (const std::int64_t tokens : {1, 6, 20}) {
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
}

TEST(LinearCodes, QuantizedOutputsAreTheQuantizedFloatOutput) {
  Rng rng(4);
  for (const int bits : {2, 3, 4}) {
    const Made made = make_random(bits, 150, {3, 64}, rng);
    for (const Numerics& output : kAllNumerics) {
      if (output.dtype == DType::f32) continue;
      for (const std::int64_t tokens : {1, 3, 100}) {
        const auto x = random_x(kToken, tokens, made.weight.cols(), rng);
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

TEST(LinearCodes, EmbeddingsAreScaleTimesTableValue) {
  Rng rng(5);
  for (const int bits : {2, 3, 4}) {
    for (const std::int64_t rows : kRows) {
      for (const Groups groups : kGroups) {
        const Made made = make_random(bits, rows, groups, rng);
        Weight unpacked = made.weight;
        unpacked.packed_codes = nullptr;
        const std::int64_t cols = made.weight.cols();
        std::vector<std::int32_t> ids;
        for (int i = 0; i < 7; ++i) {
          ids.push_back(static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(rows))));
        }
        for (const Weight* weight : {&made.weight, static_cast<const Weight*>(&unpacked)}) {
          Guarded<float> out(std::ssize(ids) * cols);
          embedding(context_of(Isa::reference, 3), *weight, ids, out.data());
          for (std::int64_t i = 0; i < std::ssize(ids) * cols; ++i) {
            const std::int64_t row = ids[static_cast<std::size_t>(i / cols)], k = i % cols;
            const float scale =
                made.scale[static_cast<std::size_t>(row * groups.count + k / groups.size)];
            ASSERT_EQ(out[i],
                      scale * static_cast<float>(made.q[static_cast<std::size_t>(row * cols + k)]))
                << bits << " bits, row " << row << " of " << rows << ", column " << k;
          }
        }
      }
    }
  }
}

// The layout as core/weight.h describes it, from data at any address, however many threads pack.
TEST(PackCodes, LinesHoldEveryWordAndScaleOnceAndZerosBeyondTheLastRow) {
  Rng rng(6);
  for (const int bits : {2, 3, 4}) {
    for (const std::int64_t rows : kRows) {
      for (const std::int64_t groups : {1, 2, 3}) {
        Made made = make_random(bits, rows, {groups, 48}, rng);
        Weight& weight = made.weight;
        const std::size_t bytes = weight.data.bytes();
        const std::shared_ptr<char> odd(new char[bytes + 1], std::default_delete<char[]>());
        std::memcpy(odd.get() + 1, weight.data.view().data, bytes);
        weight.data = Tensor(TensorView{odd.get() + 1, DType::u8, weight.data.shape()}, odd);
        const std::int64_t tile_rows = (rows + 15) / 16, row_bytes = weight.data.shape()[1];
        const std::int64_t group_bytes = 2 * bits * 48, word_bytes = bits == 3 ? 6 : 8;
        const std::int64_t stride = ((groups + 1) / 2 * 64 + groups * group_bytes + 63) / 64 * 64;
        std::vector<std::uint8_t> expected(static_cast<std::size_t>(tile_rows * stride));
        const auto at = [&](std::int64_t i) { return expected.data() + i; };
        for (std::int64_t r = 0; r < rows; ++r) {
          for (std::int64_t g = 0; g < groups; ++g) {
            const std::int64_t pair = r / 16 * stride + g / 2 * (64 + 2 * group_bytes);
            const std::uint16_t half =
                f32_to_bf16(made.scale[static_cast<std::size_t>(r * groups + g)]);
            std::memcpy(at(pair + g % 2 * 32 + r % 16 * 2), &half, 2);
            for (std::int64_t i = 0; i < group_bytes / (8 * word_bytes); ++i) {
              const std::int64_t source = r / 2 * row_bytes + g * group_bytes / 8 + i * word_bytes;
              std::memcpy(at(pair + 64 + g % 2 * group_bytes + (8 * i + r % 16 / 2) * word_bytes),
                          odd.get() + 1 + source, static_cast<std::size_t>(word_bytes));
            }
          }
        }
        for (const int threads : {1, 3}) {
          pack(context_of(Isa::reference, threads), weight);
          const Tensor& lines = weight.packed_codes->lines;
          ASSERT_EQ(lines.shape(), (Shape{tile_rows, stride}));
          ASSERT_EQ(std::memcmp(lines.view().data, expected.data(), expected.size()), 0);
        }
      }
    }
  }
}

}  // namespace
}  // namespace krait
