#include "compress/quantize/rounding_kernels-inl.h"

namespace kinglet {

extern const RoundingKernels rounding_kernels_avx512;
const RoundingKernels rounding_kernels_avx512 = kKernels;

}  // namespace kinglet
