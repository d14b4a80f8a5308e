#define KINGLET_ISA isa_avx512
#include "tensor/kernels/lanes_avx512.h"
// After the lanes.
#include "tensor/kernels/attention-inl.h"
