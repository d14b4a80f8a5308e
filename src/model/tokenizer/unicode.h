// UTF-8 and the character classes that tokenizers ask for. The classes are those of the reference tokenizers
// (unicode_table.cpp says how they were made); decomposition and case come from utf8proc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace kinglet::unicode {

enum CharClass : std::uint8_t {
  kLetter = 1,            ///< \p{L}
  kNumber = 2,            ///< \p{N}
  kSpace = 4,             ///< \s
  kDigit = 8,             ///< what the Digits pre-tokenizer splits off
  kBertSpace = 16,        ///< BERT cleans it to a space
  kBertRemoved = 32,      ///< BERT removes it (control, format, unassigned, U+FFFD)
  kBertPunctuation = 64,  ///< BERT makes it a word of its own
  kMark = 128,            ///< stripped as an accent
};

constexpr char32_t kReplacement = 0xFFFD;

extern const std::uint32_t kRuns[];
extern const std::size_t kRunCount;

/// The classes of a code point; 0 above U+10FFFF.
std::uint8_t classes(char32_t code);

/// One character of a text that may be ill-formed.
struct Character {
  char32_t code = kReplacement;
  std::uint32_t size = 1;   ///< bytes
  bool well_formed = true;  ///< false: `size` bytes are one maximal ill-formed part and `code` is U+FFFD
};

/// The character at text[0]; the text must not be empty.
Character decode(std::string_view text);

void append(std::string& out, char32_t code);

/// The text with each maximal ill-formed part replaced by U+FFFD, as Python's bytes.decode("utf-8", "replace").
std::string replace_ill_formed(std::string_view text);
bool is_well_formed(std::string_view text);

}  // namespace kinglet::unicode
