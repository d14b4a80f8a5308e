// Sixteen f32 lanes in plain C++: the reference that every instruction set equals bit for bit. Only kernels include
// this.
#pragma once

#include <cstdint>
#include <cstring>

#define KINGLET_INLINE static inline __attribute__((always_inline))
#define KINGLET_EACH_LANE for (int i = 0; i < 16; ++i)

namespace kinglet::isa_scalar {

constexpr int kMaxAccumulators = 2;  ///< register tile of a kernel, in 16-lane vectors
constexpr int kMaxRows = 2;

struct V {
  float v[16];
};
struct M {
  bool m[16];
};

KINGLET_INLINE std::uint32_t bits_of(float x) {
  std::uint32_t u;
  std::memcpy(&u, &x, 4);
  return u;
}
KINGLET_INLINE float float_of(std::uint32_t u) {
  float x;
  std::memcpy(&x, &u, 4);
  return x;
}

KINGLET_INLINE V set1(float x) {
  V r;
  KINGLET_EACH_LANE r.v[i] = x;
  return r;
}
KINGLET_INLINE V zero() { return set1(0.0f); }
KINGLET_INLINE V load(const float* p) {
  V r;
  std::memcpy(r.v, p, sizeof r.v);
  return r;
}
KINGLET_INLINE void store(float* p, V a) { std::memcpy(p, a.v, sizeof a.v); }
KINGLET_INLINE V load_n(const float* p, int n) {
  V r = zero();
  std::memcpy(r.v, p, static_cast<std::size_t>(n) * 4);
  return r;
}
KINGLET_INLINE void store_n(float* p, V a, int n) { std::memcpy(p, a.v, static_cast<std::size_t>(n) * 4); }

#define KINGLET_BINARY(name, expression)   \
  KINGLET_INLINE V name(V a, V b) {        \
    V r;                                   \
    KINGLET_EACH_LANE r.v[i] = expression; \
    return r;                              \
  }
KINGLET_BINARY(add, a.v[i] + b.v[i])
KINGLET_BINARY(sub, a.v[i] - b.v[i])
KINGLET_BINARY(mul, a.v[i] * b.v[i])
KINGLET_BINARY(div, a.v[i] / b.v[i])
KINGLET_BINARY(vmin, a.v[i] < b.v[i] ? a.v[i] : b.v[i])
KINGLET_BINARY(vmax, a.v[i] > b.v[i] ? a.v[i] : b.v[i])
#undef KINGLET_BINARY
KINGLET_INLINE V fma(V a, V b, V c) {
  V r;
  KINGLET_EACH_LANE r.v[i] = __builtin_fmaf(a.v[i], b.v[i], c.v[i]);
  return r;
}
KINGLET_INLINE V vabs(V a) {
  KINGLET_EACH_LANE a.v[i] = __builtin_fabsf(a.v[i]);
  return a;
}
KINGLET_INLINE V copy_sign(V magnitude, V sign) {
  KINGLET_EACH_LANE magnitude.v[i] = __builtin_copysignf(magnitude.v[i], sign.v[i]);
  return magnitude;
}
KINGLET_INLINE M less(V a, V b) {
  M r;
  KINGLET_EACH_LANE r.m[i] = a.v[i] < b.v[i];
  return r;
}
KINGLET_INLINE V select(M m, V yes, V no) {
  KINGLET_EACH_LANE no.v[i] = m.m[i] ? yes.v[i] : no.v[i];
  return no;
}
/// Lanes [begin, end).
KINGLET_INLINE M lane_range(int begin, int end) {
  M r;
  KINGLET_EACH_LANE r.m[i] = i >= begin && i < end;
  return r;
}
/// p times two to the integer in t's low mantissa bits.
KINGLET_INLINE V scale_exponent(V p, V t) {
  KINGLET_EACH_LANE p.v[i] = float_of(bits_of(p.v[i]) + (bits_of(t.v[i]) << 23));
  return p;
}
KINGLET_INLINE float sum(V a) {
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) a.v[i] = a.v[i] + a.v[i + half];
  return a.v[0];
}
KINGLET_INLINE float maximum(V a) {
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) a.v[i] = a.v[i] > a.v[i + half] ? a.v[i] : a.v[i + half];
  return a.v[0];
}
KINGLET_INLINE V swap_pairs(V a) {
  V r;
  KINGLET_EACH_LANE r.v[i] = a.v[i ^ 1];
  return r;
}
/// p[0], p[0], p[1], p[1], … p[7], p[7].
KINGLET_INLINE V load_twice(const float* p) {
  V r;
  KINGLET_EACH_LANE r.v[i] = p[i / 2];
  return r;
}
/// Negates the even lanes.
KINGLET_INLINE V negate_even(V a) {
  for (int i = 0; i < 16; i += 2) a.v[i] = -a.v[i];
  return a;
}

KINGLET_INLINE float half_to_float(std::uint16_t h) {
  const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000u) << 16;
  std::uint32_t x = static_cast<std::uint32_t>(h & 0x7fffu) << 13;
  const std::uint32_t exponent = x & 0x0f800000u;
  x += 112u << 23;
  if (exponent == 0x0f800000u) {
    x += 112u << 23;
    if (x & 0x007fffffu) x |= 0x00400000u;
  } else if (exponent == 0) {
    x = bits_of(float_of(x + (1u << 23)) - float_of(113u << 23));
  }
  return float_of(x | sign);
}
/// Nearest even, as the instructions round.
KINGLET_INLINE std::uint16_t float_to_half(float f) {
  const std::uint32_t u = bits_of(f), sign = (u >> 16) & 0x8000u, x = u & 0x7fffffffu;
  if (x > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u | ((x >> 13) & 0x3ffu));
  if (x >= 0x47800000u) return static_cast<std::uint16_t>(sign | 0x7c00u);
  if (x < 0x38800000u) return static_cast<std::uint16_t>(sign | (bits_of(float_of(x) + 0.5f) - 0x3f000000u));
  return static_cast<std::uint16_t>(sign | ((x + 0xfffu + ((x >> 13) & 1u) - (112u << 23)) >> 13));
}

KINGLET_INLINE V load_f16(const std::uint16_t* p) {
  V r;
  KINGLET_EACH_LANE r.v[i] = half_to_float(p[i]);
  return r;
}
KINGLET_INLINE V load_bf16(const std::uint16_t* p) {
  V r;
  KINGLET_EACH_LANE r.v[i] = float_of(static_cast<std::uint32_t>(p[i]) << 16);
  return r;
}
KINGLET_INLINE V load_i8(const std::int8_t* p) {
  V r;
  KINGLET_EACH_LANE r.v[i] = static_cast<float>(p[i]);
  return r;
}
/// Four bits each: 16 values of a row, of which the low nibbles are one and the high ones the next; and 16 values in 8
/// bytes, the low nibbles before the high ones.
KINGLET_INLINE V load_u4_row(const std::uint8_t* p, int high) {
  V r;
  KINGLET_EACH_LANE r.v[i] = static_cast<float>(high != 0 ? p[i] >> 4 : p[i] & 15);
  return r;
}
KINGLET_INLINE V load_u4(const std::uint8_t* p) {
  V r;
  KINGLET_EACH_LANE r.v[i] = static_cast<float>(i < 8 ? p[i] & 15 : p[i - 8] >> 4);
  return r;
}
KINGLET_INLINE void store_f16(std::uint16_t* p, V a) { KINGLET_EACH_LANE p[i] = float_to_half(a.v[i]); }
KINGLET_INLINE void store_bf16(std::uint16_t* p, V a) {
  KINGLET_EACH_LANE {
    const std::uint32_t u = bits_of(a.v[i]);
    p[i] = static_cast<std::uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? (u >> 16) | 0x40u
                                                                      : (u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
  }
}
/// Lanes already hold integers of [-127, 127] (anything else gives some byte, never undefined behaviour).
KINGLET_INLINE void store_i8(std::int8_t* p, V a) {
  KINGLET_EACH_LANE {
    const float x = a.v[i];
    p[i] = static_cast<std::int8_t>(x >= -127.0f && x <= 127.0f ? static_cast<int>(x) : 0);
  }
}
KINGLET_INLINE void prefetch(const void* p) { __builtin_prefetch(p, 0, 3); }

}  // namespace kinglet::isa_scalar
