#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "core/check.h"
#include "kernels/linear/linear.h"

namespace krait {
namespace {

Tensor ones(std::int64_t n) {
  Tensor tensor(DType::f32, {n});
  std::ranges::fill(tensor.mutable_as<float>(), 1.0F);
  return tensor;
}

/// Zeros with a scale per row and a bias.
Weight weight_4x6(DType dtype) {
  Weight weight;
  weight.data = Tensor(dtype, {4, 6});
  weight.scale = ones(4);
  weight.bias = ones(4);
  return weight;
}

std::string refusal(const Weight& weight, ErrorCode code) {
  try {
    check_linear(weight, "layers.3.in_proj.weight");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_NE(std::string(error.what()).find("layers.3.in_proj.weight"), std::string::npos);
    return error.what();
  }
  ADD_FAILURE() << "accepted";
  return "";
}

TEST(CheckLinear, AcceptsWhatTheKernelsCanDo) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16, DType::i8}) {
    Weight weight = weight_4x6(dtype);
    EXPECT_NO_THROW(check_linear(weight, "w"));
    weight.strategy = Strategy::tensor;
    weight.scale = ones(1);
    EXPECT_NO_THROW(check_linear(weight, "w"));
  }
}

TEST(CheckLinear, RefusesTheRestWithASentence) {
  const Weight good = weight_4x6(DType::i8);

  Weight bad = good;
  bad.data = Tensor(DType::f64, {4, 6});
  EXPECT_EQ(refusal(bad, ErrorCode::unsupported),
            "layers.3.in_proj.weight: no kernel has F64 weights; choices: F32, F16, BF16, I8, "
            "I32 (4 bits), U8 (codes)");
  bad.data = Tensor(DType::i8, {24});
  EXPECT_EQ(refusal(bad, ErrorCode::bad_data),
            "layers.3.in_proj.weight: expected a matrix [outputs, inputs], got [24]");
  bad.data = Tensor(DType::i8, {4, 132105});
  EXPECT_EQ(refusal(bad, ErrorCode::unsupported),
            "layers.3.in_proj.weight: int8 products have at most 132104 inputs, got 132105");

  bad = good;
  bad.bias = Tensor(DType::f32, {5});
  EXPECT_EQ(refusal(bad, ErrorCode::bad_data),
            "layers.3.in_proj.weight: expected a bias of shape F32 [4], got F32 [5]");

  bad = good;
  bad.strategy = Strategy::group;
  EXPECT_EQ(refusal(bad, ErrorCode::unsupported),
            "layers.3.in_proj.weight: no kernel has int8 weights with group scales; choices: "
            "tensor, channel");
  bad.strategy = Strategy::tensor;
  EXPECT_EQ(refusal(bad, ErrorCode::bad_data),
            "layers.3.in_proj.weight: expected tensor scales of shape F32 [1], got F32 [4]");
  for (const float scale : {0.0F, -1.0F, INFINITY, NAN}) {
    bad = good;
    bad.scale = ones(4);
    bad.scale.mutable_as<float>()[2] = scale;
    EXPECT_NE(refusal(bad, ErrorCode::bad_data).find("finite scales above 0"), std::string::npos);
  }
  bad = good;
  bad.data = Tensor(DType::i8, {4, 6});
  bad.data.mutable_as<std::int8_t>()[15] = -128;
  EXPECT_EQ(refusal(bad, ErrorCode::bad_data),
            "layers.3.in_proj.weight: expected int8 weights in [-127, 127], got -128 in row 2, "
            "column 3");
}

/// 4 rows of 48 columns in groups of 16.
Weight weight_4bit() {
  Weight weight;
  weight.data = Tensor(DType::i32, {4, 6});
  weight.strategy = Strategy::group;
  weight.group_size = 16;
  weight.scale = Tensor(DType::f32, {4, 3});
  std::ranges::fill(weight.scale.mutable_as<float>(), 1.0F);
  return weight;
}

TEST(CheckLinear, RefusesGroupsThatTheKernelsCannotDo) {
  const Weight good = weight_4bit();
  EXPECT_NO_THROW(check_linear(good, "w"));
  EXPECT_EQ(good.cols(), 48);

  Weight bad = good;
  bad.strategy = Strategy::channel;
  EXPECT_EQ(refusal(bad, ErrorCode::unsupported),
            "layers.3.in_proj.weight: no kernel has 4-bit weights with channel scales; choices: "
            "group");
  for (const int group : {-16, 0, 4, 12, 32, 96}) {
    bad = good;
    bad.group_size = group;
    EXPECT_EQ(
        refusal(bad, ErrorCode::bad_data),
        "layers.3.in_proj.weight: expected groups of a multiple of 8 that divides 48 columns, "
        "got " +
            std::to_string(group));
  }
  bad = good;
  bad.group_size = 24;
  EXPECT_EQ(refusal(bad, ErrorCode::bad_data),
            "layers.3.in_proj.weight: expected group scales of shape F32, F16 or BF16 [4, 2], got "
            "F32 [4, 3]");
  bad = good;
  bad.scale = Tensor(DType::i8, {4, 3});
  EXPECT_NE(refusal(bad, ErrorCode::bad_data).find("got I8 [4, 3]"), std::string::npos);
  bad.scale = {};
  EXPECT_NE(refusal(bad, ErrorCode::bad_data).find("nothing"), std::string::npos);
  for (const float scale : {0.0F, -1.0F, INFINITY, NAN}) {
    bad = weight_4bit();
    bad.scale.mutable_as<float>()[7] = scale;
    EXPECT_NE(refusal(bad, ErrorCode::bad_data).find("finite scales above 0"), std::string::npos);
  }
}

/// 5 rows of 96 columns in groups of 32, 3 bits.
Weight weight_codes() {
  Weight weight;
  weight.code_bits = 3;
  weight.data = Tensor(DType::u8, {3, 72});
  weight.table = Tensor(DType::i8, {64});
  weight.strategy = Strategy::group;
  weight.group_size = 32;
  weight.scale = Tensor(DType::bf16, {5, 3});
  std::ranges::fill(weight.scale.mutable_as<std::uint16_t>(), std::uint16_t{0x3f80});
  return weight;
}

TEST(CheckLinear, RefusesCodesThatTheKernelsCannotDo) {
  const Weight good = weight_codes();
  EXPECT_NO_THROW(check_linear(good, "w"));
  EXPECT_EQ(good.cols(), 96);
  EXPECT_EQ(good.rows(), 5);
  const std::string name = "layers.3.in_proj.weight: ";

  Weight bad = good;
  for (const int bits : {0, 1, 5}) {
    bad.code_bits = bits;
    EXPECT_EQ(refusal(bad, ErrorCode::unsupported),
              name + "no kernel has codes of " + std::to_string(bits) + " bits; choices: 2, 3, 4");
  }
  bad = good;
  bad.strategy = Strategy::channel;
  EXPECT_EQ(refusal(bad, ErrorCode::unsupported),
            name + "no kernel has codes with channel scales; choices: group");
  for (const int group : {0, 8, 24, 1040}) {
    bad = good;
    bad.group_size = group;
    EXPECT_EQ(refusal(bad, ErrorCode::unsupported), name + "no kernel has codes in groups of " +
                                                        std::to_string(group) +
                                                        "; choices: multiples of 16 up to 1024");
  }
  bad = good;
  bad.group_size = 48;
  EXPECT_EQ(refusal(bad, ErrorCode::bad_data),
            name + "expected scales for 96 columns in groups of 48, got [5, 3]");
  bad = good;
  bad.code_bits = 4;  // of 72 columns
  EXPECT_NE(refusal(bad, ErrorCode::bad_data).find("for 72 columns"), std::string::npos);
  bad = good;
  bad.scale = Tensor(DType::f32, {5, 3});
  EXPECT_EQ(refusal(bad, ErrorCode::bad_data),
            name + "expected group scales of shape BF16 [rows, groups], got F32 [5, 3]");
  bad.scale = {};
  EXPECT_NE(refusal(bad, ErrorCode::bad_data).find("nothing"), std::string::npos);
  bad = good;
  bad.data = Tensor(DType::u8, {4, 72});
  EXPECT_EQ(refusal(bad, ErrorCode::bad_data),
            name + "expected codes of 3 bits of shape U8 [3, 72], got U8 [4, 72]");
  bad = good;
  bad.table = Tensor(DType::i8, {16});
  EXPECT_EQ(refusal(bad, ErrorCode::bad_data),
            name + "expected a table of shape I8 [64], got I8 [16]");
  bad.table = Tensor(DType::i8, {64});
  bad.table.mutable_as<std::int8_t>()[63] = -128;
  EXPECT_EQ(refusal(bad, ErrorCode::bad_data),
            name + "expected a table of values in [-127, 127], got -128 at 63");
  for (const int scale : {0x0000, 0xbf80, 0x7f80, 0x7fc0}) {  // 0, -1, infinity, NaN
    bad = weight_codes();
    bad.scale.mutable_as<std::uint16_t>()[7] = static_cast<std::uint16_t>(scale);
    EXPECT_NE(refusal(bad, ErrorCode::bad_data).find("finite scales above 0"), std::string::npos);
  }
}

}  // namespace
}  // namespace krait
