#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <chrono>
#include <cstring>

#include "base/file.h"
#include "base/peak_memory.h"
#include "base/thread_pool.h"
#include "kinglet/measure.h"

namespace kinglet {
namespace {

std::string proc_text(const char* path) { return read_file(path, 1 << 20).value_or(std::string()); }

/// "VmHWM:   123 kB" -> "123 kB".
std::string_view field(std::string_view text, std::string_view name) {
  std::size_t at = text.starts_with(name) ? 0 : text.find("\n" + std::string(name));
  if (at == std::string_view::npos) return {};
  at = text.find(':', at);
  if (at == std::string_view::npos) return {};
  const std::size_t begin = text.find_first_not_of(" \t", at + 1);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find('\n', begin) - begin);
}

std::uint64_t number_of(std::string_view text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::uint64_t read_all(const std::byte* data, std::size_t size) {
  std::uint64_t sums[8] = {};
  const auto* words = reinterpret_cast<const std::uint64_t*>(data);
  for (std::size_t i = 0; i + 8 <= size / 8; i += 8)
    for (std::size_t j = 0; j < 8; ++j) sums[j] += words[i + j];
  return sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
}

}  // namespace

double measure_bandwidth(int threads, double seconds) {
  constexpr std::size_t kBytes = std::size_t{256} << 20, kPiece = std::size_t{1} << 20;
  void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 0;
  madvise(memory, kBytes, MADV_HUGEPAGE);
  const auto* data = static_cast<std::byte*>(memory);
  ThreadPool pool(threads);
  std::atomic<std::uint64_t> bytes{0}, sink{0};
  double elapsed = 0;
  pool.run([&](int thread) {
    const auto [first, last] = work_share(static_cast<std::int64_t>(kBytes / kPiece), thread, pool.size());
    std::memset(static_cast<std::byte*>(memory) + static_cast<std::size_t>(first) * kPiece, 1,
                static_cast<std::size_t>(last - first) * kPiece);
    pool.barrier();
    const auto start = std::chrono::steady_clock::now();
    std::uint64_t sum = 0, read = 0;
    double spent = 0;
    for (std::int64_t at = first; spent < seconds; at = at + 1 < last ? at + 1 : first) {
      sum += read_all(data + static_cast<std::size_t>(at) * kPiece, kPiece);
      read += kPiece;
      spent = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
    bytes += read;
    sink += sum;
    pool.barrier();
    if (thread == 0) elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  });
  munmap(memory, kBytes);
  return elapsed > 0 ? static_cast<double>(bytes.load()) / elapsed : 0;
}

std::uint64_t peak_memory() {
  const std::uint64_t peak = number_of(field(proc_text("/proc/self/status"), "VmHWM")) * 1024;
  if (peak > 0) return peak;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}

bool reset_peak_memory() { return clear_peak_memory(); }

Machine describe_machine() {
  Machine machine;
  const std::string processors = proc_text("/proc/cpuinfo");
  machine.processor = field(processors, "model name");
  utsname names{};
  if (uname(&names) == 0) machine.system = std::string(names.sysname) + " " + names.release + " " + names.machine;
  machine.cores = usable_cores();
  machine.memory_bytes = number_of(field(proc_text("/proc/meminfo"), "MemTotal")) * 1024;
  return machine;
}

double ForeignLoad::share() {
  // cpu  user nice system idle iowait irq softirq steal guest guest_nice, in ticks since the machine started
  const std::string text = proc_text("/proc/stat");
  double busy = 0, total = 0;
  const char* at = text.data() + std::min<std::size_t>(text.size(), 4);
  const char* end = text.data() + text.size();
  for (int i = 0; i < 8 && at < end; ++i) {
    while (at < end && *at == ' ') ++at;
    std::uint64_t ticks = 0;
    at = std::from_chars(at, end, ticks).ptr;
    total += static_cast<double>(ticks);
    if (i != 3 && i != 4) busy += static_cast<double>(ticks);
  }
  const auto per_second = static_cast<double>(sysconf(_SC_CLK_TCK));
  double own = 0;
  for (const int who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
    rusage usage{};
    getrusage(who, &usage);
    own += static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
  }
  own *= per_second;
  const double spent = total - total_, foreign = (busy - busy_) - (own - own_);
  busy_ = busy;
  total_ = total;
  own_ = own;
  return spent > 0 ? std::max(0.0, foreign / spent) : 0;
}

}  // namespace kinglet
