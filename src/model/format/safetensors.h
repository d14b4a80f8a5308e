// safetensors files, and Hugging Face directories of them.
// Source: https://github.com/huggingface/safetensors#format
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kinglet/checkpoint.h"
#include "kinglet/result.h"

namespace kinglet {

/// A tensor of a file, under the name that the file gives it.
struct SafetensorsTensor {
  std::string name;
  std::string dtype;                ///< "BF16"
  const BlockType* type = nullptr;  ///< null for dtypes that no tensor of ours has (BOOL, F8_E4M3)
  std::vector<std::int64_t> shape;
  std::uint64_t offset = 0;  ///< from the file's start
  std::uint64_t bytes = 0;
  bool operator==(const SafetensorsTensor&) const = default;
};

/// The validated header of one file.
struct SafetensorsDirectory {
  std::vector<SafetensorsTensor> tensors;                     ///< in the order of the header
  std::vector<std::pair<std::string, std::string>> metadata;  ///< __metadata__
};

/// The block type of a dtype; null if there is none. And back: "" where the type has no dtype.
const BlockType* safetensors_type(std::string_view dtype);
std::string_view safetensors_dtype(const BlockType& type);

/// Reads and validates the header, and that the data is there. `file` is for messages.
Result<SafetensorsDirectory> parse_safetensors(std::span<const std::byte> bytes, std::string_view file);

/// The length and the header of a file with these tensors one after the other (their offsets are not looked at).
std::string safetensors_header(const std::vector<SafetensorsTensor>& tensors,
                               const std::vector<std::pair<std::string, std::string>>& metadata);

/// model.safetensors.index.json: which tensor stands in which file of the folder. File names are plain: no folders.
struct ShardIndex {
  std::vector<std::string> files;                            ///< in order of first mention
  std::vector<std::pair<std::string, std::size_t>> tensors;  ///< name, index of the file
};
Result<ShardIndex> parse_shard_index(std::string_view text, std::string_view place);

/// A directory with config.json and model.safetensors (or shards), or a .safetensors file with config.json beside it.
Result<std::unique_ptr<Checkpoint>> open_hugging_face(const std::string& path);

}  // namespace kinglet
