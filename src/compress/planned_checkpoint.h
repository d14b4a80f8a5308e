// A checkpoint that does not exist yet: what a step will write, so that the next one can be planned.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "kinglet/checkpoint.h"

namespace kinglet {

class PlannedCheckpoint final : public Checkpoint {
 public:
  PlannedCheckpoint(Metadata metadata, std::vector<TensorInfo> tensors)
      : metadata_(std::move(metadata)), tensors_(std::move(tensors)) {}
  const Metadata& metadata() const override { return metadata_; }
  std::span<const TensorInfo> tensors() const override { return tensors_; }
  Result<TensorData> data(const TensorInfo&) const override {
    return fail(ErrorCode::kUnsupported, "this step needs what the step before it writes, and cannot be planned alone");
  }
  std::string_view format() const override { return "gguf"; }
  std::string_view path() const override { return ""; }
  std::uint64_t file_bytes() const override { return 0; }

 private:
  Metadata metadata_;
  std::vector<TensorInfo> tensors_;
};

}  // namespace kinglet
