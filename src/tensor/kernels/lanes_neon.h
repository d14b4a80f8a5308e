// Sixteen f32 lanes as four NEON registers. Only *_neon.cpp include this.
#pragma once

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

#define KINGLET_INLINE static inline __attribute__((always_inline))

namespace kinglet::isa_neon {

constexpr int kMaxAccumulators = 6;  ///< four of 32 registers each
constexpr int kMaxRows = 6;

struct V {
  float32x4_t v[4];
};
struct M {
  uint32x4_t v[4];
};
#define KINGLET_EACH for (int i = 0; i < 4; ++i)

KINGLET_INLINE V set1(float x) {
  V r;
  KINGLET_EACH r.v[i] = vdupq_n_f32(x);
  return r;
}
KINGLET_INLINE V zero() { return set1(0.0f); }
KINGLET_INLINE V load(const float* p) {
  V r;
  KINGLET_EACH r.v[i] = vld1q_f32(p + 4 * i);
  return r;
}
KINGLET_INLINE void store(float* p, V x) { KINGLET_EACH vst1q_f32(p + 4 * i, x.v[i]); }
KINGLET_INLINE V load_n(const float* p, int n) {
  float t[16] = {};
  std::memcpy(t, p, static_cast<std::size_t>(n) * 4);
  return load(t);
}
KINGLET_INLINE void store_n(float* p, V x, int n) {
  float t[16];
  store(t, x);
  std::memcpy(p, t, static_cast<std::size_t>(n) * 4);
}
#define KINGLET_BINARY(name, expression) \
  KINGLET_INLINE V name(V a, V b) {      \
    V r;                                 \
    KINGLET_EACH r.v[i] = expression;    \
    return r;                            \
  }
KINGLET_BINARY(add, vaddq_f32(a.v[i], b.v[i]))
KINGLET_BINARY(sub, vsubq_f32(a.v[i], b.v[i]))
KINGLET_BINARY(mul, vmulq_f32(a.v[i], b.v[i]))
KINGLET_BINARY(div, vdivq_f32(a.v[i], b.v[i]))
// By comparison: fmin and fmax answer NaN otherwise than x86 does.
KINGLET_BINARY(vmin, vbslq_f32(vcltq_f32(a.v[i], b.v[i]), a.v[i], b.v[i]))
KINGLET_BINARY(vmax, vbslq_f32(vcgtq_f32(a.v[i], b.v[i]), a.v[i], b.v[i]))
#undef KINGLET_BINARY
KINGLET_INLINE V fma(V a, V b, V c) {
  V r;
  KINGLET_EACH r.v[i] = vfmaq_f32(c.v[i], a.v[i], b.v[i]);
  return r;
}
KINGLET_INLINE V vabs(V a) {
  KINGLET_EACH a.v[i] = vabsq_f32(a.v[i]);
  return a;
}
KINGLET_INLINE V copy_sign(V magnitude, V sign) {
  KINGLET_EACH magnitude.v[i] = vbslq_f32(vdupq_n_u32(0x80000000u), sign.v[i], magnitude.v[i]);
  return magnitude;
}
KINGLET_INLINE M less(V a, V b) {
  M r;
  KINGLET_EACH r.v[i] = vcltq_f32(a.v[i], b.v[i]);
  return r;
}
KINGLET_INLINE V select(M m, V yes, V no) {
  KINGLET_EACH no.v[i] = vbslq_f32(m.v[i], yes.v[i], no.v[i]);
  return no;
}
KINGLET_INLINE M lane_range(int begin, int end) {
  const std::int32_t first[4] = {0, 1, 2, 3};
  M r;
  KINGLET_EACH {
    const int32x4_t lane = vaddq_s32(vld1q_s32(first), vdupq_n_s32(4 * i));
    r.v[i] = vandq_u32(vcgeq_s32(lane, vdupq_n_s32(begin)), vcltq_s32(lane, vdupq_n_s32(end)));
  }
  return r;
}
KINGLET_INLINE V scale_exponent(V p, V t) {
  KINGLET_EACH p.v[i] =
      vreinterpretq_f32_u32(vaddq_u32(vreinterpretq_u32_f32(p.v[i]), vshlq_n_u32(vreinterpretq_u32_f32(t.v[i]), 23)));
  return p;
}
KINGLET_INLINE float sum(V a) {
  const float32x4_t a4 = vaddq_f32(vaddq_f32(a.v[0], a.v[2]), vaddq_f32(a.v[1], a.v[3]));
  const float32x2_t a2 = vadd_f32(vget_low_f32(a4), vget_high_f32(a4));
  return vget_lane_f32(a2, 0) + vget_lane_f32(a2, 1);
}
KINGLET_INLINE float larger(float a, float b) { return a > b ? a : b; }
KINGLET_INLINE float maximum(V a) {
  float t[16];
  store(t, a);
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) t[i] = larger(t[i], t[i + half]);
  return t[0];
}
KINGLET_INLINE V swap_pairs(V a) {
  KINGLET_EACH a.v[i] = vrev64q_f32(a.v[i]);
  return a;
}
KINGLET_INLINE V load_twice(const float* p) {
  const float32x4_t a = vld1q_f32(p), b = vld1q_f32(p + 4);
  return {{vzip1q_f32(a, a), vzip2q_f32(a, a), vzip1q_f32(b, b), vzip2q_f32(b, b)}};
}
KINGLET_INLINE V negate_even(V a) {
  const std::uint32_t even[4] = {0x80000000u, 0, 0x80000000u, 0};
  KINGLET_EACH a.v[i] = vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(a.v[i]), vld1q_u32(even)));
  return a;
}

KINGLET_INLINE V load_f16(const std::uint16_t* p) {
  V r;
  KINGLET_EACH r.v[i] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i)));
  return r;
}
KINGLET_INLINE V load_bf16(const std::uint16_t* p) {
  V r;
  KINGLET_EACH r.v[i] = vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16));
  return r;
}
KINGLET_INLINE V load_i8(const std::int8_t* p) {
  const int8x16_t x = vld1q_s8(p);
  const int16x8_t low = vmovl_s8(vget_low_s8(x)), high = vmovl_s8(vget_high_s8(x));
  return {{vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))),
           vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(high)))}};
}
/// Four bits each: 16 values of a row, of which the low nibbles are one and the high ones the next; and 16 values in 8
/// bytes, the low nibbles before the high ones.
KINGLET_INLINE V widen_u8(uint8x16_t x) {
  const uint16x8_t low = vmovl_u8(vget_low_u8(x)), high = vmovl_u8(vget_high_u8(x));
  return {{vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))), vcvtq_f32_u32(vmovl_u16(vget_high_u16(low))),
           vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))), vcvtq_f32_u32(vmovl_u16(vget_high_u16(high)))}};
}
KINGLET_INLINE V load_u4_row(const std::uint8_t* p, int high) {
  const uint8x16_t x = vld1q_u8(p);
  return widen_u8(high != 0 ? vshrq_n_u8(x, 4) : vandq_u8(x, vdupq_n_u8(15)));
}
KINGLET_INLINE V load_u4(const std::uint8_t* p) {
  const uint8x8_t x = vld1_u8(p);
  return widen_u8(vcombine_u8(vand_u8(x, vdup_n_u8(15)), vshr_n_u8(x, 4)));
}
KINGLET_INLINE void store_f16(std::uint16_t* p, V a) {
  KINGLET_EACH vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(a.v[i])));
}
KINGLET_INLINE void store_bf16(std::uint16_t* p, V a) {
  KINGLET_EACH {
    const uint32x4_t u = vreinterpretq_u32_f32(a.v[i]);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(vaddq_u32(u, vdupq_n_u32(0x7fff)), odd);
    const uint32x4_t quiet = vorrq_u32(u, vdupq_n_u32(0x400000));
    const uint32x4_t number = vceqq_f32(a.v[i], a.v[i]);
    vst1_u16(p + 4 * i, vshrn_n_u32(vbslq_u32(number, rounded, quiet), 16));
  }
}
KINGLET_INLINE void store_i8(std::int8_t* p, V a) {
  int16x4_t words[4];
  KINGLET_EACH {
    const uint32x4_t fits = vcleq_f32(vabsq_f32(a.v[i]), vdupq_n_f32(127.0f));
    words[i] = vmovn_s32(vcvtq_s32_f32(vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(a.v[i]), fits))));
  }
  vst1_s8(p, vmovn_s16(vcombine_s16(words[0], words[1])));
  vst1_s8(p + 8, vmovn_s16(vcombine_s16(words[2], words[3])));
}
KINGLET_INLINE void prefetch(const void* p) { __builtin_prefetch(p, 0, 3); }
#undef KINGLET_EACH

}  // namespace kinglet::isa_neon
