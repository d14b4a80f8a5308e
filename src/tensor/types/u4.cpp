// U4: 4 bits a value on an even grid, and an f16 scale for 32 values.
#include "tensor/quantize/uniform_types.h"

namespace kinglet {

extern const BlockType block_type_u4;
const BlockType block_type_u4 = make_uniform_type<4>("U4");

}  // namespace kinglet
