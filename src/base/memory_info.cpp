#include "base/memory_info.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>

#include "base/file.h"

namespace kinglet {
namespace {

std::uint64_t number_in(std::string_view text) {
  const std::size_t first = text.find_first_of("0123456789");
  std::uint64_t value = 0;
  if (first != text.npos) std::from_chars(text.data() + first, text.data() + text.size(), value);
  return value;
}

std::uint64_t number_in_file(const char* path) {
  const Result<std::string> text = read_file(path, 4096);
  return text ? number_in(*text) : 0;
}

}  // namespace

std::uint64_t available_memory() {
  std::uint64_t available = 0;
  if (const Result<std::string> info = read_file("/proc/meminfo", 1 << 16)) {
    const std::size_t line = info->find("MemAvailable:");
    if (line != info->npos) available = number_in(std::string_view(*info).substr(line)) * 1024;
  }
  // "max" has no digits: 0, no limit.
  if (const std::uint64_t limit = number_in_file("/sys/fs/cgroup/memory.max"); limit > 0) {
    const std::uint64_t used = number_in_file("/sys/fs/cgroup/memory.current");
    const std::uint64_t left = limit > used ? limit - used : 1;
    available = available == 0 ? left : std::min(available, left);
  }
  return available;
}

void release_free_memory() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

}  // namespace kinglet
