// Any bits decode, any values encode to blocks with finite values, and what was encoded once stays as it is.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "kinglet/block_type.h"

namespace {

using kinglet::BlockType;

void check(bool holds) {
  if (!holds) __builtin_trap();
}

std::vector<float> encode_and_decode(const BlockType& type, const std::vector<float>& values, const float* importance) {
  const std::size_t blocks = values.size() / type.block_values;
  std::vector<std::byte> data(blocks * type.block_bytes);
  std::vector<float> out(values.size());
  type.encode(values.data(), blocks, importance, data.data());
  type.decode(data.data(), blocks, out.data());
  return out;
}

void check_values(const BlockType& type, const std::vector<float>& values, const float* importance) {
  const std::vector<float> once = encode_and_decode(type, values, importance);
  if (type.form.bits == 0) return;
  for (float value : once) check(std::isfinite(value));
  if (type.form.has_minimum || type.is_native) return;  // may need more than 24 bits to be found again
  check(encode_and_decode(type, once, nullptr) == once);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto types = kinglet::block_types();
  if (size < 2 || size > 1 << 14) return 0;
  const BlockType& type = *types[data[0] % types.size()];
  const bool blocks_given = data[1] % 2 != 0, weighted = data[1] % 4 >= 2;
  data += 2, size -= 2;
  std::vector<float> values;
  if (blocks_given) {
    const std::size_t blocks = size / type.block_bytes;
    std::vector<std::byte> bytes(blocks * type.block_bytes);
    if (blocks != 0) std::memcpy(bytes.data(), data, bytes.size());
    values.resize(blocks * type.block_values);
    type.decode(bytes.data(), blocks, values.data());
    if (type.codes != nullptr) {
      std::vector<std::int8_t> codes(values.size());
      std::vector<float> scales(values.size() / type.form.group), minimums(scales.size());
      type.codes(bytes.data(), blocks, codes.data(), scales.data(), minimums.data());
    }
  } else {
    values.resize(size / sizeof(float) / type.block_values * type.block_values);
    if (!values.empty()) std::memcpy(values.data(), data, values.size() * sizeof(float));
  }
  if (values.empty()) return 0;
  const std::vector<float> importance(values.rbegin(), values.rend());
  check_values(type, values, weighted ? importance.data() : nullptr);
  return 0;
}
