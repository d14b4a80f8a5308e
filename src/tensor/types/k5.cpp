// K5: a trellis of 5 bits a value, about 5.17 with its scales. The levels were trained on rows of real weights.
#include "kinglet/block_type.h"
#include "tensor/quantize/trellis_types.h"

namespace kinglet {

extern const BlockType block_type_k5;

namespace {

struct Levels {
  static constexpr std::int8_t kValues[64] = {
      -116, -99, -92, -86, -79, -73, -68, -63, -59, -55, -52, -48, -47, -42, -41, -37, -36, -31, -31, -26, -26, -22,
      -21,  -17, -17, -12, -12, -8,  -8,  -4,  -4,  0,   0,   8,   8,   4,   5,   12,  13,  17,  17,  21,  21,  25,
      25,   29,  29,  34,  34,  39,  40,  44,  46,  50,  52,  57,  60,  65,  69,  76,  83,  92,  104, 127,
  };
};

const BlockType* variant(std::int64_t columns);
constexpr auto kShort = make_short_trellis_types<5, Levels>("K5", variant, std::make_integer_sequence<int, 7>());
const BlockType* variant(std::int64_t columns) { return trellis_variant(block_type_k5, kShort, columns); }

}  // namespace

const BlockType block_type_k5 = make_trellis_type<5, Levels, 8>("K5", variant);

}  // namespace kinglet
