// U2: 2 bits a value on an even grid, and an f16 scale for 32 values.
#include "tensor/quantize/uniform_types.h"

namespace kinglet {

extern const BlockType block_type_u2;
const BlockType block_type_u2 = make_uniform_type<2>("U2");

}  // namespace kinglet
