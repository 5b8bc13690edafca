#include "kernels/linear/linear.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/cpu_info.h"
#include "core/float16.h"
#include "core/rng.h"
#include "kernels/quantize/quantize.h"

namespace krait {
namespace {

constexpr std::array<std::int64_t, 6> kRows{1, 15, 16, 17, 33, 80};
constexpr std::array<std::int64_t, 12> kCols{1, 3, 4, 5, 15, 16, 17, 48, 63, 64, 100, 1536};
constexpr std::array<std::int64_t, 8> kTokens{1, 2, 3, 5, 8, 12, 13, 33};

std::vector<Isa> supported_isas() {
  std::vector<Isa> isas;
  for (const Isa isa : all_isas()) {
    if (cpu_supports(isa)) isas.push_back(isa);
  }
  return isas;
}

/// Everything that a call borrows.
struct Runner {
  Runner(Isa isa, int thread_count)
      : threads(thread_count), context{threads, microkernels(isa), arena} {}
  ThreadPool threads;
  Arena arena;
  Context context;
};

/// Roughly normal, mean 0, variance 1.
float normal(Rng& rng) {
  double sum = -6;
  for (int i = 0; i < 12; ++i) sum += rng.uniform();
  return static_cast<float>(sum);
}

Tensor random_floats(Rng& rng, DType dtype, const Shape& shape) {
  Tensor tensor(dtype, shape);
  for (std::int64_t i = 0; i < shape.elements(); ++i) {
    const float value = normal(rng);
    const auto at = static_cast<std::size_t>(i);
    if (dtype == DType::f32) tensor.mutable_as<float>()[at] = value;
    if (dtype == DType::f16) tensor.mutable_as<std::uint16_t>()[at] = f32_to_f16(value);
    if (dtype == DType::bf16) tensor.mutable_as<std::uint16_t>()[at] = f32_to_bf16(value);
  }
  return tensor;
}

Tensor random_bytes(Rng& rng, const Shape& shape, int low) {
  Tensor tensor(DType::i8, shape);
  for (std::int8_t& q : tensor.mutable_as<std::int8_t>()) {
    q = static_cast<std::int8_t>(low +
                                 static_cast<int>(rng.below(static_cast<unsigned>(128 - low))));
  }
  return tensor;
}

Tensor random_scales(Rng& rng, std::int64_t n) {
  Tensor tensor(DType::f32, {n});
  for (float& scale : tensor.mutable_as<float>()) {
    scale = 0.001F + 0.01F * static_cast<float>(rng.uniform());
  }
  return tensor;
}

/// A random weight; an i8 one is packed.
Weight random_weight(Rng& rng, DType dtype, std::int64_t rows, std::int64_t cols,
                     Strategy strategy = Strategy::channel, bool bias = true) {
  Weight weight;
  weight.strategy = strategy;
  if (dtype == DType::i8) {
    weight.data = random_bytes(rng, {rows, cols}, -127);
    weight.scale = random_scales(rng, strategy == Strategy::channel ? rows : 1);
    Runner runner(Isa::reference, 1);
    pack(runner.context, weight);
  } else {
    weight.data = random_floats(rng, dtype, {rows, cols});
  }
  if (bias) weight.bias = random_floats(rng, DType::f32, {rows});
  return weight;
}

/// The memory behind an Activation, with room between the rows that nobody may touch.
struct Matrix {
  Matrix(DType dtype, std::int64_t rows, std::int64_t cols, Strategy strategy = Strategy::tensor,
         bool dynamic = false)
      : memory(dtype, {rows, cols + 3}), scale(DType::f32, {std::max(rows, cols)}) {
    for (float& s : scale.mutable_as<float>()) s = 0.5F;
    if (dtype == DType::i8) {
      std::ranges::fill(memory.mutable_as<std::int8_t>(), std::int8_t{77});
    } else {
      std::ranges::fill(memory.mutable_as<float>(), 77.0F);
    }
    view = {.data = const_cast<void*>(memory.view().data),
            .dtype = dtype,
            .rows = rows,
            .cols = cols,
            .stride = cols + 3,
            .strategy = strategy,
            .dynamic = dynamic,
            .scale = dtype == DType::i8 ? scale.mutable_as<float>().data() : nullptr};
  }
  bool operator==(const Matrix& other) const {
    return std::memcmp(memory.view().data, other.memory.view().data, memory.bytes()) == 0 &&
           std::memcmp(scale.view().data, other.scale.view().data, scale.bytes()) == 0;
  }
  Tensor memory, scale;
  Activation view;
};

Matrix random_i8(Rng& rng, std::int64_t rows, std::int64_t cols, Strategy strategy) {
  Matrix x(DType::i8, rows, cols, strategy);
  for (std::int8_t& q : x.memory.mutable_as<std::int8_t>()) {
    q = static_cast<std::int8_t>(static_cast<int>(rng.below(256)) - 128);
  }
  for (float& scale : x.scale.mutable_as<float>()) {
    scale = 0.001F + 0.01F * static_cast<float>(rng.uniform());
  }
  return x;
}

Matrix random_f32(Rng& rng, std::int64_t rows, std::int64_t cols) {
  Matrix x(DType::f32, rows, cols);
  for (float& value : x.memory.mutable_as<float>()) value = normal(rng);
  return x;
}

/// Runners are kept: starting threads takes longer than these products.
Runner& runner_of(Isa isa, int threads) {
  static std::map<std::pair<Isa, int>, Runner> runners;
  return runners.try_emplace({isa, threads}, isa, threads).first->second;
}

/// x times weight in the numerics (and static scales) of y_like.
Matrix run(Isa isa, int threads, const Weight& weight, const Activation& x, const Matrix& y_like) {
  Matrix y(y_like.view.dtype, y_like.view.rows, y_like.view.cols, y_like.view.strategy,
           y_like.view.dynamic);
  std::ranges::copy(y_like.scale.as<float>(), y.scale.mutable_as<float>().begin());
  linear(runner_of(isa, threads).context, weight, x, y.view);
  return y;
}

/// Every instruction set and 1, 2 and 5 threads give `expected`.
void expect_same_everywhere(const Weight& weight, const Activation& x, const Matrix& y_like,
                            const Matrix& expected) {
  int reference_runs = 0;
  for (const Isa isa : supported_isas()) {
    for (const int threads : {1, 2, 5}) {
      EXPECT_EQ(run(isa, threads, weight, x, y_like), expected)
          << name_of(isa) << ", " << threads << " threads, " << weight.data.shape().str() << " "
          << name_of(weight.data.dtype()) << ", " << x.rows << " tokens";
      reference_runs += isa == Isa::reference;
    }
  }
  EXPECT_EQ(reference_runs, 3);
}

/// Row t of a product of many rows is the product of row t.
void expect_rows_alone(const Weight& weight, const Activation& x, const Matrix& y) {
  for (const Isa isa : supported_isas()) {
    for (std::int64_t t = 0; t < x.rows; ++t) {
      const Matrix alone =
          run(isa, 1, weight, x.row_range(t, t + 1), Matrix(DType::f32, 1, y.view.cols));
      EXPECT_EQ(std::memcmp(alone.view.f32(), y.view.f32(t),
                            static_cast<std::size_t>(y.view.cols) * sizeof(float)),
                0)
          << name_of(isa) << ", token " << t << " of " << x.rows;
    }
  }
}

double value_of(const Tensor& tensor, std::int64_t i) {
  const auto at = static_cast<std::size_t>(i);
  switch (tensor.dtype()) {
    case DType::f16:
      return f16_to_f32(tensor.as<std::uint16_t>()[at]);
    case DType::bf16:
      return bf16_to_f32(tensor.as<std::uint16_t>()[at]);
    case DType::i8:
      return tensor.as<std::int8_t>()[at];
    default:
      return tensor.as<float>()[at];
  }
}

TEST(Linear, FloatWeightsAgreeWithDoubleAndToTheBitEverywhere) {
  Rng rng(1);
  for (const std::int64_t rows : kRows) {
    for (const std::int64_t cols : kCols) {
      for (const std::int64_t tokens : kTokens) {
        const DType dtype = std::array{DType::f32, DType::f16, DType::bf16}[rng.below(3)];
        const Weight weight = random_weight(rng, dtype, rows, cols, Strategy::channel, rows % 2);
        const Matrix x = random_f32(rng, tokens, cols);
        const Matrix like(DType::f32, tokens, rows);
        const Matrix y = run(Isa::reference, 1, weight, x.view, like);
        for (std::int64_t t = 0; t < tokens; ++t) {
          for (std::int64_t r = 0; r < rows; ++r) {
            double sum = weight.bias.empty() ? 0 : value_of(weight.bias, r);
            double size = std::fabs(sum);
            for (std::int64_t k = 0; k < cols; ++k) {
              const double term = x.view.f32(t)[k] * value_of(weight.data, r * cols + k);
              sum += term;
              size += std::fabs(term);
            }
            ASSERT_NEAR(y.view.f32(t)[r], sum, size * 1e-6) << rows << "x" << cols;
          }
        }
        expect_same_everywhere(weight, x.view, like, y);
      }
    }
  }
}

TEST(Linear, EveryNumberOfTokensGivesTheBitsOfOneToken) {
  Rng rng(2);
  const std::int64_t cols = 509;  // rows of 512 floats are those that linear() spreads
  for (const auto& [dtype, input] : {std::pair{DType::f32, DType::f32},
                                     {DType::f16, DType::f32},
                                     {DType::bf16, DType::f32},
                                     {DType::i8, DType::i8},
                                     {DType::i8, DType::f32}}) {
    for (const std::int64_t tokens : kTokens) {
      const Weight weight = random_weight(rng, dtype, 33, cols);
      const Matrix x = input == DType::i8 ? random_i8(rng, tokens, cols, Strategy::token)
                                          : random_f32(rng, tokens, cols);
      const Matrix like(DType::f32, tokens, 33);
      const Matrix y = run(Isa::reference, 1, weight, x.view, like);
      expect_same_everywhere(weight, x.view, like, y);
      expect_rows_alone(weight, x.view, y);
    }
  }
}

TEST(Linear, Int8IsExactForAllShapes) {
  Rng rng(3);
  for (const std::int64_t rows : kRows) {
    for (const std::int64_t cols : kCols) {
      for (const std::int64_t tokens : kTokens) {
        const bool w_channel = rng.below(2), x_token = rng.below(2);
        const Weight weight = random_weight(
            rng, DType::i8, rows, cols, w_channel ? Strategy::channel : Strategy::tensor, cols % 2);
        const Matrix x = random_i8(rng, tokens, cols, x_token ? Strategy::token : Strategy::tensor);
        const Matrix like(DType::f32, tokens, rows);
        const Matrix y = run(Isa::reference, 1, weight, x.view, like);
        for (std::int64_t t = 0; t < tokens; ++t) {
          for (std::int64_t r = 0; r < rows; ++r) {
            std::int64_t sum = 0;
            for (std::int64_t k = 0; k < cols; ++k) {
              sum += x.view.i8(t)[k] *
                     weight.data.as<std::int8_t>()[static_cast<std::size_t>(r * cols + k)];
            }
            const float w_scale = static_cast<float>(value_of(weight.scale, w_channel ? r : 0));
            const float scale = x.view.scale[x_token ? t : 0] * w_scale;
            float expected = static_cast<float>(sum) * scale;
            if (!weight.bias.empty()) expected += static_cast<float>(value_of(weight.bias, r));
            ASSERT_EQ(y.view.f32(t)[r], expected) << rows << "x" << cols << ", token " << t;
          }
        }
        expect_same_everywhere(weight, x.view, like, y);
      }
    }
  }
}

// vpmaddubsw would saturate and vpdpbusd must take the sign shift off again.
TEST(Linear, Int8ExtremesNeverSaturate) {
  for (const std::int64_t cols : kCols) {
    for (const int x_value : {-128, 127}) {
      for (const int w_value : {-127, 127}) {
        for (const std::int64_t tokens : {1, 4, 13}) {
          Weight weight;
          weight.strategy = Strategy::tensor;
          weight.data = Tensor(DType::i8, {17, cols});
          std::ranges::fill(weight.data.mutable_as<std::int8_t>(),
                            static_cast<std::int8_t>(w_value));
          weight.scale = Tensor(DType::f32, {1});
          weight.scale.mutable_as<float>()[0] = 1;
          Matrix x(DType::i8, tokens, cols);
          std::ranges::fill(x.memory.mutable_as<std::int8_t>(), static_cast<std::int8_t>(x_value));
          x.view.scale[0] = 1;
          Runner runner(Isa::reference, 1);
          pack(runner.context, weight);
          for (const Isa isa : supported_isas()) {
            const Matrix y = run(isa, 1, weight, x.view, Matrix(DType::f32, tokens, 17));
            for (std::int64_t t = 0; t < tokens; ++t) {
              for (std::int64_t r = 0; r < 17; ++r) {
                ASSERT_EQ(y.view.f32(t)[r], static_cast<float>(cols * x_value * w_value))
                    << name_of(isa) << ", " << cols << " columns, " << x_value << " * " << w_value;
              }
            }
          }
        }
      }
    }
  }
}

TEST(Linear, FloatInputsOfInt8WeightsHaveSixteenBits) {
  Rng rng(9);
  for (const std::int64_t rows : {1, 17, 80, 7000}) {
    for (const std::int64_t cols : {1, 5, 64, 300}) {
      for (const std::int64_t tokens : {1, 2, 3, 50}) {
        if (rows == 7000 && tokens > 2) continue;
        const Weight weight = random_weight(
            rng, DType::i8, rows, cols, rows % 2 ? Strategy::channel : Strategy::tensor, cols % 2);
        Matrix x = random_f32(rng, tokens, cols);
        if (tokens > 1) std::fill_n(x.view.f32(0), cols, 0.0F);
        if (tokens > 2) x.view.f32(2)[0] = -1e25F;
        const Matrix like(DType::f32, tokens, rows);
        const Matrix y = run(Isa::reference, 1, weight, x.view, like);
        for (std::int64_t t = 0; t < tokens; ++t) {
          float most = 0;
          for (std::int64_t k = 0; k < cols; ++k)
            most = std::max(most, std::fabs(x.view.f32(t)[k]));
          const float step = most < 1e-30F ? 1.0F : most / 32639.0F;
          for (std::int64_t r = 0; r < rows; ++r) {
            std::int64_t high = 0, low = 0;
            double sum = 0, size = 0;
            for (std::int64_t k = 0; k < cols; ++k) {
              const auto w = static_cast<std::int64_t>(value_of(weight.data, r * cols + k));
              const auto q = static_cast<std::int64_t>(std::nearbyint(x.view.f32(t)[k] / step));
              const std::int64_t h = (q + 128) >> 8;
              high += h * w;
              low += (q - 256 * h) * w;
              sum += x.view.f32(t)[k] * static_cast<double>(w);
              size += std::fabs(static_cast<double>(w));
            }
            const auto scale = static_cast<float>(
                value_of(weight.scale, weight.strategy == Strategy::channel ? r : 0));
            float expected = static_cast<float>(high) * (256.0F * step * scale);
            expected += static_cast<float>(low) * (step * scale);
            const double bias = weight.bias.empty() ? 0 : value_of(weight.bias, r);
            if (!weight.bias.empty()) expected += static_cast<float>(bias);
            ASSERT_EQ(y.view.f32(t)[r], expected) << rows << "x" << cols << ", token " << t;
            // Half a step for each input, and the float roundings of the result.
            const double whole = sum * scale + bias;
            ASSERT_NEAR(expected, whole,
                        0.5001 * step * size * scale + 1e-6 * (std::fabs(whole) + std::fabs(bias)));
          }
        }
        expect_same_everywhere(weight, x.view, like, y);
      }
    }
  }
}

TEST(Linear, QuantizedOutputsAreTheQuantizedFloatOutput) {
  Rng rng(4);
  struct Kind {
    Strategy strategy;
    bool dynamic;
  };
  for (const Kind kind : {Kind{Strategy::tensor, false}, Kind{Strategy::channel, false},
                          Kind{Strategy::token, true}, Kind{Strategy::tensor, true}}) {
    for (const auto& [dtype, input] :
         {std::pair{DType::i8, DType::i8}, {DType::i8, DType::f32}, {DType::bf16, DType::f32}}) {
      for (const std::int64_t tokens : {1, 3, 100}) {
        const std::int64_t rows = 150, cols = 65;
        const Weight weight = random_weight(rng, dtype, rows, cols);
        const Matrix x = input == DType::i8 ? random_i8(rng, tokens, cols, Strategy::token)
                                            : random_f32(rng, tokens, cols);
        Matrix like(DType::i8, tokens, rows, kind.strategy, kind.dynamic);
        for (float& scale : like.scale.mutable_as<float>()) {
          scale = 0.02F + 0.2F * static_cast<float>(rng.uniform());
        }
        const Matrix whole =
            run(Isa::reference, 1, weight, x.view, Matrix(DType::f32, tokens, rows));
        Runner runner(Isa::reference, 1);
        Matrix expected(DType::i8, tokens, rows, kind.strategy, kind.dynamic);
        std::ranges::copy(like.scale.as<float>(), expected.scale.mutable_as<float>().begin());
        quantize(runner.context, whole.view, expected.view);
        expect_same_everywhere(weight, x.view, like, expected);
      }
    }
  }
}

TEST(Linear, Int8InputsOfFloatWeightsAreWidened) {
  Rng rng(5);
  for (const Strategy strategy : {Strategy::tensor, Strategy::token, Strategy::channel}) {
    const Weight weight = random_weight(rng, DType::f16, 20, 37);
    const Matrix x = random_i8(rng, 7, 37, strategy);
    Matrix wide(DType::f32, 7, 37);
    for (std::int64_t t = 0; t < 7; ++t) {
      for (std::int64_t k = 0; k < 37; ++k) {
        const std::int64_t at = strategy == Strategy::token     ? t
                                : strategy == Strategy::channel ? k
                                                                : 0;
        wide.view.f32(t)[k] = x.view.scale[at] * static_cast<float>(x.view.i8(t)[k]);
      }
    }
    const Matrix like(DType::f32, 7, 20);
    expect_same_everywhere(weight, x.view, like, run(Isa::reference, 1, weight, wide.view, like));
  }
}

// A tensor of a mapped file may lie at any byte and end where the mapping ends.
TEST(Linear, FloatWeightsAtOddAddressesAreReadToTheirEndOnly) {
  Rng rng(6);
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    for (const std::int64_t cols : kCols) {
      const Weight weight = random_weight(rng, dtype, 5, cols);
      const std::size_t bytes = weight.data.bytes();
      // A heap block of exactly this size: AddressSanitizer sees a read beyond it.
      const std::shared_ptr<char> block(new char[bytes + 1], std::default_delete<char[]>());
      std::memcpy(block.get() + 1, weight.data.view().data, bytes);
      Weight odd = weight;
      odd.data = Tensor(TensorView{block.get() + 1, dtype, {5, cols}}, block);
      for (const std::int64_t tokens : {1, 7}) {
        const Matrix x = random_f32(rng, tokens, cols);
        const Matrix like(DType::f32, tokens, 5);
        expect_same_everywhere(odd, x.view, like, run(Isa::reference, 1, weight, x.view, like));
      }
    }
  }
}

TEST(Pack, TilesHoldEveryWeightOnceAndZeros) {
  Rng rng(7);
  for (const int threads : {1, 3}) {
    for (const std::int64_t rows : kRows) {
      for (const std::int64_t cols : kCols) {
        Weight weight;
        weight.data = random_bytes(rng, {rows, cols}, -127);
        Runner runner(Isa::reference, threads);
        pack(runner.context, weight);
        const std::int64_t cols4 = (cols + 3) / 4, tile_rows = (rows + 15) / 16;
        const auto tiles = weight.packed->tiles.as<std::int8_t>();
        ASSERT_EQ(weight.packed->tiles.shape(), (Shape{tile_rows, cols4, 16, 4}));
        ASSERT_EQ(weight.packed->row_sum.size(), static_cast<std::size_t>(tile_rows * 16));
        for (std::int64_t r = 0; r < tile_rows * 16; ++r) {
          std::int32_t sum = 0;
          for (std::int64_t k = 0; k < cols4 * 4; ++k) {
            const bool inside = r < rows && k < cols;
            const int q = inside ? static_cast<int>(value_of(weight.data, r * cols + k)) : 0;
            const auto at = ((r / 16 * cols4 + k / 4) * 16 + r % 16) * 4 + k % 4;
            ASSERT_EQ(tiles[static_cast<std::size_t>(at)], q) << r << ", " << k;
            sum += q;
          }
          ASSERT_EQ(weight.packed->row_sum[static_cast<std::size_t>(r)], sum);
        }
      }
    }
  }
}

TEST(Embedding, GivesRowsOfEveryFormat) {
  Rng rng(9);
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16, DType::i8}) {
    for (const Strategy strategy : {Strategy::tensor, Strategy::channel}) {
      const std::int64_t cols = 19;
      Weight table = random_weight(rng, dtype, 37, cols, strategy, false);
      const std::vector<std::int32_t> ids{36, 0, 19, 19};
      std::vector<float> out(ids.size() * static_cast<std::size_t>(cols));
      Runner runner(Isa::reference, 2);
      embedding(runner.context, table, ids, out.data());
      for (std::size_t t = 0; t < ids.size(); ++t) {
        for (std::int64_t k = 0; k < cols; ++k) {
          float expected = static_cast<float>(value_of(table.data, ids[t] * cols + k));
          if (dtype == DType::i8) {
            expected *= static_cast<float>(
                value_of(table.scale, strategy == Strategy::channel ? ids[t] : 0));
          }
          EXPECT_EQ(out[t * static_cast<std::size_t>(cols) + static_cast<std::size_t>(k)],
                    expected);
        }
      }
      if (dtype != DType::i8) continue;
      pack(runner.context, table);  // nothing but the tiles are kept
      table.data = Tensor(TensorView{nullptr, DType::i8, table.data.shape()}, nullptr);
      std::vector<float> from_tiles(out.size());
      embedding(runner.context, table, ids, from_tiles.data());
      EXPECT_EQ(out, from_tiles);
    }
  }
}

}  // namespace
}  // namespace krait
