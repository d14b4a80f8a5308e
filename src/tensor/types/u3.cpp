// U3: 3 bits a value on an even grid, and an f16 scale for 32 values.
#include "tensor/quantize/uniform_types.h"

namespace kinglet {

extern const BlockType block_type_u3;
const BlockType block_type_u3 = make_uniform_type<3>("U3");

}  // namespace kinglet
