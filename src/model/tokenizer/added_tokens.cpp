#include "model/tokenizer/added_tokens.h"

#include "model/tokenizer/unicode.h"

namespace kinglet {
namespace {

std::size_t previous_character(std::string_view text, std::size_t end) {
  // A well-formed character has at most four bytes; anything else counts as one byte.
  for (std::size_t size = 1; size <= 4 && size <= end; ++size) {
    const unicode::Character c = unicode::decode(text.substr(end - size, size));
    if (c.well_formed && c.size == size) return end - size;
  }
  return end - 1;
}

bool is_word(char32_t code) {
  return code == '_' || (unicode::classes(code) & (unicode::kLetter | unicode::kNumber | unicode::kMark)) != 0;
}

}  // namespace

Result<void> AddedTokens::add(const AddedToken& token) {
  if (token.text.empty()) return {};
  if (token.text.size() > kLongest)
    return fail(ErrorCode::kCorrupt, "added token " + std::to_string(token.id) + " has " +
                                         std::to_string(token.text.size()) + " bytes, more than " +
                                         std::to_string(kLongest));
  const auto index = static_cast<TokenId>(tokens_.size());
  tokens_.push_back(token);
  const bool fits = all_.add(token.text, index) && (token.special || plain_.add(token.text, index));
  if (!fits) return fail(ErrorCode::kExhausted, "the added tokens have more than 16777216 bytes");
  return {};
}

bool AddedTokens::accepts(const AddedToken& token, std::string_view text, std::size_t begin, std::size_t end) const {
  if (!token.single_word) return true;
  if (begin > 0 && is_word(unicode::decode(text.substr(previous_character(text, begin))).code)) return false;
  return end >= text.size() || !is_word(unicode::decode(text.substr(end)).code);
}

AddedTokens::Match AddedTokens::next(std::string_view text, std::size_t from, bool parse_special) const {
  const Trie& trie = parse_special ? all_ : plain_;
  if (trie.empty()) return {};
  for (std::size_t begin = from; begin < text.size(); ++begin) {
    TokenId best = -1;
    std::size_t best_end = 0;
    std::uint32_t node = Trie::kRoot;
    for (std::size_t at = begin; at < text.size(); ++at) {
      node = trie.step(node, static_cast<std::uint8_t>(text[at]));
      if (node == Trie::kNone) break;
      if (trie.id(node) >= 0) best = trie.id(node), best_end = at + 1;
    }
    if (best < 0) continue;
    const AddedToken& token = tokens_[static_cast<std::size_t>(best)];
    if (!accepts(token, text, begin, best_end)) {
      begin = best_end - 1;
      continue;
    }
    Match match{begin, best_end, token.id};
    while (token.strips_left && match.begin > from) {
      const std::size_t previous = previous_character(text, match.begin);
      if (!(unicode::classes(unicode::decode(text.substr(previous)).code) & unicode::kSpace)) break;
      match.begin = previous;
    }
    while (token.strips_right && match.end < text.size()) {
      const unicode::Character c = unicode::decode(text.substr(match.end));
      if (!(unicode::classes(c.code) & unicode::kSpace)) break;
      match.end += c.size;
    }
    return match;
  }
  return {};
}

}  // namespace kinglet
