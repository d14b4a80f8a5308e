#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>

#include "base/file.h"
#include "base/file_descriptor.h"
#include "base/try.h"

namespace kinglet {

namespace {

// What the handler of SIGBUS may look at: fixed memory and lock-free atomics only. A mapping beyond the last slot is
// refused; 1024 is far above the shards of any model.
constexpr int kSlots = 1024;
struct Slot {
  std::atomic<std::uintptr_t> begin{0};  // 0: free, 1: taken but not mapped yet
  std::atomic<std::size_t> size{0};
  std::atomic<bool> faulted{false};
};
std::array<Slot, kSlots> slots;
std::atomic<std::size_t> page_size{4096};
struct sigaction previous_action;

bool cover_with_zeros(std::uintptr_t address) {
  for (Slot& slot : slots) {
    const std::uintptr_t begin = slot.begin.load(std::memory_order_acquire);
    if (begin <= 1 || address < begin || address - begin >= slot.size.load(std::memory_order_acquire)) continue;
    slot.faulted.store(true, std::memory_order_release);
    // Only this page: those after it may be readable again if the file grew back, and each tells for itself.
    const std::size_t page = page_size.load(std::memory_order_relaxed);
    void* const start = reinterpret_cast<void*>(address / page * page);
    return mmap(start, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
  }
  return false;
}

void on_bus_error(int signal, siginfo_t* info, void* context) {
  const int saved = errno;
  if (info->si_code > 0 && cover_with_zeros(reinterpret_cast<std::uintptr_t>(info->si_addr))) {
    errno = saved;
    return;
  }
  if (previous_action.sa_flags & SA_SIGINFO) {
    previous_action.sa_sigaction(signal, info, context);
  } else if (previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN) {
    previous_action.sa_handler(signal);
  } else {
    // Not ours: the faulting instruction runs again, and the default action ends the process as it would have.
    struct sigaction standard = {};
    standard.sa_handler = SIG_DFL;
    sigaction(SIGBUS, &standard, nullptr);
  }
  errno = saved;
}

void install_handler() {
  static std::once_flag once;
  std::call_once(once, [] {
    page_size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    struct sigaction action = {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    // Read the old action before ours can run.
    sigaction(SIGBUS, nullptr, &previous_action);
    sigaction(SIGBUS, &action, nullptr);
  });
}

int take_slot() {
  for (int i = 0; i < kSlots; ++i) {
    std::uintptr_t free_slot = 0;
    if (slots[i].begin.compare_exchange_strong(free_slot, 1)) return i;
  }
  return -1;
}

}  // namespace

Result<std::shared_ptr<const MappedFile>> MappedFile::open(const std::string& path) {
  KINGLET_TRY(const OpenedFile opened, open_regular(path));
  auto mapped = std::shared_ptr<MappedFile>(new MappedFile());
  mapped->path_ = path;
  if (opened.size == 0) return mapped;
  install_handler();
  const int slot = take_slot();
  if (slot < 0) {
    return fail(ErrorCode::kExhausted, "more than " + std::to_string(kSlots) + " files are mapped at once", "", path);
  }
  void* const begin = mmap(nullptr, opened.size, PROT_READ, MAP_SHARED, opened.file.get(), 0);
  if (begin == MAP_FAILED) {
    const int error = errno;
    slots[slot].begin = 0;
    return fail_errno("cannot map", path, error);
  }
  slots[slot].faulted = false;
  slots[slot].size = opened.size;
  slots[slot].begin = reinterpret_cast<std::uintptr_t>(begin);
  mapped->slot_ = slot;
  mapped->bytes_ = std::span(static_cast<const std::byte*>(begin), opened.size);
  return mapped;
}

MappedFile::~MappedFile() {
  if (slot_ < 0) return;
  munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  slots[slot_].size = 0;
  slots[slot_].begin = 0;
}

void MappedFile::release(std::size_t offset, std::size_t size) const {
  if (offset >= bytes_.size()) return;
  size = std::min(size, bytes_.size() - offset);
  // Whole pages inside the part only: its ends may share a page with a neighbour that is still read.
  const std::size_t page = page_size;
  const std::size_t first = (offset + page - 1) / page * page;
  const std::size_t last = offset + size == bytes_.size() ? offset + size : (offset + size) / page * page;
  if (first >= last || (slot_ >= 0 && slots[slot_].faulted)) return;
  madvise(const_cast<std::byte*>(bytes_.data()) + first, last - first, MADV_DONTNEED);
}

Result<void> MappedFile::check() const {
  if (slot_ < 0 || !slots[slot_].faulted.load(std::memory_order_acquire)) return {};
  return fail(ErrorCode::kIo, "the file shrank or became unreadable while it was in use",
              "Let no other program change a model file while Kinglet reads it, then load it again.", path_);
}

}  // namespace kinglet
