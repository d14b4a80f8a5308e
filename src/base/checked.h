// Arithmetic on numbers that a file or a request chose. A count from outside is Untrusted until a range was named for
// it; sums and products that could wrap answer an error instead (reliability.md R1).
#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "kinglet/result.h"

namespace kinglet {

/// a * b, a + b; kCorrupt where the result does not fit 64 bits. `what` names the quantity in the message.
inline Result<std::uint64_t> checked_multiply(std::uint64_t a, std::uint64_t b, std::string_view what) {
  std::uint64_t result;
  if (__builtin_mul_overflow(a, b, &result))
    return fail(ErrorCode::kCorrupt, std::string(what) + " does not fit 64 bits (" + std::to_string(a) + " times " +
                                         std::to_string(b) + ")");
  return result;
}
inline Result<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b, std::string_view what) {
  std::uint64_t result;
  if (__builtin_add_overflow(a, b, &result))
    return fail(ErrorCode::kCorrupt,
                std::string(what) + " does not fit 64 bits (" + std::to_string(a) + " plus " + std::to_string(b) + ")");
  return result;
}

/// The next multiple of `alignment`, which is a power of two.
inline Result<std::uint64_t> checked_align(std::uint64_t value, std::uint64_t alignment, std::string_view what) {
  auto sum = checked_add(value, alignment - 1, what);
  if (!sum) return sum;
  return *sum & ~(alignment - 1);
}

/// `value` as a To where it fits; kCorrupt otherwise.
template <std::integral To, std::integral From>
Result<To> checked_narrow(From value, std::string_view what) {
  if (!std::in_range<To>(value))
    return fail(ErrorCode::kCorrupt, std::string(what) + " is out of range: " + std::to_string(value));
  return static_cast<To>(value);
}

/// A number read from outside. It cannot be used as a size by mistake: between() is the way out.
template <typename T>
class Untrusted {
 public:
  constexpr explicit Untrusted(T value) : value_(value) {}

  /// The value where it lies in [min, max]; kCorrupt with both limits otherwise.
  Result<T> between(T min, T max, std::string_view what) const {
    if (!(value_ >= min && value_ <= max))
      return fail(ErrorCode::kCorrupt, std::string(what) + " is " + std::to_string(value_) + ", expected " +
                                           std::to_string(min) + " to " + std::to_string(max));
    return value_;
  }
  bool operator==(T other) const { return value_ == other; }
  /// For values without a meaning as a size or an index: a metadata number that is kept as it is.
  constexpr T as_data() const { return value_; }

 private:
  T value_;
};

}  // namespace kinglet
