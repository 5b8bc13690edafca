#include "models/weights.h"

#include <gtest/gtest.h>

#include <limits>

#include "core/test_support.h"
#include "io/test_support.h"
#include "models/test_support.h"

namespace krait {
namespace {

constexpr std::int64_t kElements = 3 << 16;  // the pieces of three threads

void refuses_in_every_place(float value, DType dtype) {
  const OnOneCpu one;  // who finds it reads the other pieces too
  TestRuntime runtime(Isa::reference, 4);
  for (const std::int64_t place : {std::int64_t{0}, kElements / 2, kElements - 1}) {
    std::vector<float> values(static_cast<std::size_t>(kElements), 1.0f);
    values[static_cast<std::size_t>(place)] = value;
    const auto tensors = make_memory_source({{"table", test_tensor({3, 1 << 16}, values, dtype)}});
    expect_error([&] { check_finite(runtime.ctx, *tensors); }, ErrorCode::bad_data,
                 {"table [3, 65536] holds NaN or infinity"});
  }
}

TEST(CheckFinite, FindsOneElementWhereverItLiesAndWhoeverReadsIt) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    refuses_in_every_place(std::numeric_limits<float>::quiet_NaN(), dtype);
    refuses_in_every_place(-std::numeric_limits<float>::infinity(), dtype);
  }
}

TEST(CheckFinite, TakesWhatIsFinite) {
  TestRuntime runtime(Isa::reference, 4);
  const std::vector<float> values(static_cast<std::size_t>(kElements), 65504.0f);
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    const auto tensors = make_memory_source({{"table", test_tensor({kElements}, values, dtype)}});
    EXPECT_NO_THROW(check_finite(runtime.ctx, *tensors));
  }
}

}  // namespace
}  // namespace krait
