// Memory for keys and values in pages: 256 positions of one layer and one KV head, keys before values. Pages are
// counted by their users, so that sequences with the same beginning share it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "base/aligned_memory.h"
#include "kinglet/result.h"
#include "tensor/kernels/attention.h"

namespace kinglet {

/// One page. The store that gave it out owns the memory.
struct KvPage {
  std::byte* data = nullptr;  ///< [16 groups of keys][16 groups of values], 64-byte aligned
  std::int32_t index = -1;
  /// Groups that its user may have written, from the first on. Only who uses a page alone writes it, so that of several
  /// users each knows the most.
  std::int32_t written = 0;
};

/// Pages come from slabs, of the system's huge pages or of small ones: with those a short text, which uses a small part
/// of each page, costs a small part of the memory, and a prompt takes some percent longer. May be used by several
/// threads.
class PagedStore {
 public:
  explicit PagedStore(const KvLayout& layout, Pages system_pages = Pages::kHuge);
  PagedStore(const PagedStore&) = delete;
  PagedStore& operator=(const PagedStore&) = delete;

  const KvLayout& layout() const { return layout_; }
  std::size_t page_bytes() const { return page_bytes_; }

  /// A page that the caller alone uses; its values are finite (a position that was never written must not be able to
  /// turn a masked product into NaN). kExhausted where the system refuses memory.
  Result<KvPage> claim();
  void retain(const KvPage& page);
  void release(const KvPage& page);
  bool is_shared(const KvPage& page) const;

  std::uint64_t bytes_in_use() const;  ///< claimed pages, a shared one counted once
  std::uint64_t bytes_held() const;    ///< slabs

  std::byte* key_group(const KvPage& page, int group) const {
    return page.data + key_group_bytes_ * static_cast<std::size_t>(group);
  }
  std::byte* value_group(const KvPage& page, int group) const {
    return page.data + kKvGroups * key_group_bytes_ + value_group_bytes_ * static_cast<std::size_t>(group);
  }

 private:
  Result<void> grow();

  KvLayout layout_;
  Pages system_pages_;
  std::size_t page_bytes_, key_group_bytes_, value_group_bytes_;
  mutable std::mutex mutex_;
  std::vector<AlignedMemory> slabs_;
  std::vector<std::int32_t> users_;  ///< by page index
  std::vector<KvPage> free_;         ///< the next to give out is the last
  std::uint64_t in_use_ = 0;
};

}  // namespace kinglet
