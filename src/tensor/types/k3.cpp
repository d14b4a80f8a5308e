// K3: a trellis of 3 bits a value, about 3.17 with its scales. The levels were trained on rows of real weights.
#include "kinglet/block_type.h"
#include "tensor/quantize/trellis_types.h"

namespace kinglet {

extern const BlockType block_type_k3;

namespace {

struct Levels {
  static constexpr std::int8_t kValues[64] = {
      -86, -62, -127, -62, -53, -38, -54, -38, -53, -39, -53, -36, -101, -74, -92, -70, -30, -20, -31, -17, -12, -3,
      -15, -2,  -12,  -3,  -13, -1,  -29, -19, -32, -19, 3,   12,  3,    14,  20,  29,  18,  31,  19,  30,  19,  30,
      3,   13,  2,    14,  37,  54,  38,  54,  67,  95,  72,  93,  62,   117, 64,  82,  40,  51,  38,  51,
  };
};

const BlockType* variant(std::int64_t columns);
constexpr auto kShort = make_short_trellis_types<3, Levels>("K3", variant, std::make_integer_sequence<int, 7>());
const BlockType* variant(std::int64_t columns) { return trellis_variant(block_type_k3, kShort, columns); }

}  // namespace

const BlockType block_type_k3 = make_trellis_type<3, Levels, 8>("K3", variant);

}  // namespace kinglet
