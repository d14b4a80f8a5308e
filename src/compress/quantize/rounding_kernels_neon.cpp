#include "compress/quantize/rounding_kernels-inl.h"

namespace kinglet {

extern const RoundingKernels rounding_kernels_neon;
const RoundingKernels rounding_kernels_neon = kKernels;

}  // namespace kinglet
