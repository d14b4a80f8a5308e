// Checks that every tensor directory must pass, whatever the format.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/block_type.h"
#include "kinglet/result.h"

namespace kinglet {

/// A text from a file as it may stand in a message: control characters and ill-formed UTF-8 escaped, at most 80 bytes.
std::string printable(std::string_view text);

/// A name (tensor, metadata key): not empty, at most `max_bytes`, UTF-8 without control characters, and not a path that
/// leads out of a folder. `what` is "tensor name".
Result<void> check_name(std::string_view name, std::uint64_t max_bytes, std::string_view what);

/// Bytes of a tensor; errors where a dimension or the product is out of range, or rows do not end with a block.
Result<std::uint64_t> tensor_bytes(std::string_view name, const BlockType& type, std::span<const std::int64_t> shape);

/// The bytes [begin, begin + size) of a file that one tensor claims.
struct Extent {
  std::uint64_t begin = 0, size = 0;
  const std::string* name = nullptr;
};
/// Extents relative to the data section must follow each other without gap or overlap, each at the next multiple of
/// `alignment`, and fill a section of `section` bytes (a last padding may be there or not). `file` and `section_start`
/// give errors their place.
Result<void> check_tiling(std::vector<Extent> extents, std::uint64_t alignment, std::uint64_t section,
                          std::string_view file, std::uint64_t section_start);

/// The error for bytes that are no model of a known format: names what they seem to be (zip, gzip, HTML, Git LFS
/// pointer, pickle, ...) and what to do.
tl::unexpected<Error> not_a_model(std::span<const std::byte> bytes, std::string_view expected, std::string_view file);

inline constexpr std::string_view kDamagedHint =
    "The file is cut short or damaged: fetch it again and compare its size and checksum.";

}  // namespace kinglet
