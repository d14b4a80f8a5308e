#include "cli/file_pages.h"

#include <sys/mman.h>

#include <algorithm>
#include <cinttypes>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/file.h"

namespace kinglet {

void drop_file_pages(const Model& model) {
#ifdef __linux__
  char path[PATH_MAX];
  if (realpath(model.path().c_str(), path) == nullptr) return;
  const auto maps = read_file("/proc/self/maps", 1 << 24);
  if (!maps) return;
  for (std::size_t at = 0; at < maps->size();) {
    const std::size_t line_end = std::min(maps->find('\n', at), maps->size());
    const std::string line = maps->substr(at, line_end - at);
    at = line_end + 1;
    // "BEGIN-END PERMISSIONS OFFSET DEVICE INODE    PATH"; 's': shared with the file, so that nothing is lost.
    std::uintptr_t begin = 0, end = 0;
    char permissions[5] = {};
    int name = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " %4s %*s %*s %*s %n", &begin, &end, permissions, &name) < 3)
      continue;
    if (name == 0 || permissions[1] == 'w' || permissions[3] != 's' ||
        line.compare(std::size_t(name), line.npos, path) != 0)
      continue;
    (void)madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  }
#else
  (void)model;
#endif
}

}  // namespace kinglet
