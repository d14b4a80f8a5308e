// P2: codes of 2 bits into a table of signed powers, about 2.08 bits a value with its scale; P2_75 has the exponent
// 0.75.
#include "kinglet/block_type.h"
#include "tensor/quantize/power_types.h"

namespace kinglet {

extern const BlockType block_type_p2;
const BlockType block_type_p2 = PowerFamily<2, block_type_p2>::registered();

}  // namespace kinglet
