// "P4_75": the power types by exponent.
#include <charconv>

#include "tensor/quantize/power_types.h"
#include "tensor/type_family.h"

namespace kinglet {

extern const BlockType block_type_p2, block_type_p3, block_type_p4, block_type_p5;

namespace {

const BlockType* find(std::string_view name) {
  if (name.size() < 5 || (name[0] != 'P' && name[0] != 'p') || name[2] != '_' || name[3] == '0') return nullptr;
  int exponent = 0;
  const auto [end, error] = std::from_chars(name.data() + 3, name.data() + name.size(), exponent);
  if (error != std::errc() || end != name.data() + name.size()) return nullptr;
  if (exponent < kPowerFirst || exponent > kPowerLast || exponent % kPowerStep != 0) return nullptr;
  switch (name[1]) {
    case '2':
      return PowerFamily<2, block_type_p2>::with_exponent(exponent);
    case '3':
      return PowerFamily<3, block_type_p3>::with_exponent(exponent);
    case '4':
      return PowerFamily<4, block_type_p4>::with_exponent(exponent);
    case '5':
      return PowerFamily<5, block_type_p5>::with_exponent(exponent);
    default:
      return nullptr;
  }
}

}  // namespace

extern const TypeFamily type_family_power;
const TypeFamily type_family_power = {"power", find};

}  // namespace kinglet
