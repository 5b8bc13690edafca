// Products of integer weights that lie as on disk: the bits of the packed ones.
#include <gtest/gtest.h>

#include <cstring>

#include "core/float16.h"
#include "kernels/linear/linear.h"
#include "kernels/linear/linear4_kernels.h"
#include "kernels/linear/linear_kernels.h"
#include "kernels/quantize/quantize.h"
#include "kernels/test_support.h"

namespace krait {
namespace {

class Unpacked : public ForEachIsa {};
INSTANTIATE_TEST_SUITE_P(Isas, Unpacked, supported_isas(), isa_name);

Weight int8_weight(Rng& rng, std::int64_t rows, std::int64_t cols) {
  Weight weight;
  weight.data = Tensor(DType::i8, {rows, cols});
  for (std::int8_t& q : weight.data.mutable_as<std::int8_t>()) {
    q = static_cast<std::int8_t>(static_cast<int>(rng.below(255)) - 127);
  }
  weight.scale = Tensor(DType::f32, {rows});
  for (float& s : weight.scale.mutable_as<float>()) s = 0.001f + static_cast<float>(rng.uniform());
  return weight;
}

Weight int4_weight(Rng& rng, std::int64_t rows, std::int64_t cols, int group) {
  Weight weight;
  weight.strategy = Strategy::group;
  weight.group_size = group;
  weight.data = Tensor(DType::i32, {rows, cols / 8});
  for (std::int32_t& word : weight.data.mutable_as<std::int32_t>()) {
    word = static_cast<std::int32_t>(static_cast<std::uint32_t>(rng.below(1u << 31)) * 2 +
                                     static_cast<std::uint32_t>(rng.below(2)));
  }
  weight.scale = Tensor(DType::bf16, {rows, cols / group});
  for (std::uint16_t& s : weight.scale.mutable_as<std::uint16_t>()) {
    s = f32_to_bf16(0.01f + static_cast<float>(rng.uniform()));
  }
  return weight;
}

Weight packed(Weight weight) {
  TestContext test(Isa::reference, 1);
  pack(test.ctx, weight);
  return weight;
}

TEST_P(Unpacked, RowsArePackedAsTheWholeMatrixIs) {
  Rng rng(1);
  const LinearKernels& kernels = *microkernels(GetParam()).linear;
  const Linear4Kernels& kernels4 = *microkernels(GetParam()).linear4;
  for (const std::int64_t rows : {1, 7, 8, 9, 15, 16}) {
    for (const std::int64_t cols : {1, 4, 5, 31, 32, 63, 64, 65, 200, 1037}) {
      const Weight weight = packed(int8_weight(rng, rows, cols));
      Guarded<std::int8_t> tiles((cols + 3) / 4 * 64);
      std::int32_t row_sum[16];
      kernels.pack_i8({weight.data.as<std::int8_t>().data(), rows, cols, tiles.data(), row_sum});
      EXPECT_EQ(
          std::memcmp(tiles.data(), weight.packed->tiles.view().data, weight.packed->tiles.bytes()),
          0)
          << rows << "x" << cols;
      // Only the kernel that needs the sums has to make them.
      EXPECT_EQ(std::memcmp(row_sum, weight.packed->row_sum.data(), sizeof row_sum), 0);
    }
    for (const auto& [cols, group] : {std::pair<std::int64_t, int>{8, 8},
                                      {24, 8},
                                      {40, 40},
                                      {128, 64},
                                      {192, 64},
                                      {320, 32},
                                      {1152, 128},
                                      {2112, 32}}) {
      const Weight weight = packed(int4_weight(rng, rows, cols, group));
      ASSERT_FALSE(weight.packed4->scale_is_f32);
      Guarded<std::uint8_t> lines(weight.packed4->lines.elements());
      kernels4.pack(
          {weight.data.view().data, weight.scale.view().data, rows, cols, group, lines.data()});
      EXPECT_EQ(std::memcmp(lines.data(), weight.packed4->lines.view().data,
                            weight.packed4->lines.bytes()),
                0)
          << rows << "x" << cols << " in groups of " << group;
    }
  }
}

TEST_P(Unpacked, ProductsHaveTheBitsOfPackedOnes) {
  Rng rng(2);
  for (const std::int64_t rows : {1, 16, 50, 200}) {
    for (const std::int64_t cols : {64, 192, 1024}) {
      for (const std::int64_t tokens : {1, 3, 13, 100}) {
        std::vector<float> x = random_floats(rng, tokens * cols, 2.0);
        for (const bool four_bits : {false, true}) {
          const Weight weight =
              four_bits ? int4_weight(rng, rows, cols, 64) : int8_weight(rng, rows, cols);
          const Weight reference = packed(weight);
          for (const bool integers : {true, false}) {
            for (int threads : {1, 3}) {
              TestContext test(GetParam(), threads);
              TestActivation q({DType::i8, Strategy::token, true}, tokens, cols, 0);
              const Activation floats = f32_activation(x.data(), tokens, cols);
              quantize(test.ctx, floats, q.view);
              const Activation& in = integers ? q.view : floats;
              std::vector<float> expected(static_cast<std::size_t>(tokens * rows));
              std::vector<float> got(expected.size() + 1, 77.0f);
              linear(test.ctx, reference, in, f32_activation(expected.data(), tokens, rows));
              linear(test.ctx, weight, in, f32_activation(got.data(), tokens, rows));
              EXPECT_EQ(got.back(), 77.0f);
              ASSERT_EQ(std::memcmp(got.data(), expected.data(), expected.size() * sizeof(float)),
                        0)
                  << rows << "x" << cols << ", " << tokens << " tokens, 4 bits: " << four_bits;
              TestActivation a({DType::i8, Strategy::tensor, false}, tokens, rows, 0.5f);
              TestActivation b({DType::i8, Strategy::tensor, false}, tokens, rows, 0.5f);
              linear(test.ctx, reference, in, a.view);
              linear(test.ctx, weight, in, b.view);
              ASSERT_EQ(a.i8, b.i8);
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace krait
