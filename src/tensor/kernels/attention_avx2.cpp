#define KINGLET_ISA isa_avx2
#include "tensor/kernels/lanes_avx2.h"
// After the lanes.
#include "tensor/kernels/attention-inl.h"
