// P3: codes of 3 bits into a table of signed powers, about 3.08 bits a value with its scale; P3_75 has the exponent
// 0.75.
#include "kinglet/block_type.h"
#include "tensor/quantize/power_types.h"

namespace kinglet {

extern const BlockType block_type_p3;
const BlockType block_type_p3 = PowerFamily<3, block_type_p3>::registered();

}  // namespace kinglet
