// U1: one bit a value, its sign, and an f16 scale for 32 values.
#include "tensor/quantize/uniform_types.h"

namespace kinglet {

extern const BlockType block_type_u1;
const BlockType block_type_u1 = make_uniform_type<1>("U1");

}  // namespace kinglet
