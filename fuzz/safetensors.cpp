// safetensors from memory. Oracle: what is accepted lies inside the file, and written again it reads back equal.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "model/format/safetensors.h"

namespace {
void require(bool condition) {
  if (!condition) std::abort();
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kinglet;
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  const auto first = parse_safetensors(bytes, "input");
  if (!first) {
    require(!first.error().message.empty() && !first.error().place.empty() && !first.error().hint.empty());
    return 0;
  }
  std::uint64_t sum = 0;
  for (const SafetensorsTensor& tensor : first->tensors) {
    require(tensor.offset <= size && tensor.bytes <= size - tensor.offset);
    sum += tensor.bytes;
  }
  std::string written = safetensors_header(first->tensors, first->metadata);
  std::uint64_t offset = written.size();
  written.resize(written.size() + sum);
  const auto second = parse_safetensors(std::as_bytes(std::span(written)), "written");
  require(second.has_value());
  require(second->metadata == first->metadata && second->tensors.size() == first->tensors.size());
  for (std::size_t i = 0; i < first->tensors.size(); ++i) {
    SafetensorsTensor expected = first->tensors[i];
    expected.offset = offset;
    offset += expected.bytes;
    require(second->tensors[i] == expected);
  }
  return 0;
}
