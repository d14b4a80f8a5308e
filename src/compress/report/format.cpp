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

std::string html(std::string_view text) {
  std::string out;
  for (const char letter : text) {
    switch (letter) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '\n':
      case '\t':
        out += letter;
        break;
      default:
        if (static_cast<unsigned char>(letter) < 0x20 || letter == 0x7F) {
          out += "\xEF\xBF\xBD";
        } else {
          out += letter;
        }
    }
  }
  return out;
}

}  // namespace kinglet
