// K2: a trellis of 2 bits a value, about 2.17 with its scales. The levels were trained on rows of real weights.
#include "kinglet/block_type.h"
#include "tensor/quantize/trellis_types.h"

namespace kinglet {

extern const BlockType block_type_k2;

namespace {

struct Levels {
  static constexpr std::int8_t kValues[64] = {
      -84, -42, -28, -8,  -115, -58, -24, -10, -23, -8, -66, -39, -19, -6, -74, -40, -26, -7, -90, -49, -23, -12,
      -77, -51, -64, -41, -22,  -7,  -59, -41, -26, -8, 6,   28,  45,  70, 12,  24,  51,  97, 44,  63,  6,   21,
      49,  127, 5,   22,  45,   89,  6,   23,  54,  78, 9,   24,  9,   19, 39,  58,  10,  23, 36,  58,
  };
};

const BlockType* variant(std::int64_t columns);
constexpr auto kShort = make_short_trellis_types<2, Levels>("K2", variant, std::make_integer_sequence<int, 7>());
const BlockType* variant(std::int64_t columns) { return trellis_variant(block_type_k2, kShort, columns); }

}  // namespace

const BlockType block_type_k2 = make_trellis_type<2, Levels, 8>("K2", variant);

}  // namespace kinglet
