// The streamed part of a model's packed weights.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/aligned_memory.h"
#include "base/scratch_file.h"
#include "kinglet/weight_stream.h"

namespace kinglet {

/// Layers [first, first + count) lie in a scratch file, one after the other; layer first + i is read into buffer
/// i % buffers, always the same, so that matrices keep their addresses.
class LayerRing final : public WeightStream {
 public:
  /// `bytes[i]` of layer first + i. `resident` is what of the model is in memory beside the ring.
  static Result<std::shared_ptr<LayerRing>> create(int first, std::vector<std::size_t> bytes, int buffers,
                                                   std::uint64_t resident);
  ~LayerRing() override;
  /// What a layer of so many bytes takes in a buffer.
  static std::size_t buffer_bytes(std::size_t bytes);

  /// Where the byte `offset` of a layer will be while the layer is acquired.
  const std::byte* address(int layer, std::size_t offset) const;
  /// While the model is packed, from several threads.
  Result<void> write(int layer, std::size_t offset, std::span<const std::byte> bytes);
  /// Packing is done: reading begins.
  Result<void> start();

  void acquire(int layer) override;
  void release(int layer) override;
  Result<void> status() const override;
  void read_ahead(bool ahead) override;
  int streamed_layers() const override { return static_cast<int>(sizes_.size()); }
  std::uint64_t memory_bytes() const override;
  std::uint64_t bytes_read() const override;

 private:
  struct Buffer {
    AlignedMemory memory;
    int holds = -1;  ///< streamed layer that it has, or that is being read into it
    bool ready = false;
    int users = 0;  ///< threads that have acquired it
  };
  LayerRing() = default;
  Buffer& buffer(int index) { return buffers_[static_cast<std::size_t>(index) % buffers_.size()]; }
  int to_read();
  void work();

  int first_ = 0;
  std::vector<std::size_t> sizes_;
  std::vector<std::uint64_t> offsets_;
  std::vector<Buffer> buffers_;
  std::uint64_t resident_ = 0;
  std::unique_ptr<ScratchFile> file_;
  std::thread reader_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  int wanted_ = -1;  ///< a pass waits for it
  int last_ = -1;    ///< that a pass used; those after it come next
  bool ahead_ = true, ends_ = false;
  std::uint64_t read_ = 0;
  std::optional<Error> error_;
};

}  // namespace kinglet
