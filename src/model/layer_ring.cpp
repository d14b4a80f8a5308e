#include "model/layer_ring.h"

#include <algorithm>

#include "base/try.h"

namespace kinglet {

std::size_t LayerRing::buffer_bytes(std::size_t bytes) {
  return (bytes + ScratchFile::kBlock - 1) / ScratchFile::kBlock * ScratchFile::kBlock;
}

Result<std::shared_ptr<LayerRing>> LayerRing::create(int first, std::vector<std::size_t> bytes, int buffers,
                                                     std::uint64_t resident) {
  std::shared_ptr<LayerRing> ring(new LayerRing());
  ring->first_ = first;
  ring->resident_ = resident;
  std::uint64_t total = 0;
  std::size_t largest = 0;
  for (const std::size_t size : bytes) {
    ring->offsets_.push_back(total);
    ring->sizes_.push_back(buffer_bytes(size));
    total += ring->sizes_.back();
    largest = std::max(largest, ring->sizes_.back());
  }
  for (int i = 0; i < buffers; ++i) {
    Buffer buffer;
    KINGLET_TRY(buffer.memory, AlignedMemory::allocate(largest));
    ring->buffers_.push_back(std::move(buffer));
  }
  KINGLET_TRY(ring->file_, ScratchFile::create(total));
  return ring;
}

LayerRing::~LayerRing() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
  if (reader_.joinable()) reader_.join();
}

const std::byte* LayerRing::address(int layer, std::size_t offset) const {
  const auto index = static_cast<std::size_t>(layer - first_) % buffers_.size();
  return buffers_[index].memory.data() + offset;
}

Result<void> LayerRing::write(int layer, std::size_t offset, std::span<const std::byte> bytes) {
  return file_->write(offsets_[static_cast<std::size_t>(layer - first_)] + offset, bytes);
}

Result<void> LayerRing::start() {
  KINGLET_CHECK(file_->seal());
  reader_ = std::thread([this] { work(); });
  return {};
}

void LayerRing::acquire(int layer) {
  const int index = layer - first_;
  if (index < 0) return;
  std::unique_lock lock(mutex_);
  Buffer& own = buffer(index);
  const auto there = [&] { return (own.holds == index && own.ready) || error_.has_value(); };
  if (!there()) {
    wanted_ = index;
    changed_.notify_all();
    changed_.wait(lock, there);
  }
  ++own.users;
  last_ = index;
}

void LayerRing::release(int layer) {
  const int index = layer - first_;
  if (index < 0) return;
  {
    const std::lock_guard lock(mutex_);
    --buffer(index).users;
  }
  changed_.notify_all();
}

Result<void> LayerRing::status() const {
  const std::lock_guard lock(mutex_);
  if (error_) return tl::unexpected<Error>(*error_);
  return {};
}

void LayerRing::read_ahead(bool ahead) {
  const std::lock_guard lock(mutex_);
  ahead_ = ahead;
}

std::uint64_t LayerRing::memory_bytes() const {
  std::uint64_t bytes = resident_;
  for (const Buffer& buffer : buffers_) bytes += buffer.memory.size();
  return bytes;
}

std::uint64_t LayerRing::bytes_read() const {
  const std::lock_guard lock(mutex_);
  return read_;
}

/// What the reader does next, -1: nothing. With the lock held.
int LayerRing::to_read() {
  const auto lacks = [&](int index) {
    const Buffer& own = buffer(index);
    return own.users == 0 && !(own.holds == index && own.ready);
  };
  if (wanted_ >= 0) {
    if (lacks(wanted_)) return wanted_;
    if (buffer(wanted_).holds == wanted_) wanted_ = -1;
  }
  if (!ahead_) return -1;
  const int count = static_cast<int>(sizes_.size());
  for (int step = 1; step <= std::min<int>(static_cast<int>(buffers_.size()), count); ++step) {
    const int index = (last_ + step) % count;
    // A buffer may hold what comes sooner.
    bool sooner = false;
    for (int before = 1; before < step; ++before)
      sooner = sooner || &buffer((last_ + before) % count) == &buffer(index);
    if (!sooner && lacks(index)) return index;
  }
  return -1;
}

void LayerRing::work() {
  std::unique_lock lock(mutex_);
  while (!ends_ && !error_) {
    const int index = to_read();
    if (index < 0) {
      changed_.wait(lock);
      continue;
    }
    Buffer& own = buffer(index);
    own.holds = index;
    own.ready = false;
    const std::size_t size = sizes_[static_cast<std::size_t>(index)];
    lock.unlock();
    auto done = file_->read(offsets_[static_cast<std::size_t>(index)], own.memory.bytes().first(size));
    lock.lock();
    if (!done) error_ = std::move(done).error();
    own.ready = done.has_value();
    read_ += size;
    changed_.notify_all();
  }
}

}  // namespace kinglet
