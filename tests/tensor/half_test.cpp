#include "tensor/half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace kinglet {
namespace {

// The value of an f16 from the definition of the format.
double f16_by_definition(unsigned half) {
  const int exponent = half >> 10 & 31, fraction = half & 1023;
  const double sign = half & 0x8000 ? -1 : 1;
  if (exponent == 0) return sign * std::ldexp(fraction, -24);
  return sign * std::ldexp(1024 + fraction, exponent - 25);
}

TEST(Half, EveryF16HasItsValueAndComesBack) {
  for (unsigned half = 0; half < 0x10000; ++half) {
    const float value = f16_to_f32(static_cast<std::uint16_t>(half));
    if ((half & 0x7C00) == 0x7C00) {
      if ((half & 0x3FF) == 0) {
        ASSERT_EQ(value, half & 0x8000 ? -INFINITY : INFINITY);
        ASSERT_EQ(f32_to_f16(value), half);
      } else {
        ASSERT_TRUE(std::isnan(value));
        ASSERT_EQ(f32_to_f16(value), half | 0x200);
      }
      continue;
    }
    ASSERT_EQ(value, f16_by_definition(half)) << half;
    ASSERT_EQ(std::signbit(value), (half & 0x8000) != 0);
    ASSERT_EQ(f32_to_f16(value), half);
  }
}

// Between two neighbours the nearer wins, and in the middle the even one; checked at the middle and beside it.
TEST(Half, RoundsToNearestEvenBetweenAllNeighbours) {
  for (unsigned half = 0; half < 0x7C00; ++half) {
    const double low = f16_by_definition(half), high = half == 0x7BFF ? 65536.0 : f16_by_definition(half + 1);
    const float middle = static_cast<float>((low + high) / 2);
    ASSERT_EQ(f32_to_f16(middle), half + (half & 1)) << half;
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, 0.0f)), half) << half;
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, INFINITY)), half + 1) << half;
    ASSERT_EQ(f32_to_f16(-middle), 0x8000 | (half + (half & 1))) << half;
  }
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::max()), 0x7C00);
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::denorm_min()), 0);
}

TEST(Half, Bf16IsTheUpperHalfRoundedToNearestEven) {
  for (unsigned half = 0; half < 0x10000; ++half) {
    const float value = bf16_to_f32(static_cast<std::uint16_t>(half));
    if (std::isnan(value)) {
      ASSERT_EQ(f32_to_bf16(value), half | 0x40);
      continue;
    }
    ASSERT_EQ(f32_to_bf16(value), half);
    if (std::isinf(value)) continue;
    const std::uint32_t bits = half << 16;
    ASSERT_EQ(f32_to_bf16(std::bit_cast<float>(bits | 0x7FFF)), half);
    ASSERT_EQ(f32_to_bf16(std::bit_cast<float>(bits | 0x8000)), half + (half & 1));
    ASSERT_EQ(f32_to_bf16(std::bit_cast<float>(bits | 0x8001)), half + 1);
  }
}

}  // namespace
}  // namespace kinglet
