// How keys and values lie in their groups: one struct a storage with its load, and the stores (see attention-inl.h).
#pragma once

#include <cstddef>
#include <cstring>

#include "tensor/kernels/attention.h"

namespace kinglet::KINGLET_ISA {
namespace {

/// Nothing stored is infinite: 0 times it, for a row that does not see the position, would be NaN. NaN stays.
KINGLET_INLINE V bounded(V x, float limit) { return vmax(set1(-limit), vmin(set1(limit), x)); }

struct F32 {
  static constexpr int kBits = 32;
  static constexpr bool kScaled = false, kMixed = false;
  using Element = float;
  KINGLET_INLINE V load(const std::byte* p, int i) { return KINGLET_ISA::load(reinterpret_cast<const float*>(p) + i); }
  KINGLET_INLINE V load_value(const std::byte* p, int i) { return load(p, i); }
  KINGLET_INLINE void put(Element* p, V x) { store(p, bounded(x, 0x1.fffffep127f)); }
};
struct F16 {
  static constexpr int kBits = 16;
  static constexpr bool kScaled = false, kMixed = false;
  using Element = std::uint16_t;
  KINGLET_INLINE V load(const std::byte* p, int i) { return load_f16(reinterpret_cast<const Element*>(p) + i); }
  KINGLET_INLINE V load_value(const std::byte* p, int i) { return load(p, i); }
  KINGLET_INLINE void put(Element* p, V x) { store_f16(p, bounded(x, 65504.0f)); }
};
struct Bf16 {
  static constexpr int kBits = 16;
  static constexpr bool kScaled = false, kMixed = false;
  using Element = std::uint16_t;
  KINGLET_INLINE V load(const std::byte* p, int i) { return load_bf16(reinterpret_cast<const Element*>(p) + i); }
  KINGLET_INLINE V load_value(const std::byte* p, int i) { return load(p, i); }
  KINGLET_INLINE void put(Element* p, V x) { store_bf16(p, bounded(x, 0x1.fep127f)); }
};
struct Int8 {
  static constexpr int kBits = 8;
  static constexpr bool kScaled = true, kMixed = false;
  using Element = std::int8_t;
  KINGLET_INLINE V load(const std::byte* p, int i) { return load_i8(reinterpret_cast<const Element*>(p) + i); }
  KINGLET_INLINE V load_value(const std::byte* p, int i) { return load(p, i); }
  KINGLET_INLINE void put(Element* p, V x) { store_i8(p, x); }
};

/// 16 levels around 0: (code - 7.5) * scale.
struct Int4 {
  static constexpr int kBits = 4;
  static constexpr bool kScaled = true, kMixed = true;
  using Element = std::int8_t;  ///< one code, before two share a byte
  KINGLET_INLINE V load(const std::byte* p, int i) {
    const auto* row = reinterpret_cast<const std::uint8_t*>(p) + i / 32 * 16;
    return sub(load_u4_row(row, i / 16 % 2), set1(7.5f));
  }
  KINGLET_INLINE V load_value(const std::byte* p, int i) {
    return sub(load_u4(reinterpret_cast<const std::uint8_t*>(p) + i / 2), set1(7.5f));
  }
  KINGLET_INLINE void put(Element* p, V x) { store_i8(p, x); }
};

/// The scales behind `length` rows of 16 values.
template <typename S>
KINGLET_INLINE const float* scales_of(const std::byte* group, int length) {
  const auto even = static_cast<std::size_t>(length + (S::kBits < 8 ? length % 2 : 0));
  const std::size_t bytes = (even * 16 * S::kBits / 8 + 63) / 64 * 64;
  return reinterpret_cast<const float*>(group + bytes);
}

/// The largest absolute value / 127, and what to multiply by.
KINGLET_INLINE float int8_scale(const float* x, int n) {
  V highest = zero();
  for (int i = 0; i < n; i += 16) highest = vmax(vabs(load_n(x + i, n - i < 16 ? n - i : 16)), highest);
  return maximum(vmin(highest, set1(0x1.fffffep127f))) / 127.0f;
}

/// x / scale + 7.5 to the nearest whole number from 0 to 15; `inverse`: 1 / scale, or 0.
KINGLET_INLINE V int4_code(V x, V inverse) {
  const V magic = set1(12582912.0f);
  const V code = sub(add(fma(x, inverse, set1(7.5f)), magic), magic);
  return vmax(zero(), vmin(set1(15.0f), code));
}

/// The scale with the least squared error of some below the one that reaches the largest value.
KINGLET_INLINE float int4_scale(const float* x, int n) {
  const float widest = int8_scale(x, n) * (127.0f / 7.5f);
  float best = widest, least = __builtin_inff();
  for (int step = 0; step < 8; ++step) {
    const float scale = widest * (1.0f - 0.06f * static_cast<float>(step));
    const V inverse = set1(scale > 0 ? 1.0f / scale : 0.0f), unit = set1(-scale);
    V error = zero();
    for (int i = 0; i < n; i += 16) {
      const V v = load_n(x + i, n - i < 16 ? n - i : 16);
      V off = fma(sub(int4_code(v, inverse), set1(7.5f)), unit, v);
      if (n - i < 16) off = select(lane_range(0, n - i), off, zero());
      error = fma(off, off, error);
    }
    const float total = sum(error);
    if (total < least) least = total, best = scale;
  }
  return best;
}

/// Calls put(i, count, values) for 16 packed values after another.
template <typename S, typename Put>
KINGLET_INLINE void pack(const float* x, int n, std::byte* scale_at, int lane, Put put) {
  float inverse = 1.0f;
  if constexpr (S::kScaled) {
    const float scale = S::kMixed ? int4_scale(x, n) : int8_scale(x, n);
    std::memcpy(scale_at + 4 * lane, &scale, 4);
    inverse = scale > 0 ? 1.0f / scale : 0.0f;
  }
  const V factor = set1(inverse), magic = set1(12582912.0f);
  for (int i = 0; i < n; i += 16) {
    const int count = n - i < 16 ? n - i : 16;
    V v = load_n(x + i, count);
    // Adding and taking away 1.5 * 2^23 rounds to the nearest integer, ties to even.
    if constexpr (S::kMixed)
      v = int4_code(v, factor);
    else if constexpr (S::kScaled)
      v = sub(add(mul(v, factor), magic), magic);
    typename S::Element packed[16];
    S::put(packed, v);
    put(i, count, packed);
  }
}

/// An Int4 key's bytes hold two dimensions, so that no two positions share one.
KINGLET_INLINE void put_u4(std::byte* byte, bool high, std::int8_t code) {
  const auto kept = static_cast<unsigned>(*byte) & (high ? 0x0fu : 0xf0u);
  *byte = static_cast<std::byte>(kept | static_cast<unsigned>(code) << (high ? 4 : 0));
}

template <typename S>
void store_key(const float* key, int key_length, std::byte* group, int lane) {
  auto* target = reinterpret_cast<typename S::Element*>(group) + lane;
  auto* scales = const_cast<std::byte*>(reinterpret_cast<const std::byte*>(scales_of<S>(group, key_length)));
  pack<S>(key, key_length, scales, lane, [=](int i, int count, const typename S::Element* packed) {
    for (int j = 0; j < count; ++j) {
      if constexpr (S::kBits < 8)
        put_u4(group + (i + j) / 2 * 16 + lane, (i + j) % 2 == 1, packed[j]);
      else
        target[(i + j) * 16] = packed[j];
    }
  });
}

template <typename S>
void store_value(const float* value, int value_length, std::byte* group, int lane) {
  const int stride = (value_length + 15) / 16 * 16;
  auto* target = reinterpret_cast<typename S::Element*>(group) + lane * stride;
  auto* scales = const_cast<std::byte*>(reinterpret_cast<const std::byte*>(scales_of<S>(group, stride)));
  pack<S>(value, value_length, scales, lane, [=](int i, int, const typename S::Element* packed) {
    if constexpr (S::kBits < 8) {
      std::byte* bytes = group + (lane * stride + i) / 2;
      for (int j = 0; j < 8; ++j) bytes[j] = static_cast<std::byte>(packed[j] | packed[j + 8] << 4);
    } else {
      std::memcpy(target + i, packed, 16 * sizeof(packed[0]));
    }
  });
}

}  // namespace
}  // namespace kinglet::KINGLET_ISA
