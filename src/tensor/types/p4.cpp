// P4: codes of 4 bits into a table of signed powers, about 4.08 bits a value with its scale; P4_75 has the exponent
// 0.75.
#include "kinglet/block_type.h"
#include "tensor/quantize/power_types.h"

namespace kinglet {

extern const BlockType block_type_p4;
const BlockType block_type_p4 = PowerFamily<4, block_type_p4>::registered();

}  // namespace kinglet
