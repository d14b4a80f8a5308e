#include "compress/quantize/rounding_kernels.h"

namespace kinglet {

extern const RoundingKernels rounding_kernels_scalar;
#if defined(__x86_64__)
extern const RoundingKernels rounding_kernels_avx2, rounding_kernels_avx512;
#elif defined(__aarch64__)
extern const RoundingKernels rounding_kernels_neon;
#endif

const RoundingKernels& rounding_kernels(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::kAvx2:
      return rounding_kernels_avx2;
    case Isa::kAvx512:
      return rounding_kernels_avx512;
#elif defined(__aarch64__)
    case Isa::kNeon:
      return rounding_kernels_neon;
#endif
    default:
      return rounding_kernels_scalar;
  }
}

const RoundingKernels& rounding_kernels() {
  static const RoundingKernels& kernels = rounding_kernels(active_isa());
  return kernels;
}

}  // namespace kinglet
