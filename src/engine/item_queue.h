// Items of unequal cost, shared out between the threads of a pool.
#pragma once

#include <atomic>
#include <memory>

#include "base/thread_pool.h"

namespace kinglet {

/// Each thread takes its own share in order (what it fetches ahead is its own), then what others have not begun.
class ItemQueue {
  struct alignas(128) Counter {  // two lines: the prefetcher fetches pairs
    std::atomic<int> value{0};
  };

 public:
  explicit ItemQueue(int threads)
      : threads_(threads), taken_(std::make_unique<Counter[]>(static_cast<std::size_t>(threads))) {}

  /// Gives a thread's share back. A barrier has to follow before any thread takes.
  void reset(int thread) { taken_[static_cast<std::size_t>(thread)].value.store(0, std::memory_order_relaxed); }

  /// An item of [0, items) that nobody has taken, -1 when there is none.
  int take(int items, int thread) {
    for (int turn = 0; turn < threads_; ++turn) {
      const int owner = (thread + turn) % threads_;
      const WorkShare share = work_share(items, owner, threads_);
      std::atomic<int>& taken = taken_[static_cast<std::size_t>(owner)].value;
      if (taken.load(std::memory_order_relaxed) >= share.end - share.begin) continue;
      const int item = static_cast<int>(share.begin) + taken.fetch_add(1, std::memory_order_relaxed);
      if (item < share.end) return item;
    }
    return -1;
  }

 private:
  int threads_;
  std::unique_ptr<Counter[]> taken_;
};

}  // namespace kinglet
