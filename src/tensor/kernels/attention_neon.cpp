#define KINGLET_ISA isa_neon
#include "tensor/kernels/lanes_neon.h"
// After the lanes.
#include "tensor/kernels/attention-inl.h"
