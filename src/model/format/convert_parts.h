// What the two directions of convert_checkpoint share.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "kinglet/convert.h"
#include "model/format/hf.h"
#include "model/format/tensor_stream.h"

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

/// tokenizer.ggml.* keys from tokenizer.huggingface.json where they are absent, so that other engines read the file.
/// What cannot be said that way becomes a note.
void add_gguf_tokenizer(const Checkpoint& from, Metadata& metadata, std::vector<std::string>& notes);

Result<ConvertReport> convert_to_hugging_face(const Checkpoint& from, const std::string& output, const BlockType* type,
                                              const ConvertOptions& options);

}  // namespace kinglet
