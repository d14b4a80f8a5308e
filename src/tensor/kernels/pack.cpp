// From a file's row-major blocks to tiles, and exact values back.
#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <utility>
#include <vector>

#include "tensor/kernels/lookup.h"
#include "tensor/kernels/matmul.h"
#include "tensor/kernels/matmul_kernels.h"
#include "tensor/kernels/pack_tile-inl.h"
#include "tensor/quantize/trellis.h"

namespace kinglet {
namespace {

constexpr int kUnitInputs = 256;  // of the formats with kMultiples

// Whether the levels are the odd integers around zero.
bool is_even_grid(const CodeForm& form) {
  if (!form.codebook || form.bits < 1 || form.bits > 4) return false;
  for (int code = 0; code < 1 << form.bits; ++code)
    if (form.codebook[code] != 2 * code + 1 - (1 << form.bits)) return false;
  return true;
}

bool holds(const TileFormat& format, const BlockType& type) {
  const CodeForm& form = type.form;
  if (format.trellis) return form.trellis && type.trellis_parts && form.trellis_bits == format.width;
  if (format.odd) {
    if (format.planes || !is_even_grid(form) || form.bits != format.width) return false;
  } else if (format.codebook) {
    if (!form.codebook || form.bits > 4) return false;
  } else if (form.codebook) {
    if (format.width < 8) return false;  // the values themselves are stored
  } else if (form.is_signed) {
    if (!format.biased || form.bits > format.width) return false;
  } else if (form.bits > format.width - (format.biased ? 1 : 0)) {
    return false;
  }
  if (form.group % format.group != 0 || (form.has_minimum && !format.minimum)) return false;
  if (format.scales == ScaleForm::kFloat32) return true;
  return format.scales == form.scales && (form.scales != ScaleForm::kMultiples || type.block_values == kUnitInputs);
}

// The format of bit planes for the codes of an odd one; -1 if it has none.
int plane_format(int format) {
  for (int i = 0; i < kTileFormatCount; ++i)
    if (kTileFormats[format].odd && kTileFormats[i].planes && kTileFormats[i].width == kTileFormats[format].width)
      return i;
  return -1;
}

int code_format(const BlockType& type) {
  int best = -1;
  double best_bytes = 0;
  for (int i = 0; i < kTileFormatCount; ++i) {
    const TileFormat& format = kTileFormats[i];
    const double bytes = static_cast<double>(format.unit_bytes()) / format.blocks_per_unit();
    if (holds(format, type) && (best < 0 || bytes < best_bytes)) {
      best = i;
      best_bytes = bytes;
    }
  }
  return best;
}

// Two-byte float types keep their storage. Which one it is, the decoder tells.
int float_format(const BlockType& type) {
  if (type.block_values != 1 || type.block_bytes != 2) return kTileFloat32;
  const auto decodes_as = [&](float (*convert)(std::uint16_t)) {
    for (std::uint16_t bits : {0x3C00, 0x3F80, 0x0001, 0xC123, 0x7BFF}) {
      std::byte data[2];
      std::memcpy(data, &bits, 2);
      float value;
      type.decode(data, 1, &value);
      if (value != convert(bits)) return false;
    }
    return true;
  };
  if (decodes_as(f16_to_f32)) return kTileFloat16;
  return decodes_as(bf16_to_f32) ? kTileBfloat16 : kTileFloat32;
}

// The rows of one tile, spread out for a run of inputs: what the type's functions give, lane by lane.
struct Spread {
  std::size_t inputs = 0, groups = 0, blocks = 0;  // a lane
  std::vector<std::int8_t> codes;
  std::vector<float> scales, minimums, units, minimum_units;
  std::vector<std::int8_t> scale_multiples, minimum_multiples;

  Spread(const BlockType& type, std::size_t lane_inputs)
      : inputs(lane_inputs), groups(lane_inputs / type.form.group), blocks(lane_inputs / type.block_values) {
    codes.resize(kTileLanes * inputs);
    for (std::vector<float>* floats : {&scales, &minimums}) floats->resize(kTileLanes * groups);
    for (std::vector<float>* floats : {&units, &minimum_units}) floats->resize(kTileLanes * blocks);
    for (std::vector<std::int8_t>* bytes : {&scale_multiples, &minimum_multiples}) bytes->resize(kTileLanes * groups);
  }

  void clear(int lane) {
    std::fill_n(codes.data() + lane * inputs, inputs, std::int8_t{0});
    for (std::vector<float>* floats : {&scales, &minimums}) std::fill_n(floats->data() + lane * groups, groups, 0.0f);
    for (std::vector<float>* floats : {&units, &minimum_units})
      std::fill_n(floats->data() + lane * blocks, blocks, 0.0f);
    for (std::vector<std::int8_t>* bytes : {&scale_multiples, &minimum_multiples})
      std::fill_n(bytes->data() + lane * groups, groups, std::int8_t{0});
  }

  // `count` inputs of one row, from `data` on.
  void read(const BlockType& type, const TileFormat& format, int lane, const std::byte* data, std::size_t count) {
    const std::size_t some_blocks = count / type.block_values;
    std::int8_t* to = codes.data() + lane * inputs;
    if (format.trellis) {  // the codes of 32 values take width * 4 bytes
      type.trellis_parts(data, some_blocks, reinterpret_cast<std::byte*>(to),
                         reinterpret_cast<std::uint8_t*>(scale_multiples.data()) + lane * groups);
      return;
    }
    type.codes(data, some_blocks, to, scales.data() + lane * groups, minimums.data() + lane * groups);
    if (format.scales == ScaleForm::kMultiples) {
      type.multiples(data, some_blocks, units.data() + lane * blocks, minimum_units.data() + lane * blocks,
                     scale_multiples.data() + lane * groups, minimum_multiples.data() + lane * groups);
    }
    if (type.form.codebook && !format.codebook && !format.odd) {
      for (std::size_t i = 0; i < count; ++i) to[i] = type.form.codebook[to[i]];
    }
    const int bias = format.bias();
    for (std::size_t i = 0; i < count; ++i) to[i] = static_cast<std::int8_t>(to[i] + bias);
  }
};

void put_halves(const float* from, std::size_t stride, unsigned char* out) {
  std::uint16_t halves[kTileLanes];
  for (int lane = 0; lane < kTileLanes; ++lane) halves[lane] = f32_to_f16(from[lane * stride]);
  std::memcpy(out, halves, sizeof halves);
}

// One row of scales (or minimums) of a block: group `group` of each lane.
unsigned char* put_scales(const TileFormat& format, const std::vector<float>& values,
                          const std::vector<std::int8_t>& multiples, std::size_t groups, std::size_t group,
                          unsigned char* out) {
  if (format.scales == ScaleForm::kFloat16) {
    put_halves(values.data() + group, groups, out);
  } else if (format.scales == ScaleForm::kFloat32) {
    for (int lane = 0; lane < kTileLanes; ++lane) std::memcpy(out + 4 * lane, &values[lane * groups + group], 4);
  } else {
    for (int lane = 0; lane < kTileLanes; ++lane)
      out[lane] = static_cast<unsigned char>(multiples[lane * groups + group]);
  }
  return out + kTileLanes * format.scale_size();
}

// The x of a four-bit trellis, from a 2-bit and a 1-bit plane to three lines (tile_format.h).
void put_trellis_x(const std::uint8_t* codes, int lane, unsigned char* out) {
  for (int i = 0; i < 4; ++i) {
    const unsigned low = codes[i] | codes[4 + i] << 8, high = codes[8 + i];
    unsigned x[8];
    for (int quad = 0; quad < 8; ++quad) x[quad] = (low >> (2 * quad) & 3) | (high >> quad & 1) << 2;
    const unsigned rest = x[6] | x[7] << 3;
    for (int l = 0; l < 3; ++l)
      out[64 * l + 4 * lane + i] =
          static_cast<unsigned char>(x[2 * l] | x[2 * l + 1] << 3 | (rest >> (2 * l) & 3) << 6);
  }
}

// The x of a two-bit trellis.
void put_trellis_bits(const std::uint8_t* codes, int lane, unsigned char* out) {
  for (int i = 0; i < 4; ++i) {
    unsigned bits = 0;
    for (int quad = 0; quad < 8; ++quad) bits |= (codes[i] >> quad & 1u) << trellis_x_bit(quad);
    out[4 * lane + i] = static_cast<unsigned char>(bits);
  }
}

void put_trellis(const MatmulKernels& kernels, const std::uint8_t* codes, std::size_t stride, int width,
                 unsigned char* out) {
  if (width == 6) {
    std::uint8_t rows[kTileLanes][kBlockInputs], windows[kBlockInputs];
    for (int lane = 0; lane < kTileLanes; ++lane) {
      read_windows<6>(codes + lane * stride, windows);
      for (int j = 0; j < kBlockInputs; ++j) rows[lane][trellis_column(j)] = windows[j];
    }
    return kernels.interleave(rows[0], kBlockInputs, width, out);
  }
  for (int lane = 0; lane < kTileLanes; ++lane) {
    const std::uint8_t* from = codes + lane * stride;
    if (width == 4) put_trellis_x(from + 4, lane, out + 64);
    if (width == 2) put_trellis_bits(from + 4, lane, out + 64);
    for (int part = 0; part < (width % 2 == 0 ? 1 : width); ++part)
      std::memcpy(out + 64 * part + 4 * lane, from + 4 * part, 4);
  }
}

void put_planes(const MatmulKernels& kernels, const std::uint8_t* codes, std::size_t stride, int width,
                unsigned char* out) {
  for (int plane = 0; plane < width; ++plane) {
    std::uint8_t bits[kTileLanes][kBlockInputs];
    for (int lane = 0; lane < kTileLanes; ++lane)
      for (int i = 0; i < kBlockInputs; ++i) bits[lane][i] = codes[lane * stride + i] >> plane & 1;
    kernels.interleave(bits[0], kBlockInputs, 1, out + 64 * plane);
  }
}

unsigned char* put_units(const MatmulKernels& kernels, const BlockType& type, const TileFormat& format,
                         const Spread& spread, std::size_t count, unsigned char* out) {
  for (std::size_t input = 0; input < count; input += kBlockInputs) {
    if (format.header_bytes() > 0 && input % kUnitInputs == 0) {
      put_halves(spread.units.data() + input / kUnitInputs, spread.blocks, out);
      if (format.minimum) put_halves(spread.minimum_units.data() + input / kUnitInputs, spread.blocks, out + 32);
      out += format.header_bytes();
    }
    const auto* codes = reinterpret_cast<const std::uint8_t*>(spread.codes.data());
    if (format.trellis)
      put_trellis(kernels, codes + input / kBlockInputs * 4 * format.width, spread.inputs, format.width, out);
    else if (format.planes)
      put_planes(kernels, codes + input, spread.inputs, format.width, out);
    else
      kernels.interleave(codes + input, spread.inputs, format.width, out);
    out += format.code_bytes();
    for (const bool minimum : {false, true}) {
      if (minimum && !format.minimum) break;
      for (int group = 0; group < format.groups(); ++group) {
        const std::size_t at = (input + group * format.group) / type.form.group;
        out = put_scales(format, minimum ? spread.minimums : spread.scales,
                         minimum ? spread.minimum_multiples : spread.scale_multiples, spread.groups, at, out);
      }
    }
  }
  return out;
}

void pack_codes(const PackPlan& plan, const std::byte* source, std::int64_t tile_begin, std::int64_t tile_end,
                unsigned char* out) {
  const BlockType& type = *plan.type;
  const TileFormat& format = kTileFormats[plan.format];
  const MatmulKernels& kernels = matmul_kernels();
  // Runs of about 1024 inputs, so that what is spread out stays in the cache.
  const std::size_t step = std::lcm<std::size_t>(type.block_values, kBlockInputs * format.blocks_per_unit());
  const std::size_t run = std::min<std::size_t>(std::max<std::size_t>(1024 / step, 1) * step, plan.inputs);
  Spread spread(type, run);
  for (std::int64_t tile = tile_begin; tile < tile_end; ++tile) {
    const int lanes = static_cast<int>(std::min<std::int64_t>(kTileLanes, plan.outputs - tile * kTileLanes));
    for (int lane = lanes; lane < kTileLanes; ++lane) spread.clear(lane);
    const std::byte* rows = source + static_cast<std::size_t>(tile) * kTileLanes * plan.source_row_bytes;
    for (std::size_t input = 0; input < static_cast<std::size_t>(plan.inputs); input += run) {
      const std::size_t count = std::min<std::size_t>(run, plan.inputs - input);
      for (int lane = 0; lane < lanes; ++lane) {
        spread.read(type, format, lane, rows + lane * plan.source_row_bytes + type.row_bytes(input), count);
      }
      out = put_units(kernels, type, format, spread, count, out);
    }
  }
}

void pack_floats(const PackPlan& plan, const std::byte* source, std::int64_t tile_begin, std::int64_t tile_end,
                 unsigned char* out) {
  const BlockType& type = *plan.type;
  const std::size_t size = plan.format == kTileFloat32 ? 4 : 2;
  const std::size_t inputs = static_cast<std::size_t>(plan.inputs);
  std::vector<float> decoded(plan.format == kTileFloat32 ? inputs : 0);
  for (std::int64_t tile = tile_begin; tile < tile_end; ++tile, out += plan.tile_bytes) {
    if (plan.outputs - tile * kTileLanes < kTileLanes) std::memset(out, 0, plan.tile_bytes);
    for (int lane = 0; lane < kTileLanes && tile * kTileLanes + lane < plan.outputs; ++lane) {
      const std::byte* row = source + static_cast<std::size_t>(tile * kTileLanes + lane) * plan.source_row_bytes;
      if (plan.format == kTileFloat32) {
        type.decode(row, inputs / type.block_values, decoded.data());
        row = reinterpret_cast<const std::byte*>(decoded.data());
      }
      unsigned char* to = out + size * lane;
      if (size == 4) {
        for (std::size_t i = 0; i < inputs; ++i) std::memcpy(to + 64 * i, row + 4 * i, 4);
      } else {
        for (std::size_t i = 0; i < inputs; ++i) std::memcpy(to + 32 * i, row + 2 * i, 2);
      }
    }
  }
}

template <int Format>
void unpack_codes(const PackPlan& plan, const unsigned char* at, int lane, float* out) {
  constexpr TileFormat F = kTileFormats[Format];
  for (std::int64_t input = 0; input < plan.inputs;) {
    float unit = 0, minimum_unit = 0;
    if constexpr (F.header_bytes() > 0) unit = f16_to_f32(load<std::uint16_t>(at + 2 * lane));
    if constexpr (F.header_bytes() > 32) minimum_unit = f16_to_f32(load<std::uint16_t>(at + 32 + 2 * lane));
    at += F.header_bytes();
    for (int b = 0; b < F.blocks_per_unit(); ++b, input += kBlockInputs, at += F.block_bytes()) {
      for (int group = 0; group < F.groups(); ++group) {
        const float scale = group_scale<F>(at + F.code_bytes(), unit, group, lane);
        const float minimum =
            F.minimum ? group_scale<F>(at + F.code_bytes() + F.scale_bytes(), minimum_unit, group, lane) : 0.0f;
        for (int i = group * F.group; i < (group + 1) * F.group; ++i) {
          const int code = code_value<F>(stored_code<F>(at, lane, i), plan.codebook);
          const float value = scale * static_cast<float>(code);
          out[input + i] = F.minimum ? value - minimum : value;
        }
      }
    }
  }
}

using Unpack = void (*)(const PackPlan&, const unsigned char*, int, float*);
template <int... Index>
constexpr std::array<Unpack, sizeof...(Index)> unpack_table(std::integer_sequence<int, Index...>) {
  return {unpack_codes<Index>...};
}
constexpr auto kUnpack = unpack_table(std::make_integer_sequence<int, kTileFormatCount>());

}  // namespace

std::optional<PackPlan> plan_packing(const BlockType& type, std::int64_t outputs, std::int64_t inputs,
                                     ProductKernel kernel) {
  if (outputs < 1 || inputs < 1 || type.block_values < 1 || inputs % type.block_values != 0) return std::nullopt;
  PackPlan plan;
  plan.type = &type;
  plan.outputs = outputs;
  plan.inputs = inputs;
  plan.source_row_bytes = type.row_bytes(static_cast<std::uint64_t>(inputs));
  // Types whose blocks the integer kernels cannot cut into 32 inputs are multiplied as the floats that they decode to.
  const bool has_codes = type.form.bits > 0 && type.codes && inputs % kBlockInputs == 0 && type.form.group % 16 == 0;
  plan.format = has_codes ? code_format(type) : -1;
  if (plan.format < 0) plan.format = float_format(type);
  if (is_float_format(plan.format)) {
    plan.tile_bytes = static_cast<std::size_t>(inputs) * kTileLanes * (plan.format == kTileFloat32 ? 4 : 2);
    return plan;
  }
  if (const int planes = plane_format(plan.format); planes >= 0) {
    if (kernel == ProductKernel::kLookup ||
        (kernel == ProductKernel::kBest && lookup_choice(kTileFormats[planes].width).use))
      plan.format = planes;
  }
  const TileFormat& format = kTileFormats[plan.format];
  plan.input = InputFormat::kInt8;
  plan.tile_bytes = static_cast<std::size_t>(inputs / (kBlockInputs * format.blocks_per_unit())) * format.unit_bytes();
  if (format.codebook) std::copy_n(type.form.codebook, 1 << type.form.bits, plan.codebook);
  if (format.trellis) std::copy_n(type.form.trellis, kTrellisLevels, plan.codebook);
  return plan;
}

PackPlan plan_bytes(std::int64_t outputs, std::int64_t inputs) {
  PackPlan plan;
  plan.outputs = outputs;
  plan.inputs = inputs;
  plan.input = InputFormat::kInt8;
  const auto is_bytes = [](const TileFormat& format) {
    return format.width == 8 && format.group == kBlockInputs && !format.minimum && format.scales == ScaleForm::kFloat32;
  };
  plan.format =
      static_cast<int>(std::find_if(std::begin(kTileFormats), std::end(kTileFormats), is_bytes) - kTileFormats);
  plan.tile_bytes = static_cast<std::size_t>(inputs / kBlockInputs) * kTileFormats[plan.format].unit_bytes();
  return plan;
}

void pack_tiles(const PackPlan& plan, const std::byte* source, std::int64_t tile_begin, std::int64_t tile_end,
                std::byte* out) {
  const auto pack = is_float_format(plan.format) ? pack_floats : pack_codes;
  pack(plan, source, tile_begin, tile_end, reinterpret_cast<unsigned char*>(out));
}

void unpack_row(const PackPlan& plan, const std::byte* tile, int lane, float* out) {
  const auto* at = reinterpret_cast<const unsigned char*>(tile);
  if (!is_float_format(plan.format)) return kUnpack[plan.format](plan, at, lane, out);
  for (std::int64_t i = 0; i < plan.inputs; ++i) {
    if (plan.format == kTileFloat32) {
      out[i] = load<float>(at + 64 * i + 4 * lane);
    } else {
      const auto half = load<std::uint16_t>(at + 32 * i + 2 * lane);
      out[i] = plan.format == kTileFloat16 ? f16_to_f32(half) : bf16_to_f32(half);
    }
  }
}

}  // namespace kinglet
