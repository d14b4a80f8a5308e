// F16: IEEE half precision.
#include "kinglet/block_type.h"
#include "tensor/quantize/half_blocks.h"

namespace kinglet {

extern const BlockType block_type_f16;
const BlockType block_type_f16 = {
    .name = "F16",
    .gguf_id = 1,
    .block_values = 1,
    .block_bytes = 2,
    .form = {},
    .decode = decode_halves<f16_to_f32>,
    .codes = nullptr,
    .encode = encode_halves<f32_to_f16>,
};

}  // namespace kinglet
