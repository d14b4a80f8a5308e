// Tensors in memory as a checkpoint: what a pass has just made, for the loaders and the Linear seam.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/checkpoint.h"

namespace kinglet {

class MemoryCheckpoint final : public Checkpoint {
 public:
  explicit MemoryCheckpoint(Metadata metadata = {}) : metadata_(std::move(metadata)) {}
  void add(std::string name, const BlockType& type, std::vector<std::int64_t> shape, TensorData data) {
    infos_.push_back({std::move(name), &type, std::move(shape), data.bytes.size()});
    data_.push_back(std::move(data));
  }
  const Metadata& metadata() const override { return metadata_; }
  std::span<const TensorInfo> tensors() const override { return infos_; }
  Result<TensorData> data(const TensorInfo& tensor) const override {
    return data_[static_cast<std::size_t>(&tensor - infos_.data())];
  }
  std::string_view format() const override { return "memory"; }
  std::string_view path() const override { return ""; }
  std::uint64_t file_bytes() const override {
    std::uint64_t sum = 0;
    for (const TensorInfo& info : infos_) sum += info.bytes;
    return sum;
  }

 private:
  Metadata metadata_;
  std::vector<TensorInfo> infos_;
  std::vector<TensorData> data_;
};

/// Another's checkpoint, for those who want to own one. The other must outlive it.
class BorrowedCheckpoint : public Checkpoint {
 public:
  explicit BorrowedCheckpoint(const Checkpoint& other) : other_(other) {}
  const Metadata& metadata() const override { return other_.metadata(); }
  std::span<const TensorInfo> tensors() const override { return other_.tensors(); }
  Result<TensorData> data(const TensorInfo& tensor) const override { return other_.data(tensor); }
  std::string_view format() const override { return other_.format(); }
  std::string_view path() const override { return other_.path(); }
  std::uint64_t file_bytes() const override { return other_.file_bytes(); }
  void release(const TensorInfo& tensor, std::uint64_t begin, std::uint64_t end) const override {
    other_.release(tensor, begin, end);
  }

 private:
  const Checkpoint& other_;
};

/// Bytes that the returned TensorData owns.
inline TensorData own_bytes(std::vector<std::byte> bytes) {
  auto owner = std::make_shared<std::vector<std::byte>>(std::move(bytes));
  return {.bytes = *owner, .owner = owner};
}

}  // namespace kinglet
