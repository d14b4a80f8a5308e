// A model from one format or number type to another, tensor by tensor, so that a model larger than memory passes.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kinglet/checkpoint.h"
#include "kinglet/result.h"

namespace kinglet {

struct ConvertOptions {
  /// Of the matrices: a float type or any block type that has an encoder ("q4_k", any case). "": as they are. Vectors
  /// (norms, biases) stay f32, tables that are only looked up (positions, token types) stay floats, and a matrix whose
  /// rows are not whole blocks of the type gets the smallest type of at least as many bits that fits.
  std::string type;
  std::string format = "gguf";  ///< "gguf": a file; "safetensors": a Hugging Face folder
  bool lossless = false;        ///< entropy-code the bf16 and f16 matrices (gguf only): the same values in fewer bytes
  int threads = 0;              ///< 0: all cores
  std::function<void(std::uint64_t done, std::uint64_t total)> progress;  ///< source bytes; may be empty
  std::function<bool()> cancelled;                                        ///< asked between steps; may be empty
};

struct ConvertReport {
  std::string output;
  std::uint64_t bytes = 0;  ///< of all files written
  std::uint64_t parameters = 0;
  double bits_per_weight = 0;
  double layer_bits_per_weight = 0;  ///< of the layers alone, without embedding and head
  bool lossless = true;              ///< every value in the output equals the source's
  std::vector<std::string> notes;    ///< what differs from what was asked, and what could not be carried over
};

/// Writes `from` to `output`, which appears whole or not at all (a folder must be new or empty).
/// Errors: kInvalidArgument (unknown type or format), kUnsupported, kCorrupt (values that are not finite), kExhausted
/// (disk), kIo, kCancelled.
Result<ConvertReport> convert_checkpoint(const Checkpoint& from, const std::string& output,
                                         const ConvertOptions& options);

/// Bits per parameter: of all tensors, and of those of the layers ("blk.") alone.
struct BitCounts {
  std::uint64_t parameters = 0;
  double bits_per_weight = 0, layer_bits_per_weight = 0;
};
BitCounts count_bits(std::span<const TensorInfo> tensors);

/// The type that a tensor gets when `type` is asked for (see ConvertOptions::type).
const BlockType* converted_type(const TensorInfo& tensor, const BlockType& type);

}  // namespace kinglet
