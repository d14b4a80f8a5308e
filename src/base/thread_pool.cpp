#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <mutex>
#include <set>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace kinglet {
namespace {

constexpr std::size_t kLine = 128;  // two cache lines: the adjacent-line prefetcher pairs them

// A waiting thread spins (no system call, wakes in nanoseconds), then yields (an oversubscribed machine makes
// progress), then sleeps (an idle pool costs nothing). Times in microseconds. Waiting for the next region lasts longer
// than a barrier, since between two regions the caller samples a token: waking a sleeper would cost about 50
// microseconds.
struct Patience {
  std::int64_t spin, yield;
};
constexpr Patience kBarrier = {60, 200};
constexpr Patience kIdle = {60, 1000};
constexpr Patience kCrowded = {5, 0};  // more threads than cores: whoever spins keeps another from its work

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Whether threads of other programs keep ours from running: then spinning only delays the thread that is waited for.
// Counts waits that spinning did not end, and now and then tries again with full patience.
class Strain {
 public:
  bool high() {
    if (level_.load(std::memory_order_relaxed) < kHigh) return false;
    return tries_.fetch_add(1, std::memory_order_relaxed) % kTryEvery != 0;
  }
  void note(bool spun_in_vain) {
    const int level = level_.load(std::memory_order_relaxed);
    if (spun_in_vain && level < kMost) level_.store(level + 1, std::memory_order_relaxed);
    if (!spun_in_vain && level > 0) level_.store(level > kRelief ? level - kRelief : 0, std::memory_order_relaxed);
  }

 private:
  static constexpr int kHigh = 8, kMost = 16, kRelief = 4;
  static constexpr unsigned kTryEvery = 32;
  std::atomic<int> level_{0};
  std::atomic<unsigned> tries_{0};
};

// Returns when `word` is no longer `old`; true if that took longer than the spinning. Sleeping uses the word's futex
// through std::atomic::wait, whose notify makes no system call while nobody sleeps: it looks at a count of sleepers, so
// the word has to be changed before that look in the order that all threads see (seq_cst; a release store may still
// stand in the store buffer then, and whoever goes to sleep on the old value is never woken).
bool wait_while(const std::atomic<std::uint32_t>& word, std::uint32_t old, const Patience& patience) {
  using Clock = std::chrono::steady_clock;
  constexpr int kSpinsPerLook = 32;
  for (int i = 0; i < kSpinsPerLook; ++i) {
    if (word.load(std::memory_order_acquire) != old) return false;
    pause();
  }
  const Clock::time_point start = Clock::now();
  for (;;) {
    const auto waited = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count();
    if (waited >= patience.spin + patience.yield) break;
    if (waited >= patience.spin) {
      if (word.load(std::memory_order_acquire) != old) return true;
      sched_yield();
      continue;
    }
    for (int i = 0; i < kSpinsPerLook; ++i) {
      if (word.load(std::memory_order_acquire) != old) return false;
      pause();
    }
  }
  while (word.load(std::memory_order_acquire) == old) word.wait(old, std::memory_order_acquire);
  return true;
}

thread_local bool inside_region = false;

bool read_numbers(const char* path, long* first, long* second) {
  std::FILE* file = std::fopen(path, "r");
  if (!file) return false;
  const int wanted = second ? 2 : 1;
  const int found = second ? std::fscanf(file, "%ld %ld", first, second) : std::fscanf(file, "%ld", first);
  std::fclose(file);
  return found == wanted;
}

}  // namespace

int usable_cores() {
  int cores = 0;
#if defined(__linux__)
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
    std::set<std::pair<long, long>> distinct;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (!CPU_ISSET(cpu, &allowed)) continue;
      char path[128];
      long package = 0, core = 0;
      std::snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/physical_package_id", cpu);
      bool known = read_numbers(path, &package, nullptr);
      std::snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/core_id", cpu);
      known = read_numbers(path, &core, nullptr) && known;
      // A CPU without topology counts as a core of its own.
      distinct.insert(known ? std::pair<long, long>{package, core} : std::pair<long, long>{-1, cpu});
    }
    cores = static_cast<int>(distinct.size());
  }
  long quota = 0, period = 0;
  if (cores > 1 && read_numbers("/sys/fs/cgroup/cpu.max", &quota, &period) && quota > 0 && period > 0)
    cores = static_cast<int>(std::clamp<long>((quota + period - 1) / period, 1, cores));
#endif
  if (cores < 1) cores = static_cast<int>(std::thread::hardware_concurrency());
  return std::max(cores, 1);
}

struct ThreadPool::State {
  // Each on its own lines: the workers read `region` while the arrivals of a barrier are counted.
  alignas(kLine) std::atomic<std::uint32_t> region{0};  // counts regions; a change starts one
  alignas(kLine) std::atomic<std::uint32_t> epoch{0};   // counts barriers; a change opens one
  alignas(kLine) std::atomic<int> arrived{0};
  alignas(kLine) Function function = nullptr;
  void* context = nullptr;
  bool stop = false;
  Patience at_barrier = kBarrier, at_idle = kIdle;
  alignas(kLine) Strain strain;
  std::mutex callers;  // one region at a time
  std::vector<std::thread> threads;
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  const int cores = usable_cores();
  const int wanted = threads < 1 ? cores : threads;
  if (wanted > cores) state_->at_barrier = state_->at_idle = kCrowded;
  state_->threads.reserve(static_cast<std::size_t>(wanted));
  for (int thread = 1; thread < wanted; ++thread) {
    try {
      state_->threads.emplace_back([this, thread] { work(thread); });
    } catch (const std::system_error&) {
      break;  // the limit of processes or memory: compute with those that started
    }
  }
  size_ = static_cast<int>(state_->threads.size()) + 1;
}

ThreadPool::~ThreadPool() {
  state_->stop = true;
  state_->region.fetch_add(1, std::memory_order_seq_cst);
  state_->region.notify_all();
  for (std::thread& thread : state_->threads) thread.join();
}

void ThreadPool::work(int thread) {
  inside_region = true;
  std::uint32_t seen = 0;
  for (;;) {
    wait_while(state_->region, seen, state_->at_idle);
    ++seen;
    if (state_->stop) return;
    state_->function(state_->context, thread);
    barrier();
  }
}

void ThreadPool::run_region(Function function, void* context) {
  if (inside_region || size_ == 1) {
    const bool was_inside = std::exchange(inside_region, true);
    for (int thread = 0; thread < size_; ++thread) function(context, thread);
    inside_region = was_inside;
    return;
  }
  const std::lock_guard<std::mutex> lock(state_->callers);
  inside_region = true;
  state_->function = function;
  state_->context = context;
  state_->region.fetch_add(1, std::memory_order_seq_cst);
  state_->region.notify_all();
  function(context, 0);
  barrier();
  inside_region = false;
}

void ThreadPool::barrier() {
  if (size_ == 1) return;
  // The epoch is read before arriving: it cannot change until this thread has arrived too.
  const std::uint32_t epoch = state_->epoch.load(std::memory_order_relaxed);
  if (state_->arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
    state_->arrived.store(0, std::memory_order_relaxed);
    state_->epoch.store(epoch + 1, std::memory_order_seq_cst);
    state_->epoch.notify_all();
    return;
  }
  const bool vain = wait_while(state_->epoch, epoch, state_->strain.high() ? kCrowded : state_->at_barrier);
  state_->strain.note(vain);
}

}  // namespace kinglet
