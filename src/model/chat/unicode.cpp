#include "model/chat/unicode.h"

#include <utf8proc.h>

#include "model/chat/budget.h"

namespace kinglet::chat {
namespace {

struct Special {
  std::int32_t point;
  std::string_view upper, title;
};
// Characters whose upper case is several characters.
constexpr Special kSpecial[] = {
    {0xDF, "SS", "Ss"},     {0x149, "ʼN", "ʼN"},  {0x1F0, "J̌", "J̌"},    {0x390, "Ϊ́", "Ϊ́"},    {0x3B0, "Ϋ́", "Ϋ́"},
    {0x587, "ԵՒ", "Եւ"},    {0xFB00, "FF", "Ff"}, {0xFB01, "FI", "Fi"}, {0xFB02, "FL", "Fl"}, {0xFB03, "FFI", "Ffi"},
    {0xFB04, "FFL", "Ffl"}, {0xFB05, "ST", "St"}, {0xFB06, "ST", "St"}};

const Special* special(std::int32_t point) {
  for (const Special& entry : kSpecial)
    if (entry.point == point) return &entry;
  return nullptr;
}

void append_upper(std::string& out, std::int32_t point, std::string_view raw) {
  if (point < 0) {
    out += raw;
  } else if (const Special* entry = special(point)) {
    out += entry->upper;
  } else {
    append_point(out, utf8proc_toupper(point));
  }
}

void append_title(std::string& out, std::int32_t point, std::string_view raw) {
  if (point < 0) {
    out += raw;
  } else if (const Special* entry = special(point)) {
    out += entry->title;
  } else {
    append_point(out, utf8proc_totitle(point));
  }
}

bool is_cased(std::int32_t point) {
  if (point < 0) return false;
  const auto category = utf8proc_category(point);
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL || category == UTF8PROC_CATEGORY_LT;
}

bool is_case_ignorable(std::int32_t point) {
  if (point == '\'' || point == '.' || point == ':' || point == '^' || point == '`' || point == 0xAD || point == 0xB7 ||
      point == 0x2019)
    return true;
  if (point < 0) return false;
  const auto category = utf8proc_category(point);
  return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_ME || category == UTF8PROC_CATEGORY_CF ||
         category == UTF8PROC_CATEGORY_LM || category == UTF8PROC_CATEGORY_SK;
}

// Greek's sigma has another form at the end of a word.
bool final_sigma(std::string_view before, std::string_view after) {
  bool cased_before = false;
  for (std::size_t i = before.size(); i > 0;) {
    std::size_t start = i - 1;
    while (start > 0 && (static_cast<unsigned char>(before[start]) & 0xC0) == 0x80) --start;
    std::size_t offset = start;
    const std::int32_t point = next_point(before, offset);
    if (!is_case_ignorable(point)) {
      cased_before = is_cased(point);
      break;
    }
    i = start;
  }
  if (!cased_before) return false;
  for (std::size_t i = 0; i < after.size();) {
    const std::int32_t point = next_point(after, i);
    if (!is_case_ignorable(point)) return !is_cased(point);
  }
  return true;
}

void append_lower(std::string& out, std::string_view text, std::size_t start, std::size_t end, std::int32_t point) {
  if (point < 0) {
    out += text.substr(start, end - start);
  } else if (point == 0x130) {
    out += "i̇";
  } else if (point == 0x3A3) {
    append_point(out, final_sigma(text.substr(0, start), text.substr(end)) ? 0x3C2 : 0x3C3);
  } else {
    append_point(out, utf8proc_tolower(point));
  }
}

}  // namespace

std::int32_t next_point(std::string_view text, std::size_t& offset) {
  const auto byte = static_cast<unsigned char>(text[offset]);
  if (byte < 0x80) return ++offset, byte;
  utf8proc_int32_t point = -1;
  const auto length = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data() + offset),
                                       static_cast<utf8proc_ssize_t>(text.size() - offset), &point);
  if (length <= 0) return ++offset, -1;
  offset += static_cast<std::size_t>(length);
  return point;
}

void append_point(std::string& out, std::int32_t point) {
  utf8proc_uint8_t bytes[4];
  const auto length = utf8proc_encode_char(point, bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(length));
}

std::size_t count_points(std::string_view text) {
  charge(text.size());
  std::size_t count = 0;
  for (std::size_t i = 0; i < text.size(); ++count) next_point(text, i);
  return count;
}

std::string_view substring(std::string_view text, std::size_t begin, std::size_t end) {
  charge(text.size());
  std::size_t i = 0, index = 0;
  for (; i < text.size() && index < begin; ++index) next_point(text, i);
  const std::size_t start = i;
  for (; i < text.size() && index < end; ++index) next_point(text, i);
  return text.substr(start, i - start);
}

std::vector<std::string_view> characters(std::string_view text) {
  charge(text.size() * 8);
  std::vector<std::string_view> out;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t start = i;
    next_point(text, i);
    out.push_back(text.substr(start, i - start));
  }
  return out;
}

bool is_space(std::int32_t point) {
  if (point < 0x80) return (point >= 9 && point <= 13) || (point >= 0x1C && point <= 0x20);
  return point == 0x85 || utf8proc_category(point) == UTF8PROC_CATEGORY_ZS || point == 0x2028 || point == 0x2029;
}

bool is_alphabetic(std::int32_t point) {
  if (point < 0) return false;
  const auto category = utf8proc_category(point);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool is_digit(std::int32_t point) { return point >= 0 && utf8proc_category(point) == UTF8PROC_CATEGORY_ND; }

bool is_printable(std::int32_t point) {
  if (point == ' ') return true;
  if (point < 0) return false;
  switch (utf8proc_category(point)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

bool is_upper(std::int32_t point) { return point >= 0 && utf8proc_category(point) == UTF8PROC_CATEGORY_LU; }
bool is_lower(std::int32_t point) { return point >= 0 && utf8proc_category(point) == UTF8PROC_CATEGORY_LL; }

std::string upper(std::string_view text) {
  charge(text.size() * 4);
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t start = i;
    const std::int32_t point = next_point(text, i);
    append_upper(out, point, text.substr(start, i - start));
  }
  return out;
}

std::string lower(std::string_view text) {
  charge(text.size() * 4);
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t start = i;
    const std::int32_t point = next_point(text, i);
    append_lower(out, text, start, i, point);
  }
  return out;
}

std::string capitalize(std::string_view text) {
  if (text.empty()) return {};
  std::size_t first = 0;
  std::string out;
  const std::int32_t point = next_point(text, first);
  append_title(out, point, text.substr(0, first));
  const std::string rest = lower(text);
  std::string head;
  append_lower(head, text, 0, first, point);
  return out + rest.substr(head.size());
}

std::string title_words(std::string_view text) {
  charge(text.size() * 4);
  std::string out;
  bool inside = false;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t start = i;
    const std::int32_t point = next_point(text, i);
    if (inside) {
      append_lower(out, text, start, i, point);
    } else {
      append_title(out, point, text.substr(start, i - start));
    }
    inside = is_cased(point);
  }
  return out;
}

std::string swap_case(std::string_view text) {
  charge(text.size() * 4);
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t start = i;
    const std::int32_t point = next_point(text, i);
    if (is_upper(point)) {
      append_lower(out, text, start, i, point);
    } else {
      append_upper(out, point, text.substr(start, i - start));
    }
  }
  return out;
}

std::string_view strip(std::string_view text, bool left, bool right) {
  charge(text.size());
  while (left && !text.empty()) {
    std::size_t next = 0;
    if (!is_space(next_point(text, next))) break;
    text.remove_prefix(next);
  }
  while (right && !text.empty()) {
    std::size_t start = text.size() - 1;
    while (start > 0 && text.size() - start < 4 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
    std::size_t end = start;
    if (!is_space(next_point(text, end)) || end != text.size()) break;
    text.remove_suffix(text.size() - start);
  }
  return text;
}

std::string_view strip_set(std::string_view text, std::string_view set, bool left, bool right) {
  const auto members = characters(set);
  const auto letters = characters(text);
  charge(letters.size() + 16 * members.size());
  const auto within = [&](std::string_view letter) {
    for (const auto member : members)
      if (member == letter) return true;
    return false;
  };
  std::size_t begin = 0, end = letters.size(), first = 0, last = text.size();
  for (; left && begin < end && within(letters[begin]); ++begin) first += letters[begin].size(), charge(set.size());
  for (; right && end > begin && within(letters[end - 1]); --end) last -= letters[end - 1].size(), charge(set.size());
  return text.substr(first, last - first);
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to, std::int64_t count) {
  std::string out;
  const auto emit = [&](std::string_view part) {
    charge(part.size());
    if (out.size() + part.size() > kOutputBytes)
      throw TemplateError(ErrorCode::kExhausted, "the chat template makes a text of more than 64 MiB");
    out += part;
  };
  std::size_t at = 0;
  if (from.empty()) {
    for (; count != 0 && at <= text.size(); count -= count > 0) {
      emit(to);
      if (at == text.size()) return out;
      const std::size_t start = at;
      next_point(text, at);
      emit(text.substr(start, at - start));
    }
  } else {
    for (; count != 0; count -= count > 0) {
      const std::size_t found = text.find(from, at);
      if (found == std::string_view::npos) break;
      emit(text.substr(at, found - at));
      emit(to);
      at = found + from.size();
    }
  }
  emit(text.substr(at));
  return out;
}

std::vector<std::string> split_lines(std::string_view text, bool keep_ends) {
  charge(text.size());
  std::vector<std::string> lines;
  std::size_t start = 0;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t end = i;
    const std::int32_t point = next_point(text, i);
    const bool breaks = (point >= 10 && point <= 13) || (point >= 0x1C && point <= 0x1E) || point == 0x85 ||
                        point == 0x2028 || point == 0x2029;
    if (!breaks) continue;
    if (point == '\r' && i < text.size() && text[i] == '\n') ++i;
    lines.emplace_back(text.substr(start, (keep_ends ? i : end) - start));
    start = i;
  }
  if (start < text.size()) lines.emplace_back(text.substr(start));
  return lines;
}

}  // namespace kinglet::chat
