#include "cli/output.h"

#include <utf8proc.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

namespace kinglet {
namespace {

bool is_quiet = false;

Result<void> write_failed() {
  const int error = errno;
  if (error == EPIPE) return fail(ErrorCode::kCancelled, "");
  return fail(error == ENOSPC ? ErrorCode::kExhausted : ErrorCode::kIo,
              std::string("standard output cannot be written: ") + std::strerror(error),
              error == ENOSPC ? "Free some space or write somewhere else." : "");
}

}  // namespace

std::string escape_for_terminal(std::string_view text, bool keep_lines) {
  std::string out;
  out.reserve(text.size());
  char buffer[16];
  for (std::size_t i = 0; i < text.size();) {
    utf8proc_int32_t point = -1;
    const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data() + i);
    const utf8proc_ssize_t length = utf8proc_iterate(bytes, static_cast<utf8proc_ssize_t>(text.size() - i), &point);
    if (length <= 0) {
      std::snprintf(buffer, sizeof buffer, "\\x%02X", static_cast<unsigned>(bytes[0]));
      out += buffer;
      ++i;
      continue;
    }
    const bool kept = keep_lines && (point == '\n' || point == '\t');
    const bool reorders = (point >= 0x202A && point <= 0x202E) || (point >= 0x2066 && point <= 0x2069);
    if (!kept && (point < 0x20 || (point >= 0x7F && point < 0xA0) || reorders)) {
      std::snprintf(buffer, sizeof buffer, point < 0x100 ? "\\x%02X" : "\\u%04X", static_cast<unsigned>(point));
      out += buffer;
    } else {
      out.append(text.substr(i, static_cast<std::size_t>(length)));
    }
    i += static_cast<std::size_t>(length);
  }
  return out;
}

Result<void> print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) return write_failed();
  return {};
}

Result<void> print_now(std::string_view text) {
  if (auto printed = print(text); !printed) return printed;
  if (std::fflush(stdout) != 0) return write_failed();
  return {};
}

std::string json_text(const nlohmann::ordered_json& value) {
  return value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

Result<void> print_json(const nlohmann::ordered_json& value) { return print_now(json_text(value) + "\n"); }

void note(std::string_view text) {
  if (is_quiet) return;
  const std::string line = "kinglet: " + escape_for_terminal(text, true) + "\n";
  std::fputs(line.c_str(), stderr);
}

void set_quiet(bool quiet) { is_quiet = quiet; }
bool quiet() { return is_quiet; }

}  // namespace kinglet
