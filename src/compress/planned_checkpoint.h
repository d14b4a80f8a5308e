// A checkpoint that does not exist yet: what a step will write, so that the next one can be planned.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "kinglet/pass.h"

namespace kinglet {

/// Pass and context, with the source that it names, must outlive it.
class PlannedCheckpoint final : public Checkpoint {
 public:
  PlannedCheckpoint(Metadata metadata, std::vector<TensorInfo> tensors, Pass& pass, PassContext& context)
      : metadata_(std::move(metadata)), tensors_(std::move(tensors)), pass_(pass), context_(context) {}
  const Metadata& metadata() const override { return metadata_; }
  std::span<const TensorInfo> tensors() const override { return tensors_; }
  /// Of tensors that the pass leaves as they are, or can make at once.
  Result<TensorData> data(const TensorInfo& tensor) const override {
    const TensorInfo* before = context_.source->find(tensor.name);
    const bool kept = before && before->type == tensor.type && before->shape == tensor.shape;
    return kept && tensor.codec.empty() ? context_.source->data(*before) : pass_.preview(context_, tensor.name);
  }
  std::string_view format() const override { return "gguf"; }
  std::string_view path() const override { return ""; }
  std::uint64_t file_bytes() const override { return 0; }

 private:
  Metadata metadata_;
  std::vector<TensorInfo> tensors_;
  Pass& pass_;
  PassContext& context_;
};

}  // namespace kinglet
