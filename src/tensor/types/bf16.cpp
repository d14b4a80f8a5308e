// BF16: the upper half of a single-precision number.
#include "kinglet/block_type.h"
#include "tensor/quantize/half_blocks.h"

namespace kinglet {

extern const BlockType block_type_bf16;
const BlockType block_type_bf16 = {
    .name = "BF16",
    .gguf_id = 30,
    .block_values = 1,
    .block_bytes = 2,
    .form = {},
    .decode = decode_halves<bf16_to_f32>,
    .codes = nullptr,
    .encode = encode_halves<f32_to_bf16>,
};

}  // namespace kinglet
