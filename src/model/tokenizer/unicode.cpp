#include "model/tokenizer/unicode.h"

#include <array>
#include <vector>

namespace kinglet::unicode {
namespace {

// Two stages of 256: pages that are equal are stored once.
class ClassTable {
 public:
  ClassTable() {
    std::array<std::uint8_t, 256> page{};
    std::size_t run = 0;
    for (std::uint32_t first = 0; first < 0x110000; first += 256) {
      for (std::uint32_t k = 0; k < 256; ++k) {
        while (run + 1 < kRunCount && (kRuns[run + 1] >> 8) <= first + k) ++run;
        page[k] = static_cast<std::uint8_t>(kRuns[run]);
      }
      pages_[first / 256] = number_of(page);
    }
  }
  std::uint8_t operator[](char32_t code) const { return code < 0x110000 ? values_[pages_[code / 256]][code % 256] : 0; }

 private:
  std::uint16_t number_of(const std::array<std::uint8_t, 256>& page) {
    for (std::size_t k = values_.size(); k-- > 0;)
      if (values_[k] == page) return static_cast<std::uint16_t>(k);
    values_.push_back(page);
    return static_cast<std::uint16_t>(values_.size() - 1);
  }
  std::array<std::uint16_t, 0x1100> pages_{};
  std::vector<std::array<std::uint8_t, 256>> values_;
};

}  // namespace

std::uint8_t classes(char32_t code) {
  static const ClassTable table;
  return table[code];
}

Character decode(std::string_view text) {
  auto byte = [&](std::size_t k) { return static_cast<std::uint8_t>(text[k]); };
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};
  // The second byte's range excludes overlong forms, surrogates and codes above U+10FFFF (Unicode, table 3-7).
  int following = 0;
  std::uint8_t low = 0x80, high = 0xBF;
  char32_t code = 0;
  if (lead >= 0xC2 && lead <= 0xDF) {
    following = 1, code = lead & 0x1F;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    following = 2, code = lead & 0x0F;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    following = 3, code = lead & 0x07;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return {kReplacement, 1, false};
  }
  for (int k = 1; k <= following; ++k) {
    const auto size = static_cast<std::uint32_t>(k);
    if (size >= text.size() || byte(size) < low || byte(size) > high) return {kReplacement, size, false};
    code = code << 6 | (byte(size) & 0x3F);
    low = 0x80, high = 0xBF;
  }
  return {code, static_cast<std::uint32_t>(following) + 1, true};
}

void append(std::string& out, char32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0 | code >> 6);
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xE0 | code >> 12);
    out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | code >> 18);
    out += static_cast<char>(0x80 | (code >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  }
}

std::string replace_ill_formed(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Character c = decode(text);
    if (c.well_formed)
      out.append(text.substr(0, c.size));
    else
      append(out, kReplacement);
    text.remove_prefix(c.size);
  }
  return out;
}

bool is_well_formed(std::string_view text) {
  while (!text.empty()) {
    const Character c = decode(text);
    if (!c.well_formed) return false;
    text.remove_prefix(c.size);
  }
  return true;
}

}  // namespace kinglet::unicode
