#include "tensor/kernels/matmul.h"

#include "tensor/kernels/matmul_kernels.h"

namespace kinglet {

const MatmulKernels& matmul_kernels(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::kAvx2:
      return matmul_kernels_avx2;
    case Isa::kAvx512:
      return matmul_kernels_avx512;
#elif defined(__aarch64__)
    case Isa::kNeon:
      return matmul_kernels_neon;
#endif
    default:
      return matmul_kernels_scalar;
  }
}

const MatmulKernels& matmul_kernels() {
  static const MatmulKernels& kernels = matmul_kernels(active_isa());
  return kernels;
}

std::size_t quantized_row_bytes(std::int64_t columns) {
  const std::size_t bytes = static_cast<std::size_t>(columns / kBlockInputs) * sizeof(QuantizedBlock);
  return bytes % 4096 == 0 ? bytes + 64 : bytes;
}

void quantize_row(const float* x, std::int64_t columns, std::byte* out) {
  matmul_kernels().quantize_blocks(x, columns / kBlockInputs, reinterpret_cast<QuantizedBlock*>(out));
}

void dequantize_row(const std::byte* quantized, std::int64_t columns, float* out) {
  const auto* blocks = reinterpret_cast<const QuantizedBlock*>(quantized);
  for (std::int64_t i = 0; i < columns; ++i) {
    const QuantizedBlock& block = blocks[i / kBlockInputs];
    out[i] = block.scale * static_cast<float>(block.codes[i % kBlockInputs]);
  }
}

void multiply_tiles(const PackPlan& plan, const std::byte* tiles, int tile_count, int valid_outputs,
                    const LinearInput& x, float* y, std::size_t stride) {
  multiply_tiles(matmul_kernels(), plan, tiles, tile_count, valid_outputs, x, y, stride);
}

void multiply_tiles(const MatmulKernels& kernels, const PackPlan& plan, const std::byte* tiles, int tile_count,
                    int valid_outputs, const LinearInput& x, float* y, std::size_t stride) {
  MatmulCall call = {};
  call.tiles = reinterpret_cast<const unsigned char*>(tiles);
  call.tile_bytes = plan.tile_bytes;
  call.tile_count = tile_count;
  call.valid_outputs = valid_outputs;
  call.rows = x.rows;
  call.y = y;
  call.y_stride = stride;
  call.codebook = plan.codebook;
  if (is_float_format(plan.format)) {
    call.units = plan.inputs;
    call.x = reinterpret_cast<const unsigned char*>(x.values);
    call.x_stride = x.value_stride * sizeof(float);
    kernels.multiply_float[plan.format - kTileFloat32](call);
    return;
  }
  call.units = plan.inputs / (kBlockInputs * kTileFormats[plan.format].blocks_per_unit());
  call.x = reinterpret_cast<const unsigned char*>(x.quantized);
  call.x_stride = x.quantized_stride;
  kernels.multiply[plan.format](call);
}

}  // namespace kinglet
