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
  static constexpr int kBytes = 4;
  static constexpr bool kScaled = false;
  using Element = float;
  KINGLET_INLINE V load(const std::byte* p, int i) { return KINGLET_ISA::load(reinterpret_cast<const float*>(p) + i); }
  KINGLET_INLINE void put(Element* p, V x) { store(p, bounded(x, 0x1.fffffep127f)); }
};
struct F16 {
  static constexpr int kBytes = 2;
  static constexpr bool kScaled = false;
  using Element = std::uint16_t;
  KINGLET_INLINE V load(const std::byte* p, int i) { return load_f16(reinterpret_cast<const Element*>(p) + i); }
  KINGLET_INLINE void put(Element* p, V x) { store_f16(p, bounded(x, 65504.0f)); }
};
struct Bf16 {
  static constexpr int kBytes = 2;
  static constexpr bool kScaled = false;
  using Element = std::uint16_t;
  KINGLET_INLINE V load(const std::byte* p, int i) { return load_bf16(reinterpret_cast<const Element*>(p) + i); }
  KINGLET_INLINE void put(Element* p, V x) { store_bf16(p, bounded(x, 0x1.fep127f)); }
};
struct Int8 {
  static constexpr int kBytes = 1;
  static constexpr bool kScaled = true;
  using Element = std::int8_t;
  KINGLET_INLINE V load(const std::byte* p, int i) { return load_i8(reinterpret_cast<const Element*>(p) + i); }
  KINGLET_INLINE void put(Element* p, V x) { store_i8(p, x); }
};

/// The scales behind `length` rows of 16 values.
template <typename S>
KINGLET_INLINE const float* scales_of(const std::byte* group, int length) {
  const std::size_t bytes = (static_cast<std::size_t>(length) * 16 * S::kBytes + 63) / 64 * 64;
  return reinterpret_cast<const float*>(group + bytes);
}

/// The largest absolute value / 127, and what to multiply by.
KINGLET_INLINE float int8_scale(const float* x, int n) {
  V highest = zero();
  for (int i = 0; i < n; i += 16) highest = vmax(vabs(load_n(x + i, n - i < 16 ? n - i : 16)), highest);
  return maximum(vmin(highest, set1(0x1.fffffep127f))) / 127.0f;
}

/// Calls put(i, count, values) for 16 packed values after another.
template <typename S, typename Put>
KINGLET_INLINE void pack(const float* x, int n, std::byte* scale_at, int lane, Put put) {
  float inverse = 1.0f;
  if constexpr (S::kScaled) {
    const float scale = int8_scale(x, n);
    std::memcpy(scale_at + 4 * lane, &scale, 4);
    inverse = scale > 0 ? 1.0f / scale : 0.0f;
  }
  const V factor = set1(inverse), magic = set1(12582912.0f);
  for (int i = 0; i < n; i += 16) {
    const int count = n - i < 16 ? n - i : 16;
    V v = load_n(x + i, count);
    // Adding and taking away 1.5 * 2^23 rounds to the nearest integer, ties to even.
    if constexpr (S::kScaled) v = sub(add(mul(v, factor), magic), magic);
    typename S::Element packed[16];
    S::put(packed, v);
    put(i, count, packed);
  }
}

template <typename S>
void store_key(const float* key, int key_length, std::byte* group, int lane) {
  auto* target = reinterpret_cast<typename S::Element*>(group) + lane;
  auto* scales = const_cast<std::byte*>(reinterpret_cast<const std::byte*>(scales_of<S>(group, key_length)));
  pack<S>(key, key_length, scales, lane, [target](int i, int count, const typename S::Element* packed) {
    for (int j = 0; j < count; ++j) target[(i + j) * 16] = packed[j];
  });
}

template <typename S>
void store_value(const float* value, int value_length, std::byte* group, int lane) {
  const int stride = (value_length + 15) / 16 * 16;
  auto* target = reinterpret_cast<typename S::Element*>(group) + lane * stride;
  auto* scales = const_cast<std::byte*>(reinterpret_cast<const std::byte*>(scales_of<S>(group, stride)));
  pack<S>(value, value_length, scales, lane, [target](int i, int, const typename S::Element* packed) {
    std::memcpy(target + i, packed, 16 * sizeof(packed[0]));
  });
}

}  // namespace
}  // namespace kinglet::KINGLET_ISA
