#include "base/aligned_memory.h"

#include <sys/mman.h>

#include <string>
#include <utility>

namespace kinglet {

Result<AlignedMemory> AlignedMemory::allocate(std::uint64_t bytes, Pages pages) {
  AlignedMemory memory;
  if (bytes == 0) return memory;
  const auto refused = [&] {
    return fail(ErrorCode::kExhausted, "cannot reserve " + std::to_string(bytes) + " bytes of memory",
                "Close other programs, or use a smaller model, context or batch.");
  };
  if (bytes > SIZE_MAX / 2 - 2 * kAlignment) return refused();
  // Whole huge pages, so that a last one that is nearly full can be huge as well, and room to move the start to a
  // border.
  const std::size_t whole = (static_cast<std::size_t>(bytes) + kAlignment - 1) / kAlignment * kAlignment;
  const std::size_t mapped = whole + kAlignment;
  void* mapping = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) return refused();
  const auto address = reinterpret_cast<std::uintptr_t>(mapping);
  memory.mapping_ = mapping;
  memory.mapping_size_ = mapped;
  memory.data_ = reinterpret_cast<std::byte*>((address + kAlignment - 1) / kAlignment * kAlignment);
  memory.size_ = static_cast<std::size_t>(bytes);
#ifdef MADV_HUGEPAGE
  // What is left behind the last full one keeps small pages where a huge one would cost memory that is never used.
  const std::size_t rest = memory.size_ % kAlignment;
  const std::size_t huge = rest >= kAlignment / 4 * 3 ? whole : memory.size_ - rest;
  if (huge > 0 && pages == Pages::kHuge) (void)madvise(memory.data_, huge, MADV_HUGEPAGE);
#endif
  return memory;
}

AlignedMemory::AlignedMemory(AlignedMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      mapping_(std::exchange(other.mapping_, nullptr)),
      mapping_size_(std::exchange(other.mapping_size_, 0)) {}

AlignedMemory& AlignedMemory::operator=(AlignedMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(mapping_, other.mapping_);
  std::swap(mapping_size_, other.mapping_size_);
  return *this;
}

AlignedMemory::~AlignedMemory() {
  if (mapping_) munmap(mapping_, mapping_size_);
}

}  // namespace kinglet
