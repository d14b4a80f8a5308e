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

/// The validated header of one file. Names are as the file has them.
struct SafetensorsDirectory {
  std::vector<TensorInfo> tensors;                            ///< in the order of their data
  std::vector<std::uint64_t> offsets;                         ///< of each tensor, from the file's start
  std::vector<std::pair<std::string, std::string>> metadata;  ///< __metadata__
};

/// Reads and validates the header, and that the data is there. `file` is for messages.
Result<SafetensorsDirectory> parse_safetensors(std::span<const std::byte> bytes, std::string_view file);

/// model.safetensors.index.json: which tensor stands in which file of the folder. File names are plain: no folders.
struct ShardIndex {
  std::vector<std::string> files;                            ///< in order of first mention
  std::vector<std::pair<std::string, std::size_t>> tensors;  ///< name, index of the file
};
Result<ShardIndex> parse_shard_index(std::string_view text, std::string_view place);

/// A directory with config.json and model.safetensors (or shards), or a .safetensors file with config.json beside it.
Result<std::unique_ptr<Checkpoint>> open_hugging_face(const std::string& path);

}  // namespace kinglet
