// Any bytes either are a coded tensor or an error; any numbers come back.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "tensor/codec/float_codec.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2 || size > 1 << 16) return 0;
  const auto kind = data[0] % 2 == 0 ? kinglet::FloatKind::kBfloat16 : kinglet::FloatKind::kFloat16;
  const bool numbers_given = data[0] % 4 >= 2;
  const std::uint64_t asked = data[1] * 97u;
  data += 2, size -= 2;
  if (numbers_given) {
    std::vector<std::uint16_t> numbers(size / 2), out(size / 2);
    if (!numbers.empty()) std::memcpy(numbers.data(), data, numbers.size() * 2);
    const auto bytes = kinglet::encode_floats(kind, numbers);
    const auto code = kinglet::FloatCode::open(*bytes, kind, numbers.size());
    if (!code || !code->decode_all(out) || out != numbers) __builtin_trap();
    return 0;
  }
  const std::vector<std::uint8_t> exact(data, data + size);  // so that a read past the end is seen
  const auto code = kinglet::FloatCode::open(std::as_bytes(std::span(exact)), kind, asked);
  if (!code) return 0;
  std::vector<std::uint16_t> out(asked);
  (void)code->decode_all(out);
  return 0;
}
