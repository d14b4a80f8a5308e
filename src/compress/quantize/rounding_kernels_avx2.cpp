#include "compress/quantize/rounding_kernels-inl.h"

namespace kinglet {

extern const RoundingKernels rounding_kernels_avx2;
const RoundingKernels rounding_kernels_avx2 = kKernels;

}  // namespace kinglet
