// Threads that compute one step together. Starting a region and meeting at a barrier cost well under a microsecond
// while the threads spin, and nothing is allocated; threads that find no work for a while sleep.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace kinglet {

/// Physical cores that this process may use: its affinity mask with SMT siblings counted once, bounded by the CPU quota
/// of its control group. At least 1.
int usable_cores();

/// `size()` threads, of which the caller of run() is number 0. run() may be called from several threads; regions then
/// follow one another. A pool of one thread never starts any.
class ThreadPool {
 public:
  /// `threads` below 1 means usable_cores(). Where the system refuses to start more threads, size() is what it gave.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return size_; }

  /// Calls body(thread) on all threads and returns when all have finished. The body must not throw.
  /// Called from inside a region (of any pool), it runs body(0), body(1), … one after the other on the calling thread;
  /// such a nested body must not call barrier().
  template <typename Body>
  void run(Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    run_region([](void* context, int thread) { (*static_cast<Plain*>(context))(thread); },
               const_cast<void*>(static_cast<const void*>(std::addressof(body))));
  }

  /// Inside a region: returns when all threads of the region have called it. What was written before is visible after.
  void barrier();

 private:
  using Function = void (*)(void* context, int thread);
  struct State;
  void run_region(Function function, void* context);
  void work(int thread);

  int size_ = 1;
  std::unique_ptr<State> state_;
};

/// The share [begin, end) of thread `thread` when `count` items are split as evenly as possible in order.
struct WorkShare {
  std::int64_t begin = 0, end = 0;
};
inline WorkShare work_share(std::int64_t count, int thread, int threads) {
  const std::int64_t base = count / threads, extra = count % threads;
  const std::int64_t begin = base * thread + (thread < extra ? thread : extra);
  return {begin, begin + base + (thread < extra ? 1 : 0)};
}

}  // namespace kinglet
