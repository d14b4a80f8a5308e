// K4: a trellis of 4 bits a value, about 4.17 with its scales. The levels were trained on rows of real weights.
#include "kinglet/block_type.h"
#include "tensor/quantize/trellis_types.h"

namespace kinglet {

extern const BlockType block_type_k4;

namespace {

struct Levels {
  static constexpr std::int8_t kValues[64] = {
      -106, -83, -73, -63, -77, -66, -127, -93, -59, -50, -46, -36, -47, -38, -59, -50, -37, -27, -26, -17, -27, -17,
      -36,  -26, -17, -8,  -8,  0,   -8,   1,   -17, -8,  0,   8,   8,   16,  8,   16,  1,   7,   16,  24,  25,  35,
      24,   33,  16,  25,  34,  43,  48,   57,  45,  55,  36,  46,  61,  76,  89,  101, 81,  116, 63,  71,
  };
};

const BlockType* variant(std::int64_t columns);
constexpr auto kShort = make_short_trellis_types<4, Levels>("K4", variant, std::make_integer_sequence<int, 7>());
const BlockType* variant(std::int64_t columns) { return trellis_variant(block_type_k4, kShort, columns); }

}  // namespace

const BlockType block_type_k4 = make_trellis_type<4, Levels, 8>("K4", variant);

}  // namespace kinglet
