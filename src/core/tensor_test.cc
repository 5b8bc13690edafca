#include "core/tensor.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/float16.h"
#include "krait/error.h"

namespace krait {
namespace {

std::string bad_data_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_data);
    return error.what();
  }
  return "";
}

TEST(Shape, CountsAndPrints) {
  EXPECT_EQ((Shape{3, 4}).elements(), 12);
  EXPECT_EQ((Shape{3, 0, 4}).elements(), 0);
  EXPECT_EQ(Shape{}.elements(), 1);
  EXPECT_EQ((Shape{3, 4}).str(), "[3, 4]");
  EXPECT_EQ(Shape{}.str(), "[]");
  EXPECT_EQ((Shape{3, 4}), Shape(std::vector<std::int64_t>{3, 4}));
  EXPECT_NE((Shape{3}), (Shape{3, 1}));
}

TEST(Shape, RefusesWhatItCannotHold) {
  EXPECT_NE(bad_data_of([] { Shape{1, 1, 1, 1, 1}; }).find("5 dimensions"), std::string::npos);
  EXPECT_NE(bad_data_of([] {
              Shape{2, -1};
            }).find("dimension 1 of a tensor is negative: -1"),
            std::string::npos);
}

TEST(Shape, OverflowIsAnError) {
  const std::int64_t big = std::int64_t{1} << 32;
  EXPECT_NE(bad_data_of([&] {
              (Shape{big, big}).elements();
            }).find("[4294967296, 4294967296]"),
            std::string::npos);
  EXPECT_EQ((Shape{big, big / 4}).elements(), std::int64_t{1} << 62);
  // The elements fit, the bytes do not.
  const TensorView view{nullptr, DType::f64, Shape{big, big / 4}};
  EXPECT_NE(bad_data_of([&] { view.bytes(); }).find("F64"), std::string::npos);
}

TEST(Tensor, IsZeroedAlignedAndShared) {
  Tensor tensor(DType::f32, {3, 5});
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.view().data) % 64, 0u);
  for (const float x : tensor.as<float>()) EXPECT_EQ(x, 0.0f);
  EXPECT_EQ(tensor.bytes(), 60u);
  EXPECT_TRUE(Tensor().empty());
  EXPECT_FALSE(Tensor(DType::u8, {0}).empty());
  const Tensor copy = tensor;
  tensor.mutable_as<float>()[14] = 7;
  EXPECT_EQ(copy.as<float>()[14], 7.0f);
}

TEST(Tensor, BorrowedMemoryLivesAsLongAsTheTensor) {
  auto memory = std::make_shared<std::vector<float>>(4, 2.5f);
  const std::weak_ptr<std::vector<float>> watch = memory;
  {
    const Tensor tensor({memory->data(), DType::f32, {4}}, memory);
    memory.reset();
    EXPECT_EQ(tensor.as<float>()[3], 2.5f);
    EXPECT_FALSE(watch.expired());
  }
  EXPECT_TRUE(watch.expired());
}

TEST(Tensor, ToF32FromEveryFloatType) {
  const std::vector<float> values{0.0f, -1.5f, 0.333251953125f, 2.0f};  // exact in f16
  Tensor f16(DType::f16, {4}), bf16(DType::bf16, {4}), f64(DType::f64, {4}), f32(DType::f32, {4});
  for (std::size_t i = 0; i < 4; ++i) {
    f16.mutable_as<std::uint16_t>()[i] = f32_to_f16(values[i]);
    bf16.mutable_as<std::uint16_t>()[i] = f32_to_bf16(values[i]);
    f64.mutable_as<double>()[i] = static_cast<double>(values[i]);
    f32.mutable_as<float>()[i] = values[i];
  }
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(to_f32(f16.view()).as<float>()[i], values[i]);
    EXPECT_EQ(to_f32(f64.view()).as<float>()[i], values[i]);
    EXPECT_EQ(to_f32(f32.view()).as<float>()[i], values[i]);
    EXPECT_EQ(to_f32(bf16.view()).as<float>()[i], bf16_to_f32(f32_to_bf16(values[i])));
  }
  EXPECT_NE(bad_data_of([] { to_f32(Tensor(DType::i8, {1}).view()); }).find("I8"),
            std::string::npos);
}

TEST(DType, NamesRoundTrip) {
  for (const auto& [name, size] : std::vector<std::pair<std::string, std::size_t>>{{"F32", 4},
                                                                                   {"F16", 2},
                                                                                   {"BF16", 2},
                                                                                   {"F64", 8},
                                                                                   {"I8", 1},
                                                                                   {"U8", 1},
                                                                                   {"I16", 2},
                                                                                   {"I32", 4},
                                                                                   {"I64", 8},
                                                                                   {"BOOL", 1}}) {
    const auto dtype = parse_dtype(name);
    ASSERT_TRUE(dtype.has_value()) << name;
    EXPECT_EQ(name_of(*dtype), name);
    EXPECT_EQ(size_of(*dtype), size);
  }
  for (const char* name : {"", "f32", "F8_E4M3", "U16", "F32 "})
    EXPECT_FALSE(parse_dtype(name)) << name;
}

}  // namespace
}  // namespace krait
