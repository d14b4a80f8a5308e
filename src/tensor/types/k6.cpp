// K6: a trellis of 6 bits a value, about 6.17 with its scales. The levels were trained on rows of real weights.
#include "kinglet/block_type.h"
#include "tensor/quantize/trellis_types.h"

namespace kinglet {

extern const BlockType block_type_k6;

namespace {

struct Levels {
  static constexpr std::int8_t kValues[64] = {
      -127, -97, -87, -77, -73, -69, -64, -60, -56, -49, -52, -40, -46, -43, -35, -38, -33, -31, -28, -26, -24, -21,
      -19,  -17, -15, -12, -10, -8,  -6,  -4,  -2,  2,   0,   5,   8,   4,   10,  7,   11,  13,  17,  15,  19,  21,
      25,   27,  23,  30,  32,  35,  38,  40,  43,  46,  48,  51,  55,  59,  67,  63,  74,  81,  92,  104,
  };
};

const BlockType* variant(std::int64_t columns);
constexpr auto kShort = make_short_trellis_types<6, Levels>("K6", variant, std::make_integer_sequence<int, 7>());
const BlockType* variant(std::int64_t columns) { return trellis_variant(block_type_k6, kShort, columns); }

}  // namespace

const BlockType block_type_k6 = make_trellis_type<6, Levels, 8>("K6", variant);

}  // namespace kinglet
