#include <utf8proc.h>

#include <algorithm>

#include "cli/line_editor.h"

namespace kinglet {
namespace {

bool continues(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

struct Shown {
  std::size_t bytes;
  std::size_t columns;
};

Shown character_at(std::string_view text, std::size_t at) {
  utf8proc_int32_t point = -1;
  const auto length = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data() + at),
                                       static_cast<utf8proc_ssize_t>(text.size() - at), &point);
  if (length <= 0) return {1, 1};
  return {static_cast<std::size_t>(length), static_cast<std::size_t>(std::max(utf8proc_charwidth(point), 0))};
}

std::size_t columns_of(std::string_view text) {
  std::size_t columns = 0;
  for (std::size_t at = 0; at < text.size();) {
    const Shown shown = character_at(text, at);
    columns += shown.columns;
    at += shown.bytes;
  }
  return columns;
}

}  // namespace

std::size_t EditedLine::before(std::size_t at) const {
  if (at == 0) return 0;
  do --at;
  while (at > 0 && continues(text_[at]));
  return at;
}

std::size_t EditedLine::after(std::size_t at) const {
  if (at >= text_.size()) return text_.size();
  do ++at;
  while (at < text_.size() && continues(text_[at]));
  return at;
}

void EditedLine::set(std::string text) {
  text_ = std::move(text);
  cursor_ = text_.size();
}

void EditedLine::insert(std::string_view text) {
  text_.insert(cursor_, text);
  cursor_ += text.size();
}

void EditedLine::left() { cursor_ = before(cursor_); }
void EditedLine::right() { cursor_ = after(cursor_); }

void EditedLine::erase_left() {
  const std::size_t start = before(cursor_);
  text_.erase(start, cursor_ - start);
  cursor_ = start;
}

void EditedLine::erase_right() { text_.erase(cursor_, after(cursor_) - cursor_); }

void EditedLine::erase_word() {
  std::size_t start = cursor_;
  while (start > 0 && text_[start - 1] == ' ') --start;
  while (start > 0 && text_[start - 1] != ' ') --start;
  text_.erase(start, cursor_ - start);
  cursor_ = start;
}

void EditedLine::erase_to_begin() {
  text_.erase(0, cursor_);
  cursor_ = 0;
}

std::pair<std::string, std::size_t> EditedLine::window(std::size_t columns) const {
  std::size_t start = 0;
  while (start < cursor_ && columns_of(std::string_view(text_).substr(start, cursor_ - start)) >= columns)
    start = after(start);
  std::size_t used = 0, end = start;
  while (end < text_.size()) {
    const Shown shown = character_at(text_, end);
    if (used + shown.columns > columns) break;
    used += shown.columns;
    end += shown.bytes;
  }
  return {text_.substr(start, end - start), columns_of(std::string_view(text_).substr(start, cursor_ - start))};
}

}  // namespace kinglet
