#include "base/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace kinglet {
namespace {

bool set(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0';
}

int terminal_width() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20) return size.ws_col;
  return 80;
}

std::string format(const char* pattern, double value, const char* unit) {
  char text[64];
  std::snprintf(text, sizeof text, pattern, value, unit);
  return text;
}

}  // namespace

bool stderr_is_rich() {
  const char* terminal = std::getenv("TERM");
  return isatty(STDERR_FILENO) == 1 && !set("NO_COLOR") && !set("CI") && terminal != nullptr &&
         std::string_view(terminal) != "dumb";
}

std::string format_bytes(std::uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  while (value >= 999.95 && unit < 4) value /= 1000, ++unit;
  return format(unit == 0 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
}

std::string format_duration(double seconds) {
  const auto whole = static_cast<long long>(std::clamp(seconds, 0.0, 3.6e8) + 0.5);
  char text[64];
  if (whole < 60) {
    std::snprintf(text, sizeof text, "%lld s", whole);
  } else if (whole < 3600) {
    std::snprintf(text, sizeof text, "%lld min %lld s", whole / 60, whole % 60);
  } else {
    std::snprintf(text, sizeof text, "%lld h %lld min", whole / 3600, whole % 3600 / 60);
  }
  return text;
}

std::string progress_line(const ProgressReport& report, double seconds, std::uint64_t done_in_them, int width) {
  const bool bytes = report.unit == ProgressUnit::kBytes;
  const auto amount = [&](std::uint64_t value) { return bytes ? format_bytes(value) : std::to_string(value); };
  std::string line(report.activity);
  if (report.total > 0) {
    const std::uint64_t done = std::min(report.done, report.total);
    line +=
        format("  %3.0f%s", std::floor(100.0 * static_cast<double>(done) / static_cast<double>(report.total)), " %");
    line += "  " + amount(done) + " of " + amount(report.total);
  } else {
    line += "  " + amount(report.done);
  }
  if (seconds > 0.5 && done_in_them > 0) {
    const double rate = static_cast<double>(done_in_them) / seconds;
    if (bytes) line += "  " + format_bytes(static_cast<std::uint64_t>(rate)) + "/s";
    if (report.total > report.done)
      line += "  " + format_duration(static_cast<double>(report.total - report.done) / rate) + " left";
  }
  if (width > 0 && line.size() > static_cast<std::size_t>(width)) line.resize(static_cast<std::size_t>(width));
  return line;
}

ProgressBar::ProgressBar(bool quiet) : quiet_(quiet), rich_(stderr_is_rich()), start_(Clock::now()), last_(start_) {}

void ProgressBar::update(const ProgressReport& report) {
  if (quiet_) return;
  const auto now = Clock::now();
  if (activity_ != report.activity) {
    finish();
    activity_ = report.activity;
    start_ = now;
    first_done_ = report.done;
    if (!rich_) last_ = now;
  } else if (now - last_ < (rich_ ? std::chrono::milliseconds(100) : std::chrono::milliseconds(10000))) {
    return;
  }
  if (!rich_ && now == start_) return;
  last_ = now;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const std::uint64_t advanced = report.done > first_done_ ? report.done - first_done_ : 0;
  const std::string line = progress_line(report, seconds, advanced, rich_ ? terminal_width() - 1 : 0);
  std::fprintf(stderr, rich_ ? "\r\033[K%s" : "%s\n", line.c_str());
  std::fflush(stderr);
  drawn_ = rich_;
}

void ProgressBar::finish() {
  if (drawn_) std::fputs("\r\033[K", stderr), std::fflush(stderr);
  drawn_ = false;
  activity_.clear();
}

}  // namespace kinglet
