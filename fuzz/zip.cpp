// A zip archive from nobody: the reader answers an error or entries whose names stay below their folder and whose data
// has exactly the declared size, however much they unpack to.
#include <cstddef>
#include <cstdint>
#include <span>

#include "store/layout.h"
#include "store/zip.h"

namespace {

constexpr std::uint64_t kMaxBytes = 1 << 16;

void check(bool holds) {
  if (!holds) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto zip = kinglet::ZipReader::open(std::as_bytes(std::span(data, size)), "input");
  if (!zip) {
    check(!zip.error().message.empty() && zip.error().place.starts_with("input"));
    return 0;
  }
  std::uint64_t packed = 0;
  for (const kinglet::ZipEntry& entry : zip->entries()) {
    check(kinglet::is_relative_path(entry.name));
    check(zip->find(entry.name) == &entry);
    packed += entry.packed;
    std::uint64_t bytes = 0;
    const auto result = zip->read(entry, kMaxBytes, [&](std::span<const std::byte> piece) -> kinglet::Result<void> {
      bytes += piece.size();
      return {};
    });
    check(bytes <= kMaxBytes && bytes <= entry.bytes);
    check(!result || bytes == entry.bytes);
  }
  check(packed <= size);  // no two entries share their bytes
  return 0;
}
