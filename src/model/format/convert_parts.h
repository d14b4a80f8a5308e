// What the two directions of convert_checkpoint share.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "kinglet/convert.h"
#include "model/format/hf.h"
#include "model/format/tensor_stream.h"
#include "tensor/codec/float_codec.h"

namespace kinglet {

struct PlannedTensor {
  const TensorInfo* info;
  const BlockType* to;
};
/// The type of each tensor; `type` null keeps matrices as they are.
std::vector<PlannedTensor> plan_tensors(const Checkpoint& from, const BlockType* type);
void note_fallbacks(const std::vector<PlannedTensor>& plans, const BlockType* type, std::vector<std::string>& notes);

class ConvertProgress {
 public:
  ConvertProgress(const Checkpoint& from, const ConvertOptions& options);
  /// kCancelled where the caller wants to stop.
  Result<void> advance(std::uint64_t done_in_tensor);
  void finish_tensor(std::uint64_t bytes) { finished_ += bytes; }

 private:
  const ConvertOptions& options_;
  std::uint64_t total_ = 0, finished_ = 0;
};

struct WrittenTensor {
  const TensorInfo* info;
  const BlockType* to;
  float add;               ///< added to every value
  std::int64_t heads;      ///< above 0: rows of so many heads go from neighbouring pairs to half-splits
  std::string codec = {};  ///< as TensorInfo::codec
};
Result<void> write_tensors(const Checkpoint& from, const std::vector<WrittenTensor>& tensors, ThreadPool& pool,
                           ConvertProgress& progress, ConvertReport& report,
                           const std::function<Result<void>(std::span<const std::byte>)>& sink);

/// A whole tensor in another type.
struct ConvertedTensor {
  std::vector<std::byte> bytes;
  bool lossless = true;  ///< every value survived
};
Result<ConvertedTensor> converted_tensor(const Checkpoint& from, const TensorInfo& info, const BlockType& to,
                                         ThreadPool& pool);

/// tensor/codec/float_codec.h for the bytes of a tensor of a type that has a codec (float_codec).
FloatCodeSize float_code_size(const BlockType& type, std::span<const std::byte> bytes);
Result<std::vector<std::byte>> encode_floats(const BlockType& type, std::span<const std::byte> bytes);

/// tokenizer.ggml.* keys from tokenizer.huggingface.json where they are absent, so that other engines read the file.
/// What cannot be said that way becomes a note.
void add_gguf_tokenizer(const Checkpoint& from, Metadata& metadata, std::vector<std::string>& notes);

Result<ConvertReport> convert_to_hugging_face(const Checkpoint& from, const std::string& output, const BlockType* type,
                                              const ConvertOptions& options);

}  // namespace kinglet
