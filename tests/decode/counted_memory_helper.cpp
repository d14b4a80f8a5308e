#include "decode/counted_memory.h"

#if KINGLET_TEST_COUNTS_ALLOCATIONS
#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<long> count{0}, held{0}, peak{0};

void* counted(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  ++count;
  const long now = held += static_cast<long>(malloc_usable_size(memory));
  for (long before = peak; now > before && !peak.compare_exchange_weak(before, now);) {
  }
  return memory;
}

void released(void* memory) {
  if (memory != nullptr) held -= static_cast<long>(malloc_usable_size(memory));
  std::free(memory);
}

}  // namespace

void* operator new(std::size_t size) { return counted(std::malloc(size)); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  const auto unit = static_cast<std::size_t>(alignment);
  return counted(std::aligned_alloc(unit, (size + unit - 1) / unit * unit));
}
void operator delete(void* memory) noexcept { released(memory); }
void operator delete(void* memory, std::size_t) noexcept { released(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { released(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { released(memory); }

namespace kinglet::test {

long allocations() { return count; }
long held_bytes() { return held; }
long peak_bytes() { return peak; }
void reset_peak() { peak = held.load(); }

}  // namespace kinglet::test
#endif  // KINGLET_TEST_COUNTS_ALLOCATIONS
