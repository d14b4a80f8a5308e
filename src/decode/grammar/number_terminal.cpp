// Numbers between exact bounds, as multiples of a step, decided digit by digit.
#include <algorithm>

#include "decode/grammar/machine.h"

namespace kinglet::grammar {
namespace {

constexpr int kScale = NumberSet::kScale;
constexpr Int128 kLarge = Int128{10'000'000'000'000'000} * kUnit;  ///< 10^16: from here on programs write exponents
constexpr unsigned kMostFraction = 17;

enum Phase : unsigned { kStart, kMinus, kZero, kInteger, kPoint, kFraction, kE, kSign, kExponent };

Int128 power_of_ten(unsigned exponent) {
  Int128 value = 1;
  while (exponent-- > 0) value *= 10;
  return value;
}

Int128 ceiling(Int128 value, Int128 step) {
  const Int128 down = value / step * step;
  return down < value ? down + step : down;
}

}  // namespace

bool NumberSet::meets(Int128 from, Int128 to) const {
  bool from_open = false, to_open = true;
  if (has_lo && (lo > from || (lo == from && lo_open))) from = lo, from_open = lo_open;
  if (has_hi && (hi < to)) to = hi, to_open = hi_open;
  Int128 grid = step;
  if (fraction == Fraction::kZero && grid == 0) grid = kUnit;
  if (grid > 0) {
    Int128 first = ceiling(from, grid);
    if (first == from && from_open) first += grid;
    if (fraction == Fraction::kNonZero && first % kUnit == 0) first += grid;
    return first < to || (first == to && !to_open);
  }
  if (fraction == Fraction::kNonZero) return from < to || (from == to && !from_open && !to_open && from % kUnit != 0);
  return from < to || (from == to && !from_open && !to_open);
}

bool NumberSet::contains(Int128 value) const {
  if (has_lo && (lo > value || (lo == value && lo_open))) return false;
  if (has_hi && (hi < value || (hi == value && hi_open))) return false;
  if (step != 0 && value % step != 0) return false;
  return fraction == Fraction::kAny || (fraction == Fraction::kZero) == (value % kUnit == 0);
}

NumberSet NumberSet::mirrored() const {
  NumberSet out = *this;
  out.has_lo = has_hi, out.lo = -hi, out.lo_open = hi_open;
  out.has_hi = has_lo, out.hi = -lo, out.hi_open = lo_open;
  return out;
}

bool NumberSet::empty() const {
  if (has_lo && has_hi) {
    if (lo > hi) return true;
    if (lo == hi && (lo_open || hi_open)) return true;
    if (lo == hi && fraction == Fraction::kNonZero && lo % kUnit == 0) return true;
  }
  const Int128 far = kUnit * 1'000'000'000'000 * 100'000'000;
  return !meets(has_lo ? lo : -far, has_hi ? hi + 1 : far);
}

struct NumberTerminal::Parts {
  bool negative = false, rest = false;  ///< rest: digits other than zero beyond kScale
  unsigned phase = kStart, digits = 0;  ///< digits of the fraction
  Int128 value = 0;                     ///< integer part, then with as many decimals as `digits` (at most kScale)

  NodeState pack() const {
    const auto bits = static_cast<unsigned __int128>(value);
    return {static_cast<std::uint64_t>(bits), static_cast<std::uint64_t>(bits >> 64) << 16 | phase << 8 | digits << 2 |
                                                  (rest ? 2u : 0u) | (negative ? 1u : 0u)};
  }
  static Parts unpack(NodeState state) {
    Parts parts;
    parts.negative = (state.b & 1) != 0;
    parts.rest = (state.b & 2) != 0;
    parts.digits = static_cast<unsigned>(state.b >> 2 & 63);
    parts.phase = static_cast<unsigned>(state.b >> 8 & 255);
    parts.value = static_cast<Int128>(static_cast<unsigned __int128>(state.b >> 16) << 64 | state.a);
    return parts;
  }
};

NumberTerminal::NumberTerminal(const NumberSet& set) {
  for (int k = 0; k < 2; ++k) {
    Side& side = sides_[k];
    side.set = k == 0 ? set : set.mirrored();
    const NumberSet& s = side.set;
    side.possible = !s.has_hi || s.hi > 0 || (s.hi == 0 && !s.hi_open);
    const bool bounded_below = s.has_lo && (s.lo > 0 || (s.lo == 0 && s.lo_open));
    const bool grid = s.step != 0 || s.fraction != NumberSet::Fraction::kAny;
    side.free = !bounded_below && !s.has_hi && !grid && !s.plain;
    side.large = !s.plain && !s.has_hi && (!s.has_lo || s.lo <= kLarge) && (s.step == 0 || s.step == kUnit) &&
                 s.fraction != NumberSet::Fraction::kNonZero;
    side.cap = std::max({s.has_lo ? s.lo : 0, s.has_hi ? s.hi : 0, s.step, Int128{0}}) / kUnit + 2;
  }
}

const NumberTerminal::Side& NumberTerminal::side(const Parts& parts) const { return sides_[parts.negative ? 1 : 0]; }

// Integer parts above all bounds are alike but for their remainder.
void NumberTerminal::fold(Parts& parts) const {
  const Side& s = side(parts);
  if (parts.value <= s.cap) return;
  if (s.set.step <= 1) {
    parts.value = s.cap + 1;
    return;
  }
  // Remainders of integers by a step in units of 10^-12 repeat after `step` integers at the latest.
  const Int128 period = s.set.step % kUnit == 0 ? s.set.step / kUnit : s.set.step;
  parts.value = s.cap + 1 + (parts.value - s.cap - 1) % period;
}

bool NumberTerminal::feasible(const Parts& parts) const {
  const Side& s = side(parts);
  if (!s.possible) return false;
  if (parts.phase == kInteger || parts.phase == kZero) {
    if (s.free || (s.large && parts.value > 0)) return true;
    Int128 from = parts.value * kUnit, width = kUnit;
    if (parts.phase == kZero) return s.set.meets(from, from + width) || s.set.meets(0, 0);
    if (!s.set.has_hi) return true;  // more digits reach every size and every remainder
    while (true) {
      if (from > s.set.hi) return false;
      if (s.set.meets(from, from + width)) return true;
      from *= 10, width *= 10;
    }
  }
  if (parts.phase == kPoint || parts.phase == kFraction) {
    if (s.free) return true;
    const unsigned shown = std::min<unsigned>(parts.digits, kScale);
    const Int128 width = power_of_ten(kScale - shown), from = parts.value * width;
    if (parts.rest) {  // strictly between from and from + width
      if (s.set.step != 0 || s.set.fraction == NumberSet::Fraction::kZero) return false;
      return (!s.set.has_lo || s.set.lo <= from) && (!s.set.has_hi || s.set.hi > from);
    }
    return s.set.meets(from, from + width);
  }
  return true;
}

bool NumberTerminal::step_exponent(Parts parts, std::uint8_t byte, NodeState& next) const {
  const Side& s = side(parts);
  const bool digit = byte >= '0' && byte <= '9';
  if (s.free) {
    if (parts.phase == kE && (byte == '+' || byte == '-'))
      parts.phase = kSign;
    else if (digit)
      parts.phase = kExponent;
    else
      return false;
  } else if (parts.phase == kE) {
    if (byte != '+') return false;
    parts.phase = kSign;
    parts.value = 0;
  } else {
    if (!digit || (parts.phase == kSign && byte == '0')) return false;
    parts.value = parts.value * 10 + (byte - '0');
    // One digit must grow to 16 or more, and doubles end at 308.
    if (parts.value > 308) return false;
    parts.phase = kExponent;
  }
  next = parts.pack();
  return true;
}

bool NumberTerminal::step(NodeState state, std::uint8_t byte, NodeState& next) const {
  Parts parts = Parts::unpack(state);
  const bool digit = byte >= '0' && byte <= '9';
  if (parts.phase >= kE) return step_exponent(parts, byte, next);
  if ((byte == 'e' || byte == 'E') && parts.phase >= kZero && parts.phase != kPoint) {
    const Side& s = side(parts);
    const bool one_digit = parts.phase == kInteger
                               ? parts.value <= 9
                               : parts.value < 10 * power_of_ten(std::min<unsigned>(parts.digits, kScale));
    const bool large = s.large && one_digit && parts.value > 0 && parts.digits < kMostFraction;
    if (!s.free && !large) return false;
    parts.phase = kE;
    if (s.free) parts.value = 0, parts.digits = 0, parts.rest = false;
    next = parts.pack();
    return true;
  }
  switch (parts.phase) {
    case kStart:
      if (byte == '-') {
        parts.phase = kMinus, parts.negative = true;
        next = parts.pack();
        return side(parts).possible;
      }
      [[fallthrough]];
    case kMinus:
      if (!digit) return false;
      parts.phase = byte == '0' ? kZero : kInteger;
      parts.value = byte - '0';
      break;
    case kZero:
    case kInteger:
      if (byte == '.' && !side(parts).set.plain) {
        parts.phase = kPoint;
        break;
      }
      if (!digit || parts.phase == kZero) return false;
      parts.value = parts.value * 10 + (byte - '0');
      fold(parts);
      break;
    default:
      if (!digit) return false;
      parts.phase = kFraction;
      if (side(parts).free) break;
      if (parts.digits < static_cast<unsigned>(kScale))
        parts.value = parts.value * 10 + (byte - '0');
      else if (byte != '0')
        parts.rest = true;
      parts.digits = std::min(parts.digits + 1, kMostFraction);
      break;
  }
  if (!feasible(parts)) return false;
  next = parts.pack();
  return true;
}

void NumberTerminal::next_bytes(NodeState, ByteSet& set) const {
  for (const char c : {'0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '-', '+', '.', 'e', 'E'})
    set[static_cast<std::uint8_t>(c) / 64] |= std::uint64_t{1} << (c % 64);
}

bool NumberTerminal::accepts(NodeState state) const {
  const Parts parts = Parts::unpack(state);
  const Side& s = side(parts);
  if (parts.phase == kExponent) return s.free || parts.value >= 16;
  if (parts.phase != kZero && parts.phase != kInteger && parts.phase != kFraction) return false;
  if (s.free) return true;
  const unsigned shown = std::min<unsigned>(parts.digits, kScale);
  const Int128 value = parts.value * power_of_ten(parts.phase == kFraction ? kScale - shown : kScale);
  if (parts.rest) return feasible(parts);
  return s.set.contains(value);
}

}  // namespace kinglet::grammar
