#include "core/float16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

namespace krait {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// The value of a half by its definition (IEEE 754-2019, 3.4): exact in double.
double f16_value(std::uint16_t h) {
  const int exponent = (h >> 10) & 0x1f;
  const int mantissa = h & 0x3ff;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -24)
                           : exponent == 31
                               ? (mantissa ? std::numeric_limits<double>::quiet_NaN() : INFINITY)
                               : std::ldexp(1024 + mantissa, exponent - 25);
  return (h & 0x8000) ? -magnitude : magnitude;
}

double bf16_value(std::uint16_t h) {
  const int exponent = (h >> 7) & 0xff;
  const int mantissa = h & 0x7f;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -133)
                           : exponent == 255
                               ? (mantissa ? std::numeric_limits<double>::quiet_NaN() : INFINITY)
                               : std::ldexp(128 + mantissa, exponent - 134);
  return (h & 0x8000) ? -magnitude : magnitude;
}

struct Format {
  const char* name;
  double (*value)(std::uint16_t);
  float (*widen)(std::uint16_t);
  std::uint16_t (*narrow)(float);
  std::uint16_t infinity;
};

class HalfPrecision : public testing::TestWithParam<Format> {};

TEST_P(HalfPrecision, EveryValueWidensExactlyAndComesBack) {
  const Format& format = GetParam();
  for (unsigned bits = 0; bits < 0x10000; ++bits) {
    const auto h = static_cast<std::uint16_t>(bits);
    const float wide = format.widen(h);
    if (std::isnan(format.value(h))) {
      EXPECT_TRUE(std::isnan(wide)) << bits;
      EXPECT_TRUE(std::isnan(format.widen(format.narrow(wide)))) << bits;
      continue;
    }
    EXPECT_EQ(static_cast<double>(wide), format.value(h)) << bits;
    EXPECT_EQ(std::signbit(wide), (h & 0x8000) != 0) << bits;
    EXPECT_EQ(format.narrow(wide), h) << bits;
  }
}

TEST_P(HalfPrecision, RoundsToNearestEvenBetweenAllNeighbours) {
  const Format& format = GetParam();
  for (std::uint16_t low = 0; low + 1 < format.infinity; ++low) {
    const auto high = static_cast<std::uint16_t>(low + 1);
    // The midpoint has one more digit and is exact in f32 (bf16's smallest subnormals included).
    const auto middle = static_cast<float>((format.value(low) + format.value(high)) / 2);
    const std::uint16_t even = (low & 1) ? high : low;
    ASSERT_EQ(format.narrow(middle), even) << low;
    ASSERT_EQ(format.narrow(std::nextafter(middle, 0.0f)), low) << low;
    ASSERT_EQ(format.narrow(std::nextafter(middle, kInfinity)), high) << low;
    ASSERT_EQ(format.narrow(-middle), even | 0x8000) << low;
  }
}

TEST_P(HalfPrecision, OverflowsToInfinityFromHalfAStepAboveTheLargest) {
  const Format& format = GetParam();
  const auto largest = static_cast<std::uint16_t>(format.infinity - 1);
  const double step = format.value(largest) - format.value(static_cast<std::uint16_t>(largest - 1));
  const auto limit = static_cast<float>(format.value(largest) + step / 2);
  EXPECT_EQ(format.narrow(limit), format.infinity);
  EXPECT_EQ(format.narrow(std::nextafter(limit, 0.0f)), largest);
  EXPECT_EQ(format.narrow(kInfinity), format.infinity);
  EXPECT_EQ(format.narrow(-kInfinity), format.infinity | 0x8000);
  EXPECT_EQ(format.narrow(std::numeric_limits<float>::denorm_min()),
            format.value(1) > 1e-30 ? 0 : format.narrow(0.0f));
}

TEST_P(HalfPrecision, EveryNanStaysANan) {
  const Format& format = GetParam();
  for (std::uint32_t payload = 1; payload < 0x800000u; payload += 4093) {
    for (const std::uint32_t sign : {0u, 0x80000000u}) {
      const float nan = std::bit_cast<float>(sign | 0x7f800000u | payload);
      ASSERT_TRUE(std::isnan(format.widen(format.narrow(nan)))) << payload;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, HalfPrecision,
                         testing::Values(Format{"f16", f16_value, f16_to_f32, f32_to_f16, 0x7c00},
                                         Format{"bf16", bf16_value, bf16_to_f32, f32_to_bf16,
                                                0x7f80}),
                         [](const auto& format) { return format.param.name; });

}  // namespace
}  // namespace krait
