// How long work says how far it is, and how that is shown.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace kinglet {

enum class ProgressUnit { kBytes, kItems };

/// One report: `done` of `total` (0: unknown) of an activity ("pulling model.gguf").
struct ProgressReport {
  std::string_view activity;
  std::uint64_t done = 0, total = 0;
  ProgressUnit unit = ProgressUnit::kItems;
};

/// What the library's long calls take; an empty one is never called. May be called thousands of times a second.
using ProgressCallback = std::function<void(const ProgressReport&)>;

/// True where standard error is a terminal on which a line may be redrawn: not with NO_COLOR, CI or TERM=dumb.
bool stderr_is_rich();

/// Shows reports on standard error: a bar that is redrawn on a terminal, otherwise one line every 10 seconds. Work that
/// ends sooner than that leaves no line. Not thread-safe.
class ProgressBar {
 public:
  explicit ProgressBar(bool quiet = false);
  ~ProgressBar() { finish(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void update(const ProgressReport& report);
  /// Removes the bar, so that other text may follow. Called by the destructor.
  void finish();
  /// For the library's calls; refers to this bar.
  ProgressCallback callback() {
    return [this](const ProgressReport& report) { update(report); };
  }

 private:
  using Clock = std::chrono::steady_clock;
  bool quiet_, rich_, drawn_ = false;
  std::string activity_;
  Clock::time_point start_, last_;
  std::uint64_t first_done_ = 0;
};

/// "98.4 MB", "12.0 kB": powers of 1000.
std::string format_bytes(std::uint64_t bytes);
/// "8 s", "3 min 20 s", "2 h 5 min".
std::string format_duration(double seconds);
/// The line that the bar shows, without colour, at most `width` columns.
std::string progress_line(const ProgressReport& report, double seconds, std::uint64_t done_in_them, int width);

}  // namespace kinglet
