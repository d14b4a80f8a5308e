// Armv8.2 dot product: a quarter of a tile a vector (4 outputs x 4 inputs); sdot by element multiplies it by four
// activations.
#include <arm_neon.h>

#include "tensor/kernels/lookup.h"
#include "tensor/kernels/matmul_kernels.h"
#include "tensor/kernels/quantize_scalar-inl.h"

namespace kinglet {
namespace {

#include "tensor/kernels/matmul_driver-inl.h"

#define KINGLET_UNROLL _Pragma("clang loop unroll(full)")

constexpr int kPrefetchBytes = 2048;
constexpr int kQuarters = 4;

inline uint8x16_t line(const unsigned char* from) { return vld1q_u8(from); }

template <int Bit>
inline uint8x16_t fifth_bit(uint8x16_t bits) {
  uint8x16_t moved = bits;
  if constexpr (Bit < 4) moved = vshlq_n_u8(bits, 4 - Bit);
  if constexpr (Bit > 4) moved = vshrq_n_u8(bits, Bit - 4);
  return vandq_u8(moved, vdupq_n_u8(16));
}

template <int Pair>
inline uint8x16_t upper_bits(uint8x16_t bits) {
  uint8x16_t moved = bits;
  if constexpr (Pair < 2) moved = vshlq_n_u8(bits, 4 - 2 * Pair);
  if constexpr (Pair > 2) moved = vshrq_n_u8(bits, 2 * Pair - 4);
  return vandq_u8(moved, vdupq_n_u8(48));
}

// Moves the bits from position `From` of each byte to position `To`.
template <int From, int To>
inline uint8x16_t move_bits(uint8x16_t bytes) {
  if constexpr (From > To) return vshrq_n_u8(bytes, From - To);
  if constexpr (From < To) return vshlq_n_u8(bytes, To - From);
  return bytes;
}

// x of the quads 6 and 7 of a four-bit trellis, from the three lines' upper bits.
inline uint8x16_t last_quads(const unsigned char* at) {
  const uint8x16_t low = vorrq_u8(vshrq_n_u8(line(at), 6), vshlq_n_u8(vshrq_n_u8(line(at + 64), 6), 2));
  return vorrq_u8(low, vshlq_n_u8(vshrq_n_u8(line(at + 128), 6), 4));
}

// Levels of one quad of a trellis. `choices`: as choices_before of matmul_avx512.cpp for the quads 0 to 3, as stored
// for the others.
template <TileFormat F, int Quad>
inline int8x16_t trellis_quad(const unsigned char* block, const int8x16x4_t& book, uint8x16_t choices) {
  constexpr int kMemory = F.memory(), kX = kMemory + 1;
  const uint8x16_t field = move_bits<(Quad < 4 ? Quad : Quad - kMemory), 0>(choices);
  const uint8x16_t mask = vdupq_n_u8((2 << kMemory) - 1);
  const unsigned char* at = block + 64;
  uint8x16_t index = field;
  if constexpr (F.width == 2) index = vbslq_u8(mask, field, move_bits<trellis_x_bit(Quad), kX>(line(at)));
  if constexpr (F.width == 3) index = vbslq_u8(mask, field, move_bits<Quad % 4 * 2, kX>(line(at + 64 * (Quad / 4))));
  if constexpr (F.width == 4) {
    const uint8x16_t x = Quad < 6 ? line(at + 64 * (Quad / 2)) : last_quads(at);
    index = vbslq_u8(mask, field, move_bits<Quad % 2 * 3, kX>(x));
  }
  if constexpr (F.width == 5) index = vbslq_u8(mask, field, move_bits<Quad % 2 * 4, kX>(line(at + 64 * (Quad / 2))));
  return vqtbl4q_s8(book, vandq_u8(index, vdupq_n_u8(63)));
}

template <TileFormat F>
inline void unpack_trellis(const unsigned char* block, const int8x16x4_t& book, int8x16_t (&codes)[8]) {
  const uint8x16_t choices = line(block);
  uint8x16_t before = choices;
  if constexpr (F.memory() > 0) {
    const uint8x16_t earlier = vreinterpretq_u8_u32(vshlq_n_u32(vreinterpretq_u32_u8(choices), 8));
    before = vorrq_u8(vshlq_n_u8(choices, F.memory()), vshrq_n_u8(earlier, 8 - F.memory()));
  }
  codes[0] = trellis_quad<F, 0>(block, book, before);
  codes[1] = trellis_quad<F, 1>(block, book, before);
  codes[2] = trellis_quad<F, 2>(block, book, before);
  codes[3] = trellis_quad<F, 3>(block, book, before);
  codes[4] = trellis_quad<F, 4>(block, book, choices);
  codes[5] = trellis_quad<F, 5>(block, book, choices);
  codes[6] = trellis_quad<F, 6>(block, book, choices);
  codes[7] = trellis_quad<F, 7>(block, book, choices);
}

// The 2- and 3-bit codes.
template <TileFormat F>
inline void unpack_narrow(const unsigned char* block, uint8x16_t (&stored)[8]) {
  const uint8x16_t low = vdupq_n_u8(3);
  KINGLET_UNROLL for (int i = 0; i < 2; ++i) {
    const uint8x16_t four = line(block + 64 * i);
    stored[4 * i] = vandq_u8(four, low);
    stored[4 * i + 1] = vandq_u8(vshrq_n_u8(four, 2), low);
    stored[4 * i + 2] = vandq_u8(vshrq_n_u8(four, 4), low);
    stored[4 * i + 3] = vshrq_n_u8(four, 6);
  }
  if constexpr (F.width == 3) {
    const uint8x16_t bits = line(block + 128), mask = vdupq_n_u8(4);
    stored[0] = vorrq_u8(stored[0], vandq_u8(move_bits<0, 2>(bits), mask));
    stored[1] = vorrq_u8(stored[1], vandq_u8(move_bits<1, 2>(bits), mask));
    stored[2] = vorrq_u8(stored[2], vandq_u8(bits, mask));
    stored[3] = vorrq_u8(stored[3], vandq_u8(move_bits<3, 2>(bits), mask));
    stored[4] = vorrq_u8(stored[4], vandq_u8(move_bits<4, 2>(bits), mask));
    stored[5] = vorrq_u8(stored[5], vandq_u8(move_bits<5, 2>(bits), mask));
    stored[6] = vorrq_u8(stored[6], vandq_u8(move_bits<6, 2>(bits), mask));
    stored[7] = vorrq_u8(stored[7], vandq_u8(move_bits<7, 2>(bits), mask));
  }
}

// Stored code of one quad from bit planes.
template <TileFormat F, int Quad, int Plane = 0>
inline uint8x16_t plane_quad(const unsigned char* block) {
  const uint8x16_t bits = vandq_u8(move_bits<Quad, Plane>(line(block + 64 * Plane)), vdupq_n_u8(1 << Plane));
  if constexpr (Plane + 1 == F.width)
    return bits;
  else
    return vorrq_u8(bits, plane_quad<F, Quad, Plane + 1>(block));
}

template <TileFormat F, int Quad = 0>
inline void unpack_planes(const unsigned char* block, uint8x16_t (&stored)[8]) {
  stored[Quad] = plane_quad<F, Quad>(block);
  if constexpr (Quad < 7) unpack_planes<F, Quad + 1>(block, stored);
}

// Codes of a quarter of a block, quad by quad: as stored, twice that in odd formats, or signed where 8 bits are needed.
template <TileFormat F>
inline void unpack_codes(const unsigned char* block, const int8x16x4_t& book, int8x16_t (&codes)[8]) {
  if constexpr (F.trellis && F.width < 6) return unpack_trellis<F>(block, book, codes);
  uint8x16_t stored[8];
  if constexpr (F.width == 1 || F.planes) {
    unpack_planes<F>(block, stored);
  } else if constexpr (F.width <= 3) {
    unpack_narrow<F>(block, stored);
  } else if constexpr (F.width == 8) {
    KINGLET_UNROLL for (int quad = 0; quad < 8; ++quad) stored[quad] =
        veorq_u8(line(block + 64 * quad), vdupq_n_u8(128));
  } else {
    KINGLET_UNROLL for (int i = 0; i < 4; ++i) {
      const uint8x16_t both = line(block + 64 * i);
      stored[2 * i] = vandq_u8(both, vdupq_n_u8(15));
      stored[2 * i + 1] = vshrq_n_u8(both, 4);
    }
  }
  if constexpr (F.width == 5) {
    const uint8x16_t bits = line(block + 256);
    stored[0] = vorrq_u8(stored[0], fifth_bit<0>(bits));
    stored[1] = vorrq_u8(stored[1], fifth_bit<1>(bits));
    stored[2] = vorrq_u8(stored[2], fifth_bit<2>(bits));
    stored[3] = vorrq_u8(stored[3], fifth_bit<3>(bits));
    stored[4] = vorrq_u8(stored[4], fifth_bit<4>(bits));
    stored[5] = vorrq_u8(stored[5], fifth_bit<5>(bits));
    stored[6] = vorrq_u8(stored[6], fifth_bit<6>(bits));
    stored[7] = vorrq_u8(stored[7], fifth_bit<7>(bits));
  }
  if constexpr (F.width == 6) {
    KINGLET_UNROLL for (int i = 0; i < 2; ++i) {
      const uint8x16_t bits = line(block + 256 + 64 * i);
      stored[4 * i] = vorrq_u8(stored[4 * i], upper_bits<0>(bits));
      stored[4 * i + 1] = vorrq_u8(stored[4 * i + 1], upper_bits<1>(bits));
      stored[4 * i + 2] = vorrq_u8(stored[4 * i + 2], upper_bits<2>(bits));
      stored[4 * i + 3] = vorrq_u8(stored[4 * i + 3], upper_bits<3>(bits));
    }
  }
  KINGLET_UNROLL for (int quad = 0; quad < 8; ++quad) {
    codes[quad] = F.trellis    ? vqtbl4q_s8(book, stored[quad])
                  : F.codebook ? vqtbl1q_s8(book.val[0], stored[quad])
                  : F.odd      ? vreinterpretq_s8_u8(vshlq_n_u8(stored[quad], 1))
                               : vreinterpretq_s8_u8(stored[quad]);
  }
}

inline float32x4_t halves(const unsigned char* from) { return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(from))); }

// Scales of quarter `quarter` of the lanes.
template <TileFormat F>
inline float32x4_t load_scale(const unsigned char* from, int quarter, float32x4_t unit) {
  from += quarter * 4 * F.scale_size();
  if constexpr (F.scales == ScaleForm::kFloat16) return halves(from);
  if constexpr (F.scales == ScaleForm::kFloat32) return vreinterpretq_f32_u8(vld1q_u8(from));
  std::uint32_t bytes;
  __builtin_memcpy(&bytes, from, sizeof bytes);
  if constexpr (F.scales == ScaleForm::kFloat8) {
    const uint16x8_t words = vshll_n_u8(vreinterpret_u8_u32(vdup_n_u32(bytes)), 8);
    return vmulq_n_f32(vcvt_f32_f16(vreinterpret_f16_u16(vget_low_u16(words))), 0x1p-8f);
  }
  const int16x4_t words = vget_low_s16(vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(bytes))));
  return vmulq_f32(unit, vcvtq_f32_s32(vmovl_s16(words)));
}

template <TileFormat F>
inline int32x4_t start(std::int32_t negative_sum) {
  if constexpr (F.odd) return vdupq_n_s32(negative_sum * ((1 << F.width) - 1));
  if constexpr (F.biased && F.width < 8) return vdupq_n_s32(negative_sum * (1 << (F.width - 1)));
  return vdupq_n_s32(0);
}

// Four quads.
inline int32x4_t dot(int32x4_t sum, const int8x16_t* codes, int8x16_t x) {
  sum = vdotq_laneq_s32(sum, codes[0], x, 0);
  sum = vdotq_laneq_s32(sum, codes[1], x, 1);
  sum = vdotq_laneq_s32(sum, codes[2], x, 2);
  return vdotq_laneq_s32(sum, codes[3], x, 3);
}

template <TileFormat F>
inline float32x4_t block_value(const int8x16_t (&codes)[8], const float32x4_t (&scales)[2],
                               const float32x4_t (&minimums)[2], const QuantizedBlock& q) {
  const int8x16_t low = vld1q_s8(q.codes), high = vld1q_s8(q.codes + 16);
  float32x4_t value;
  if constexpr (F.groups() == 1) {
    const int32x4_t sum = dot(dot(start<F>(q.negative_sum), codes, low), codes + 4, high);
    value = vmulq_f32(vcvtq_f32_s32(sum), scales[0]);
    if constexpr (F.minimum) value = vfmaq_n_f32(value, minimums[0], q.negative_sum_float);
  } else {
    const std::int32_t second = q.negative_sum - q.negative_half;
    value = vmulq_f32(vcvtq_f32_s32(dot(start<F>(q.negative_half), codes, low)), scales[0]);
    value = vfmaq_f32(value, vcvtq_f32_s32(dot(start<F>(second), codes + 4, high)), scales[1]);
    if constexpr (F.minimum) {
      value = vfmaq_n_f32(value, minimums[0], static_cast<float>(q.negative_half));
      value = vfmaq_n_f32(value, minimums[1], static_cast<float>(second));
    }
  }
  return value;
}

template <int Format>
inline float32x4_t load_weights(const unsigned char* from) {
  if constexpr (Format == kTileFloat32) return vreinterpretq_f32_u8(vld1q_u8(from));
  if constexpr (Format == kTileFloat16) return halves(from);
  return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(from)), 16));
}

// Codes that an inverse step gives, still as floats: the rounding of quantize_scalar-inl.h.
inline float32x4_t rounded(float32x4_t values, float inverse) {
  const float32x4_t rounder = vdupq_n_f32(kRounder);
  return vsubq_f32(vaddq_f32(vmulq_n_f32(values, inverse), rounder), rounder);
}

// Lane i + lane i + 8, then + 4, + 2, + 1.
inline float lane_sum(const float32x4_t (&v)[4]) {
  const float32x4_t four = vaddq_f32(vaddq_f32(v[0], v[2]), vaddq_f32(v[1], v[3]));
  const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

struct Step {
  float inverse = 0, scale = 0;
};

inline Step choose_step(const float32x4_t (&values)[8], std::uint32_t largest) {
  if (largest >= kInfinityBits) return {0, std::bit_cast<float>(kQuietNan)};
  if (largest < kSmallestBits) return {0, 0};
  const float magnitude = std::bit_cast<float>(largest);
  if (largest >= kLargeBits) return {kLargestCode / magnitude, magnitude / kLargestCode};
  Step best;
  float best_score = -1;
  for (int candidate = 0; candidate < kStepCandidates; ++candidate) {
    const float inverse = (kLargestCode - static_cast<float>(candidate)) / magnitude;
    float32x4_t products[4], squares[4];
    KINGLET_UNROLL for (int i = 0; i < 4; ++i) {
      const float32x4_t a = rounded(values[i], inverse), b = rounded(values[i + 4], inverse);
      products[i] = vfmaq_f32(vmulq_f32(values[i], a), values[i + 4], b);
      squares[i] = vfmaq_f32(vmulq_f32(a, a), b, b);
    }
    const float product = lane_sum(products), scale = product / lane_sum(squares), score = product * scale;
    if (score > best_score) {
      best_score = score;
      best = {inverse, scale};
    }
  }
  return best;
}

#include "tensor/kernels/lookup_neon-inl.h"

struct Kernels : Lookup {
  using PairRowCounts = Counts<1>;
  static constexpr int kPairsFrom = 0;
  using RowCounts = RowCountsOf<4, 2, 1>;
  using FloatRowCounts = RowCountsOf<4, 2, 1>;

  template <int Format, int R>
  static inline void run(const unsigned char* tile, std::int64_t units, const unsigned char* x, std::size_t x_stride,
                         const std::int8_t* codebook, bool prefetch, float* sums) {
    constexpr TileFormat F = kTileFormats[Format];
    int8x16x4_t book = {};
    KINGLET_UNROLL for (int part = 0; part < (F.trellis    ? 4
                                              : F.codebook ? 1
                                                           : 0);
                        ++part) book.val[part] = vld1q_s8(codebook + 16 * part);
    float32x4_t totals[kQuarters][R];
    KINGLET_UNROLL for (int r = 0; r < R; ++r) {
      KINGLET_UNROLL for (int o = 0; o < kQuarters; ++o) totals[o][r] = vld1q_f32(sums + kLanes * r + 4 * o);
    }
    for (std::int64_t u = 0; u < units; ++u) {
      const unsigned char* header = tile;
      tile += F.header_bytes();
      _Pragma("clang loop unroll(disable)") for (int b = 0; b < F.blocks_per_unit(); ++b) {
        if (prefetch) {
          KINGLET_UNROLL for (int ahead = 0; ahead < F.block_bytes(); ahead += 64)
              __builtin_prefetch(tile + kPrefetchBytes + ahead);
        }
        KINGLET_UNROLL for (int o = 0; o < kQuarters; ++o) {
          int8x16_t codes[8];
          unpack_codes<F>(tile + 16 * o, book, codes);
          float32x4_t scales[2], minimums[2], unit = vdupq_n_f32(0), minimum_unit = unit;
          if constexpr (F.header_bytes() > 0) unit = halves(header + 8 * o);
          if constexpr (F.header_bytes() > 32) minimum_unit = halves(header + 32 + 8 * o);
          KINGLET_UNROLL for (int group = 0; group < F.groups(); ++group) {
            const unsigned char* at = tile + F.code_bytes() + kLanes * F.scale_size() * group;
            scales[group] = load_scale<F>(at, o, unit);
            if constexpr (F.minimum) minimums[group] = load_scale<F>(at + F.scale_bytes(), o, minimum_unit);
          }
          KINGLET_UNROLL for (int r = 0; r < R; ++r) {
            const auto& q = *reinterpret_cast<const QuantizedBlock*>(x + r * x_stride);
            totals[o][r] = vfmaq_n_f32(totals[o][r], block_value<F>(codes, scales, minimums, q), q.scale);
          }
        }
        tile += F.block_bytes();
        x += sizeof(QuantizedBlock);
      }
    }
    KINGLET_UNROLL for (int r = 0; r < R; ++r) {
      KINGLET_UNROLL for (int o = 0; o < kQuarters; ++o) vst1q_f32(sums + kLanes * r + 4 * o, totals[o][r]);
    }
  }

  template <int Format, int R>
  static inline void run_float(const unsigned char* tile, std::int64_t inputs, const unsigned char* x,
                               std::size_t x_stride, bool prefetch, float* sums) {
    constexpr int kBytes = Format == kTileFloat32 ? 64 : 32;
    float32x4_t totals[kQuarters][R];
    KINGLET_UNROLL for (int r = 0; r < R; ++r) {
      KINGLET_UNROLL for (int o = 0; o < kQuarters; ++o) totals[o][r] = vld1q_f32(sums + kLanes * r + 4 * o);
    }
    for (std::int64_t i = 0; i < inputs; ++i, tile += kBytes, x += sizeof(float)) {
      if (prefetch) __builtin_prefetch(tile + kPrefetchBytes);
      KINGLET_UNROLL for (int o = 0; o < kQuarters; ++o) {
        const float32x4_t weights = load_weights<Format>(tile + kBytes / 4 * o);
        KINGLET_UNROLL for (int r = 0; r < R; ++r) {
          float value;
          __builtin_memcpy(&value, x + r * x_stride, sizeof value);
          totals[o][r] = vfmaq_n_f32(totals[o][r], weights, value);
        }
      }
    }
    KINGLET_UNROLL for (int r = 0; r < R; ++r) {
      KINGLET_UNROLL for (int o = 0; o < kQuarters; ++o) vst1q_f32(sums + kLanes * r + 4 * o, totals[o][r]);
    }
  }

  static void quantize_blocks(const float* x, std::int64_t blocks, QuantizedBlock* out);
  static void interleave(const std::uint8_t* rows, std::size_t stride, int width, unsigned char* out);
};

void Kernels::quantize_blocks(const float* x, std::int64_t blocks, QuantizedBlock* out) {
  for (std::int64_t b = 0; b < blocks; ++b, x += 32, ++out) {
    float32x4_t values[8];
    uint32x4_t bits = vdupq_n_u32(0);
    KINGLET_UNROLL for (int i = 0; i < 8; ++i) {
      values[i] = vld1q_f32(x + 4 * i);
      bits = vmaxq_u32(bits, vandq_u32(vreinterpretq_u32_f32(values[i]), vdupq_n_u32(0x7FFFFFFF)));
    }
    const Step step = choose_step(values, vmaxvq_u32(bits));
    *out = {};
    out->scale = step.scale;
    if (step.inverse == 0) continue;
    int32x4_t codes[8];
    KINGLET_UNROLL for (int i = 0; i < 8; ++i) codes[i] = vcvtnq_s32_f32(vmulq_n_f32(values[i], step.inverse));
    KINGLET_UNROLL for (int i = 0; i < 2; ++i) {
      const int16x8_t low = vcombine_s16(vmovn_s32(codes[4 * i]), vmovn_s32(codes[4 * i + 1]));
      const int16x8_t high = vcombine_s16(vmovn_s32(codes[4 * i + 2]), vmovn_s32(codes[4 * i + 3]));
      vst1q_s8(out->codes + 16 * i, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
    }
    const int32x4_t first = vaddq_s32(vaddq_s32(codes[0], codes[1]), vaddq_s32(codes[2], codes[3]));
    const int32x4_t second = vaddq_s32(vaddq_s32(codes[4], codes[5]), vaddq_s32(codes[6], codes[7]));
    out->negative_half = -vaddvq_s32(first);
    out->negative_sum = -vaddvq_s32(vaddq_s32(first, second));
    out->negative_sum_float = static_cast<float>(out->negative_sum);
  }
}

// Four rows at a time: 4 x 4 transposes of quads, then narrowed.
void Kernels::interleave(const std::uint8_t* rows, std::size_t stride, int width, unsigned char* out) {
  for (int o = 0; o < kQuarters; ++o, rows += 4 * stride, out += 16) {
    uint8x16_t quads[8];
    KINGLET_UNROLL for (int half = 0; half < 2; ++half) {
      uint32x4_t row[4];
      KINGLET_UNROLL for (int r = 0; r < 4; ++r) row[r] = vreinterpretq_u32_u8(vld1q_u8(rows + r * stride + 16 * half));
      const uint64x2_t a = vreinterpretq_u64_u32(vzip1q_u32(row[0], row[1])),
                       b = vreinterpretq_u64_u32(vzip1q_u32(row[2], row[3]));
      const uint64x2_t c = vreinterpretq_u64_u32(vzip2q_u32(row[0], row[1])),
                       d = vreinterpretq_u64_u32(vzip2q_u32(row[2], row[3]));
      quads[4 * half] = vreinterpretq_u8_u64(vzip1q_u64(a, b));
      quads[4 * half + 1] = vreinterpretq_u8_u64(vzip2q_u64(a, b));
      quads[4 * half + 2] = vreinterpretq_u8_u64(vzip1q_u64(c, d));
      quads[4 * half + 3] = vreinterpretq_u8_u64(vzip2q_u64(c, d));
    }
    if (width == 8) {
      KINGLET_UNROLL for (int quad = 0; quad < 8; ++quad) vst1q_u8(out + 64 * quad, quads[quad]);
      continue;
    }
    if (width == 1) {
      uint8x16_t bits = vdupq_n_u8(0);
      KINGLET_UNROLL for (int quad = 7; quad >= 0; --quad) bits =
          vorrq_u8(vshlq_n_u8(bits, 1), vandq_u8(quads[quad], vdupq_n_u8(1)));
      vst1q_u8(out, bits);
      continue;
    }
    if (width <= 3) {
      KINGLET_UNROLL for (int i = 0; i < 2; ++i) {
        uint8x16_t bits = vdupq_n_u8(0);
        KINGLET_UNROLL for (int quad = 3; quad >= 0; --quad) bits =
            vorrq_u8(vshlq_n_u8(bits, 2), vandq_u8(quads[4 * i + quad], vdupq_n_u8(3)));
        vst1q_u8(out + 64 * i, bits);
      }
      uint8x16_t bits = vdupq_n_u8(0);
      KINGLET_UNROLL for (int quad = 7; quad >= 0; --quad) bits =
          vorrq_u8(vshlq_n_u8(bits, 1), vandq_u8(vshrq_n_u8(quads[quad], 2), vdupq_n_u8(1)));
      if (width == 3) vst1q_u8(out + 128, bits);
      continue;
    }
    KINGLET_UNROLL for (int i = 0; i < 4; ++i)
        vst1q_u8(out + 64 * i, vsliq_n_u8(vandq_u8(quads[2 * i], vdupq_n_u8(15)), quads[2 * i + 1], 4));
    if (width == 5) {
      uint8x16_t bits = vdupq_n_u8(0);
      KINGLET_UNROLL for (int quad = 7; quad >= 0; --quad) bits =
          vorrq_u8(vshlq_n_u8(bits, 1), vandq_u8(vshrq_n_u8(quads[quad], 4), vdupq_n_u8(1)));
      vst1q_u8(out + 256, bits);
    }
    if (width == 6) {
      KINGLET_UNROLL for (int i = 0; i < 2; ++i) {
        uint8x16_t bits = vdupq_n_u8(0);
        KINGLET_UNROLL for (int quad = 3; quad >= 0; --quad) bits =
            vorrq_u8(vshlq_n_u8(bits, 2), vandq_u8(vshrq_n_u8(quads[4 * i + quad], 4), vdupq_n_u8(3)));
        vst1q_u8(out + 256 + 64 * i, bits);
      }
    }
  }
}

#if defined(KINGLET_FEW_KERNELS)
#pragma clang attribute pop
#endif

}  // namespace

const MatmulKernels matmul_kernels_neon = make_kernels<Kernels>();

}  // namespace kinglet
