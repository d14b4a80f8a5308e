// P5: codes of 5 bits into a table of signed powers, about 5.08 bits a value with its scale; P5_75 has the exponent
// 0.75.
#include "kinglet/block_type.h"
#include "tensor/quantize/power_types.h"

namespace kinglet {

extern const BlockType block_type_p5;
const BlockType block_type_p5 = PowerFamily<5, block_type_p5>::registered();

}  // namespace kinglet
