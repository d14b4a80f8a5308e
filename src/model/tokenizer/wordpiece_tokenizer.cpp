// BERT's WordPiece: words by white space and punctuation, each covered from the left by the longest tokens that fit.
#include <algorithm>

#include "base/try.h"
#include "model/tokenizer/tokenizers.h"
#include "model/tokenizer/unicode.h"

namespace kinglet {
namespace {

class WordPieceTokenizer final : public BaseTokenizer {
 public:
  WordPieceTokenizer(TokenizerParts parts, WordPieceOptions options)
      : BaseTokenizer(std::move(parts)), options_(std::move(options)) {
    strips_leading_space_ = true;
    make_pieces([this](TokenId id) {
      const std::string_view text = vocabulary_.text(id);
      if (options_.continuation.empty()) return spaces_of_marks(text);
      if (text.starts_with(options_.continuation)) return std::string(text.substr(options_.continuation.size()));
      return " " + std::string(text);
    });
  }
  std::string_view kind() const override { return "wordpiece"; }

 protected:
  void encode_text(std::string_view text, Encoding& encoding) const override {
    std::size_t begin = 0, at = 0, characters = 0;
    auto finish = [&] {
      if (at > begin) encode_word(text.substr(begin, at - begin), characters, encoding);
      characters = 0;
    };
    while (at < text.size()) {
      const unicode::Character c = unicode::decode(text.substr(at));
      const std::uint8_t classes = unicode::classes(c.code);
      if (classes & (unicode::kSpace | unicode::kBertPunctuation)) {
        finish();
        if (!(classes & unicode::kSpace)) encode_word(text.substr(at, c.size), 1, encoding);
        begin = at + c.size;
      } else {
        ++characters;
      }
      at += c.size;
    }
    finish();
  }

 private:
  void encode_word(std::string_view word, std::size_t characters, Encoding& encoding) const {
    auto& ids = encoding.ids;
    if (characters > options_.longest_word) {
      push_unknown(ids);
      return;
    }
    const bool cached = word.size() <= WordCache::kLongest;
    const std::uint64_t hash = cached ? hash_bytes(word) : 0;
    if (cached && encoding.cache.append(word, hash, ids)) return;
    const std::size_t first = ids.size();
    std::string candidate;
    for (std::size_t begin = 0; begin < word.size();) {
      candidate = begin > 0 ? std::string_view(options_.continuation)
                            : (options_.continuation.empty() ? kSpaceMark : std::string_view());
      const std::size_t mark = candidate.size();
      candidate += word.substr(begin, std::min(word.size() - begin, vocabulary_.longest()));
      TokenId id = -1;
      while (candidate.size() > mark && (id = find_normal(candidate)) < 0) candidate.pop_back();
      if (id < 0) {
        ids.resize(first);
        push_unknown(ids);
        break;
      }
      ids.push_back(id);
      begin += candidate.size() - mark;
    }
    if (cached) encoding.cache.remember(word, hash, ids, first);
  }

  TokenId find_normal(std::string_view text) const {
    const TokenId id = vocabulary_.find(text);
    return id >= 0 && (vocabulary_.type(id) == TokenType::kNormal || vocabulary_.type(id) == TokenType::kUnused) ? id
                                                                                                                 : -1;
  }
  void push_unknown(std::vector<TokenId>& ids) const {
    if (options_.unknown >= 0) ids.push_back(options_.unknown);
  }

  WordPieceOptions options_;
};

}  // namespace

TokenizerResult make_wordpiece(TokenizerParts parts, const WordPieceOptions& options) {
  return std::make_unique<WordPieceTokenizer>(std::move(parts), options);
}

}  // namespace kinglet
