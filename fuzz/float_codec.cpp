// Any bytes either are a coded tensor or an error; any numbers come back; coded numbers that are damaged before or
// after they are opened are read no further than they go, and alike in pairs of blocks and one by one.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "tensor/codec/float_codec.h"

namespace {

using kinglet::FloatCode;
using kinglet::FloatKind;
using kinglet::kFloatBlock;

void check_numbers(FloatKind kind, const std::vector<std::uint16_t>& numbers) {
  const auto bytes = kinglet::encode_floats(kind, numbers);
  const auto code = FloatCode::open(*bytes, kind, numbers.size());
  std::vector<std::uint16_t> out(numbers.size());
  if (!code || !code->decode_all(out) || out != numbers) __builtin_trap();
}

void check_decoders(const FloatCode& code) {
  std::vector<std::uint16_t> all(code.count()), one(kFloatBlock);
  const bool read = code.decode_all(all).has_value();
  bool each_read = true;
  for (std::uint32_t block = 0; block < code.blocks(); ++block) {
    const std::size_t begin = std::size_t{block} * kFloatBlock;
    one.resize(std::min<std::size_t>(kFloatBlock, code.count() - begin));
    one.shrink_to_fit();  // so that a number past the end is seen
    if (!code.decode_block(block, one.data())) each_read = false;
    if (read && !std::equal(one.begin(), one.end(), all.begin() + static_cast<std::ptrdiff_t>(begin))) __builtin_trap();
  }
  if (read != each_read) __builtin_trap();
}

// data: codes cut from the end, edits, then for each two bytes of place, one for what that is counted from, the value;
// then the numbers, which are repeated.
void check_damaged(FloatKind kind, bool opened_first, std::size_t count, const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kIndexAt = 152, kEdit = 4;
  if (size < 4) return;
  const std::size_t cut = data[0], edits = std::min<std::size_t>(data[1] % 16, (size - 4) / kEdit);
  const std::uint8_t* const edit = data + 2;
  const std::uint8_t* const given = edit + edits * kEdit;
  const std::size_t kinds = static_cast<std::size_t>(data + size - given) / 2;
  std::vector<std::uint16_t> numbers(count);
  for (std::size_t i = 0; i < count; ++i) std::memcpy(&numbers[i], given + i % kinds * 2, 2);
  auto bytes = *kinglet::encode_floats(kind, numbers);
  const std::size_t blocks = (count + kFloatBlock - 1) / kFloatBlock, codes = kIndexAt + 8 * blocks + count;
  if (cut <= bytes.size() - codes && cut > 0) {  // an index that fits codes which are too short
    std::byte* const last = bytes.data() + kIndexAt + 8 * (blocks - 1);
    const auto end = static_cast<std::uint32_t>(bytes.size() - codes - cut);
    std::memcpy(last, &end, sizeof end);
    bytes.resize(bytes.size() - cut);
    bytes.shrink_to_fit();
  }
  const auto damage = [&] {
    const std::size_t from[] = {0, 24, kIndexAt, codes};
    for (std::size_t i = 0; i < edits; ++i) {
      const std::uint8_t* e = edit + i * kEdit;
      const std::size_t at = from[e[2] % 4] + (e[0] | std::size_t{e[1]} << 8);
      if (at < bytes.size()) bytes[at] = static_cast<std::byte>(e[3]);
    }
  };
  if (!opened_first) damage();
  const auto code = FloatCode::open(bytes, kind, count);
  if (opened_first) damage();
  if (code) check_decoders(*code);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2 || size > 1 << 16) return 0;
  const std::uint8_t mode = data[0];
  const FloatKind kind = mode % 2 == 0 ? FloatKind::kBfloat16 : FloatKind::kFloat16;
  const std::uint64_t asked = data[1] * 97u;
  data += 2, size -= 2;
  if (mode % 8 >= 4) {
    check_damaged(kind, mode % 4 >= 2, asked, data, size);
    return 0;
  }
  if (mode % 4 >= 2) {
    std::vector<std::uint16_t> numbers(size / 2);
    if (!numbers.empty()) std::memcpy(numbers.data(), data, numbers.size() * 2);
    check_numbers(kind, numbers);
    return 0;
  }
  const std::vector<std::uint8_t> exact(data, data + size);  // so that a read past the end is seen
  const auto code = FloatCode::open(std::as_bytes(std::span(exact)), kind, asked);
  if (code) check_decoders(*code);
  return 0;
}
