// Cuts a text into the words that byte pair encoding then works on, as the regular expressions of the models do.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace kinglet {

enum class PreTokenizer {
  kNone,    ///< the whole text is one word
  kMarks,   ///< a word begins at each U+2581
  kGpt2,    ///< 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
  kSmollm,  ///< each digit alone, then kGpt2 between them
  kLlama3,  ///< kQwen2 with \p{N}{1,3}
  kQwen2,   ///< (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|
            ///< ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
};

/// By the value of tokenizer.ggml.pre.
std::optional<PreTokenizer> find_pre_tokenizer(std::string_view name);
/// By the text of the expression in a tokenizer.json (kGpt2, kLlama3 or kQwen2).
std::optional<PreTokenizer> find_pre_tokenizer_of_expression(std::string_view expression);

/// Bytes of the first word of a text that is not empty; the text ends where an added token begins. At least 1.
std::size_t next_word(PreTokenizer kind, std::string_view text);

}  // namespace kinglet
