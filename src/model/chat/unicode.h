// Text by code points, as Python's str has it. Bytes that are not UTF-8 count as one character each.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kinglet::chat {

/// Reads the character at `offset` and moves past it; -1 for an ill-formed byte.
std::int32_t next_point(std::string_view text, std::size_t& offset);
void append_point(std::string& out, std::int32_t point);
std::size_t count_points(std::string_view text);
/// Characters [begin, end) (in range).
std::string_view substring(std::string_view text, std::size_t begin, std::size_t end);
std::vector<std::string_view> characters(std::string_view text);

bool is_space(std::int32_t point);
bool is_alphabetic(std::int32_t point);
bool is_digit(std::int32_t point);
bool is_printable(std::int32_t point);
bool is_upper(std::int32_t point);
bool is_lower(std::int32_t point);

std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalize(std::string_view text);
std::string title_words(std::string_view text);  ///< str.title()
std::string swap_case(std::string_view text);

std::string_view strip(std::string_view text, bool left, bool right);
std::string_view strip_set(std::string_view text, std::string_view set, bool left, bool right);
std::string replace_all(std::string_view text, std::string_view from, std::string_view to, std::int64_t count);
std::vector<std::string> split_lines(std::string_view text, bool keep_ends = false);

}  // namespace kinglet::chat
