#include "engine/cache/paged_store.h"

#include <algorithm>
#include <cstring>

#include "base/try.h"

namespace kinglet {

PagedStore::PagedStore(const KvLayout& layout, Pages system_pages)
    : layout_(layout),
      system_pages_(system_pages),
      page_bytes_(layout.page_bytes()),
      key_group_bytes_(layout.key_group_bytes()),
      value_group_bytes_(layout.value_group_bytes()) {}

/// Slabs of 4 MiB: two huge pages, and small beside the 64 MiB that an engine may use above its file and its keys.
Result<void> PagedStore::grow() {
  constexpr std::size_t kSlab = std::size_t{4} << 20;
  const std::size_t pages = std::max<std::size_t>(kSlab / page_bytes_, 1);
  KINGLET_TRY(AlignedMemory slab, AlignedMemory::allocate(pages * page_bytes_, system_pages_));
  const auto first = static_cast<std::int32_t>(users_.size());
  users_.resize(users_.size() + pages, 0);
  free_.reserve(users_.size());  // release() must not allocate
  // From the back, so that pages come out in the order of their addresses.
  for (std::size_t i = pages; i-- > 0;)
    free_.push_back({slab.data() + i * page_bytes_, first + static_cast<std::int32_t>(i), 0});
  slabs_.push_back(std::move(slab));
  return {};
}

Result<KvPage> PagedStore::claim() {
  const std::lock_guard lock(mutex_);
  if (free_.empty()) KINGLET_CHECK(grow());
  KvPage page = free_.back();
  free_.pop_back();
  // Another sequence's values may be NaN. Keys need no care: a masked score is replaced, not multiplied. What was never
  // written is zero, and costs no memory as long as it stays so.
  std::memset(value_group(page, 0), 0, static_cast<std::size_t>(page.written) * value_group_bytes_);
  page.written = 0;
  users_[static_cast<std::size_t>(page.index)] = 1;
  ++in_use_;
  return page;
}

void PagedStore::retain(const KvPage& page) {
  const std::lock_guard lock(mutex_);
  ++users_[static_cast<std::size_t>(page.index)];
}

void PagedStore::release(const KvPage& page) {
  const std::lock_guard lock(mutex_);
  if (--users_[static_cast<std::size_t>(page.index)] > 0) return;
  free_.push_back(page);
  --in_use_;
}

bool PagedStore::is_shared(const KvPage& page) const {
  const std::lock_guard lock(mutex_);
  return users_[static_cast<std::size_t>(page.index)] > 1;
}

std::uint64_t PagedStore::bytes_in_use() const {
  const std::lock_guard lock(mutex_);
  return in_use_ * page_bytes_;
}

std::uint64_t PagedStore::bytes_held() const {
  const std::lock_guard lock(mutex_);
  std::uint64_t bytes = 0;
  for (const AlignedMemory& slab : slabs_) bytes += slab.size();
  return bytes;
}

}  // namespace kinglet
