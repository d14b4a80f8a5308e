#include "compress/report/format.h"

#include <cmath>
#include <cstdio>

namespace kinglet {

std::string number(const char* form, double value) {
  char text[64];
  std::snprintf(text, sizeof text, form, value);
  return text;
}

std::string short_number(double value) {
  if (value == 0) return "0";
  const double size = std::fabs(value);
  if (size < 1e-4) return number("%.1e", value);
  if (size < 1) return number(size < 0.001 ? "%.6f" : size < 0.01 ? "%.5f" : size < 0.1 ? "%.4f" : "%.3f", value);
  return number(size < 10 ? "%.2f" : size < 100 ? "%.1f" : "%.0f", value);
}

namespace {

/// Bytes of the well-formed UTF-8 character that `text` begins with; 0 where it is ill-formed.
std::size_t character_bytes(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t size = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < size) return 0;
  for (std::size_t i = 1; i < size; ++i)
    if ((byte(i) & 0xC0) != 0x80) return 0;
  // Overlong forms, surrogates and what is above U+10FFFF.
  const unsigned second = byte(1);
  if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F) || (first == 0xF0 && second < 0x90) ||
      (first == 0xF4 && second > 0x8F))
    return 0;
  return size;
}

std::string_view escaped(char letter) {
  switch (letter) {
    case '&':
      return "&amp;";
    case '<':
      return "&lt;";
    case '>':
      return "&gt;";
    case '"':
      return "&quot;";
    case '\'':
      return "&#39;";
    default:
      return "";
  }
}

}  // namespace

std::string html(std::string_view text) {
  constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
  std::string out;
  while (!text.empty()) {
    const std::size_t size = character_bytes(text);
    const char letter = text[0];
    const bool control =
        (static_cast<unsigned char>(letter) < 0x20 && letter != '\n' && letter != '\t') || letter == 0x7F;
    if (size == 0 || control)
      out += kReplacement;
    else if (const std::string_view entity = escaped(letter); !entity.empty())
      out += entity;
    else
      out += text.substr(0, size);
    text.remove_prefix(size == 0 ? 1 : size);
  }
  return out;
}

}  // namespace kinglet
