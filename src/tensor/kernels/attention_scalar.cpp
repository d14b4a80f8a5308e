#define KINGLET_ISA isa_scalar
#include "tensor/kernels/lanes_scalar.h"
// After the lanes.
#include "tensor/kernels/attention-inl.h"
