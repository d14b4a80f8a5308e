#include "compress/quantize/rounding_kernels-inl.h"

namespace kinglet {

extern const RoundingKernels rounding_kernels_scalar;
const RoundingKernels rounding_kernels_scalar = kKernels;

}  // namespace kinglet
