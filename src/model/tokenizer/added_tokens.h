// Tokens that are cut out of a text before anything else looks at it: user-defined tokens always, special ones where
// the caller asks for it. Of several that match, the leftmost wins, then the longest.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kinglet/result.h"
#include "kinglet/tokenizer.h"
#include "model/tokenizer/trie.h"

namespace kinglet {

struct AddedToken {
  TokenId id = -1;
  std::string text;
  bool special = false;      ///< matched only with parse_special
  bool strips_left = false;  ///< swallows white space before it
  bool strips_right = false;
  bool single_word = false;  ///< only where no word character is beside it
  bool normalized = false;   ///< looked for in the normalised text
};

class AddedTokens {
 public:
  /// Longer texts are refused, so that matching stays linear in the text.
  static constexpr std::size_t kLongest = 1024;

  Result<void> add(const AddedToken& token);
  bool empty() const { return tokens_.empty(); }

  struct Match {
    std::size_t begin = 0, end = 0;  ///< what is taken out of the text
    TokenId id = -1;                 ///< -1: there is no further match
  };
  /// The first match in text[from..]. White space before `from` is never swallowed.
  Match next(std::string_view text, std::size_t from, bool parse_special) const;

 private:
  bool accepts(const AddedToken& token, std::string_view text, std::size_t begin, std::size_t end) const;
  Trie plain_, all_;  ///< values are indices into tokens_
  std::vector<AddedToken> tokens_;
};

}  // namespace kinglet
