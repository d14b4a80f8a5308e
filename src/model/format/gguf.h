// GGUF: constants of the format, and the parser behind open_checkpoint (which the fuzzers call on bytes in memory).
// Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/checkpoint.h"
#include "kinglet/metadata.h"
#include "kinglet/result.h"

namespace kinglet {

inline constexpr std::string_view kGgufMagic = "GGUF";
inline constexpr std::uint32_t kGgufVersion = 3;
inline constexpr std::uint64_t kGgufAlignment = 32;  ///< where general.alignment is absent

/// The validated directory of one file.
struct GgufDirectory {
  std::uint32_t version = kGgufVersion;
  Metadata metadata;
  std::vector<TensorInfo> tensors;     ///< in file order
  std::vector<std::uint64_t> offsets;  ///< of each tensor, from the file's start
};

/// Reads and validates everything before the tensors' data, and that the data is there. `file` is for messages.
Result<GgufDirectory> parse_gguf(std::span<const std::byte> bytes, std::string_view file);

/// One file that is wholly in memory; `owner` keeps the bytes alive.
Result<std::unique_ptr<Checkpoint>> open_gguf_bytes(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                                                    std::string path);

/// A file, or the first of a split set whose others lie beside it.
Result<std::unique_ptr<Checkpoint>> open_gguf(const std::string& path);

/// general.alignment, or the format's default. kCorrupt where it is no power of two within limits.
Result<std::uint64_t> gguf_alignment(const Metadata& metadata, std::string_view file);

/// Everything before the tensors' data, with the padding before it. The plans are valid (see GgufWriter::create).
std::string gguf_header(const Metadata& metadata, const std::vector<GgufWriter::Plan>& plans, std::uint64_t alignment);

/// Bytes of a value of this type; 0 for strings and arrays.
std::uint64_t gguf_value_bytes(MetadataType type);

/// ggml's name of a tensor type that has no BlockType here ("IQ2_XXS"); "" where the number means nothing.
std::string_view gguf_foreign_type(std::uint32_t id);

}  // namespace kinglet
