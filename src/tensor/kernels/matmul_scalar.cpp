// The reference: portable C++, one row and one lane at a time. It defines what the other instruction sets must compute.
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "tensor/half.h"
#include "tensor/kernels/lookup.h"
#include "tensor/kernels/matmul_kernels.h"
#include "tensor/kernels/pack_tile-inl.h"
#include "tensor/kernels/quantize_scalar-inl.h"

namespace kinglet {
namespace {

#include "tensor/kernels/matmul_driver-inl.h"

template <TileFormat F>
float block_value(const unsigned char* block, float unit, float minimum_unit, int lane, const QuantizedBlock& q,
                  const std::int8_t* codebook) {
  float value = 0;
  for (int group = 0; group < F.groups(); ++group) {
    std::int32_t sum = 0;
    for (int i = group * F.group; i < (group + 1) * F.group; ++i) {
      sum += code_value<F>(stored_code<F>(block, lane, i), codebook) * q.codes[i];
    }
    const float scale = group_scale<F>(block + F.code_bytes(), unit, group, lane);
    value = group == 0 ? static_cast<float>(sum) * scale : std::fma(static_cast<float>(sum), scale, value);
  }
  if constexpr (F.minimum) {
    const unsigned char* minimums = block + F.code_bytes() + F.scale_bytes();
    for (int group = 0; group < F.groups(); ++group) {
      const float minimum = group_scale<F>(minimums, minimum_unit, group, lane);
      const std::int32_t negative_sum = F.groups() == 1 ? q.negative_sum
                                        : group == 0    ? q.negative_half
                                                        : q.negative_sum - q.negative_half;
      value = std::fma(minimum, static_cast<float>(negative_sum), value);
    }
  }
  return value;
}

#include "tensor/kernels/lookup_scalar-inl.h"

struct Kernels : Lookup {
  using PairRowCounts = Counts<1>;
  static constexpr int kPairsFrom = 0;
  using RowCounts = Counts<1>;
  using FloatRowCounts = Counts<1>;

  template <int Format, int R>
  static void run(const unsigned char* tile, std::int64_t units, const unsigned char* x, std::size_t,
                  const std::int8_t* codebook, bool, float* sums) {
    constexpr TileFormat F = kTileFormats[Format];
    for (int lane = 0; lane < kLanes; ++lane) {
      const unsigned char* block = tile;
      const unsigned char* input = x;
      for (std::int64_t u = 0; u < units; ++u) {
        float unit = 0, minimum_unit = 0;
        if constexpr (F.header_bytes() > 0) unit = f16_to_f32(load<std::uint16_t>(block + 2 * lane));
        if constexpr (F.header_bytes() > 32) minimum_unit = f16_to_f32(load<std::uint16_t>(block + 32 + 2 * lane));
        block += F.header_bytes();
        for (int b = 0; b < F.blocks_per_unit(); ++b) {
          const QuantizedBlock q = load<QuantizedBlock>(input);
          sums[lane] = std::fma(block_value<F>(block, unit, minimum_unit, lane, q, codebook), q.scale, sums[lane]);
          block += F.block_bytes();
          input += sizeof(QuantizedBlock);
        }
      }
    }
  }

  template <int Format, int R>
  static void run_float(const unsigned char* tile, std::int64_t units, const unsigned char* x, std::size_t, bool,
                        float* sums) {
    for (std::int64_t u = 0; u < units; ++u) {
      const float input = load<float>(x + 4 * u);
      for (int lane = 0; lane < kLanes; ++lane) {
        float weight;
        if constexpr (Format == kTileFloat32) {
          weight = load<float>(tile + 64 * u + 4 * lane);
        } else {
          const auto half = load<std::uint16_t>(tile + 32 * u + 2 * lane);
          weight = Format == kTileFloat16 ? f16_to_f32(half) : bf16_to_f32(half);
        }
        sums[lane] = std::fma(weight, input, sums[lane]);
      }
    }
  }

  static void quantize_blocks(const float* x, std::int64_t blocks, QuantizedBlock* out) {
    for (std::int64_t b = 0; b < blocks; ++b) out[b] = quantize_block(x + 32 * b);
  }

  static void interleave(const std::uint8_t* rows, std::size_t stride, int width, unsigned char* out) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const std::uint8_t* row = rows + static_cast<std::size_t>(lane) * stride;
      for (int i = 0; i < 4; ++i) {
        unsigned char* to = out + 4 * lane + i;
        if (width == 8) {
          for (int quad = 0; quad < 8; ++quad) to[64 * quad] = row[4 * quad + i];
          continue;
        }
        if (width == 1) {
          unsigned bits = 0;
          for (int quad = 0; quad < 8; ++quad) bits |= (row[4 * quad + i] & 1u) << quad;
          *to = static_cast<unsigned char>(bits);
          continue;
        }
        if (width <= 3) {
          for (int quad = 0; quad < 8; ++quad) {
            unsigned char& low = to[64 * (quad / 4)];
            low = static_cast<unsigned char>((quad % 4 == 0 ? 0 : low) | (row[4 * quad + i] & 3) << (quad % 4 * 2));
            if (width == 2) continue;
            unsigned char& high = to[128];
            high = static_cast<unsigned char>((quad == 0 ? 0 : high) | (row[4 * quad + i] >> 2 & 1) << quad);
          }
          continue;
        }
        for (int line = 0; line < 4; ++line)
          to[64 * line] = static_cast<unsigned char>((row[8 * line + i] & 15) | (row[8 * line + 4 + i] & 15) << 4);
        unsigned bits = 0;
        for (int quad = 0; quad < 8; ++quad) bits |= (row[4 * quad + i] >> 4 & 3u) << (width == 5 ? quad : 2 * quad);
        if (width >= 5) to[256] = static_cast<unsigned char>(bits);
        if (width == 6) to[320] = static_cast<unsigned char>(bits >> 8);
      }
    }
  }
};

#if defined(KINGLET_FEW_KERNELS)
#pragma clang attribute pop
#endif

}  // namespace

const MatmulKernels matmul_kernels_scalar = make_kernels<Kernels>();

}  // namespace kinglet
