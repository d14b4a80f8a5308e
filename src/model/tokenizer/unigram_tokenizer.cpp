// SentencePiece's unigram model: of all ways to write a text as tokens, the one of the highest total score.
#include <algorithm>
#include <limits>

#include "base/try.h"
#include "model/tokenizer/tokenizers.h"
#include "model/tokenizer/trie.h"
#include "model/tokenizer/unicode.h"

namespace kinglet {
namespace {

// How much worse than the worst token an unknown character is (the reference's constant).
constexpr float kUnknownPenalty = 10.0f;

class UnigramTokenizer final : public BaseTokenizer {
 public:
  UnigramTokenizer(TokenizerParts parts, const SentencePieceOptions& options, std::vector<TokenId> byte_ids, Trie trie)
      : BaseTokenizer(std::move(parts)), options_(options), byte_ids_(std::move(byte_ids)), trie_(std::move(trie)) {
    float lowest = std::numeric_limits<float>::max();
    for (TokenId id = 0; id < vocabulary_.size(); ++id)
      if (vocabulary_.type(id) == TokenType::kNormal) lowest = std::min(lowest, vocabulary_.score(id));
    unknown_score_ = lowest == std::numeric_limits<float>::max() ? -kUnknownPenalty : lowest - kUnknownPenalty;
    strips_leading_space_ = options_.add_prefix_space;
    make_pieces([this](TokenId id) {
      for (std::size_t byte = 0; vocabulary_.type(id) == TokenType::kByte && byte < 256; ++byte)
        if (byte_ids_[byte] == id) return std::string(1, static_cast<char>(byte));
      return spaces_of_marks(vocabulary_.text(id));
    });
  }
  std::string_view kind() const override { return "unigram"; }

 protected:
  void encode_text(std::string_view text, Encoding& encoding) const override {
    const std::string marked = mark_spaces(text, encoding.at_start || !options_.prefix_first_only);
    if (!options_.split_words) {
      encode_piece(marked, encoding);
      return;
    }
    for (std::string_view left = marked; !left.empty();) {
      const std::size_t end = std::min(left.find(kSpaceMark, kSpaceMark.size()), left.size());
      const std::size_t begin = left.starts_with(kSpaceMark) ? end : std::min(left.find(kSpaceMark), left.size());
      encode_piece(left.substr(0, begin), encoding);
      left.remove_prefix(begin);
    }
  }

 private:
  std::string mark_spaces(std::string_view text, bool prefix) const {
    std::string out;
    out.reserve(text.size() + text.size() / 2 + 3);
    if (options_.remove_extra_spaces) {
      text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
      while (text.ends_with(' ')) text.remove_suffix(1);
      if (text.empty()) return out;
    }
    // Metaspace (a tokenizer.json) puts no second mark before one that is there.
    if (prefix && options_.add_prefix_space && !(options_.split_words && text.starts_with(' '))) out += kSpaceMark;
    bool after_space = false;
    for (char c : text) {
      if (c != ' ')
        out += c;
      else if (!(options_.remove_extra_spaces && after_space))
        out += kSpaceMark;
      after_space = c == ' ';
    }
    return out;
  }

  struct Best {
    double score = 0;
    std::uint32_t begin = 0;
    TokenId id = -1;
  };

  void encode_piece(std::string_view text, Encoding& encoding) const {
    std::vector<Best> best(text.size() + 1);  // the best way to end here; begin == its own place: none yet
    for (std::size_t k = 0; k < best.size(); ++k) best[k].begin = static_cast<std::uint32_t>(k);
    auto offer = [&](std::size_t begin, std::size_t end, double score, TokenId id) {
      double total = best[begin].score + score;
      if (options_.single_precision) total = static_cast<float>(best[begin].score) + static_cast<float>(score);
      if (best[end].begin == end || total > best[end].score) best[end] = {total, static_cast<std::uint32_t>(begin), id};
    };
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t size = unicode::decode(text.substr(at)).size;
      bool whole_character = false;
      std::uint32_t node = Trie::kRoot;
      for (std::size_t end = at; end < text.size();) {
        node = trie_.step(node, static_cast<std::uint8_t>(text[end]));
        if (node == Trie::kNone) break;
        ++end;
        const TokenId id = trie_.id(node);
        if (id < 0) continue;
        offer(at, end, vocabulary_.score(id), id);
        whole_character |= end - at == size;
      }
      if (!whole_character) offer(at, at + size, unknown_score_, -1);
      at += size;
    }
    collect(text, best, encoding);
  }

  void collect(std::string_view text, const std::vector<Best>& best, Encoding& encoding) const {
    auto& path = encoding.offsets;
    path.clear();
    for (std::size_t end = text.size(); end > 0; end = best[end].begin) path.push_back(static_cast<std::uint32_t>(end));
    bool open_unknown = false;
    for (std::size_t k = path.size(); k-- > 0;) {
      const Best& step = best[path[k]];
      if (step.id >= 0) {
        encoding.ids.push_back(step.id);
        open_unknown = false;
        continue;
      }
      const std::string_view character = text.substr(step.begin, path[k] - step.begin);
      bool bytes = options_.byte_fallback;
      for (char c : character) bytes = bytes && byte_ids_[static_cast<std::uint8_t>(c)] >= 0;
      if (bytes) {
        for (char c : character) encoding.ids.push_back(byte_ids_[static_cast<std::uint8_t>(c)]);
      } else if (options_.unknown >= 0 && !open_unknown) {
        encoding.ids.push_back(options_.unknown);
        open_unknown = true;
      }
    }
  }

  SentencePieceOptions options_;
  std::vector<TokenId> byte_ids_;
  Trie trie_;
  float unknown_score_ = 0;
};

}  // namespace

TokenizerResult make_unigram(TokenizerParts parts, const SentencePieceOptions& options) {
  KINGLET_TRY(std::vector<TokenId> byte_ids, find_byte_tokens(parts.vocabulary));
  Trie trie;
  const Vocabulary& vocabulary = parts.vocabulary;
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const std::string_view text = vocabulary.text(id);
    if (vocabulary.type(id) != TokenType::kNormal || !unicode::is_well_formed(text)) continue;
    if (text.size() > AddedTokens::kLongest)
      return fail(ErrorCode::kCorrupt, "token " + std::to_string(id) + " has " + std::to_string(text.size()) +
                                           " bytes, more than " + std::to_string(AddedTokens::kLongest));
    if (!trie.add(text, id)) return fail(ErrorCode::kExhausted, "the vocabulary's texts have more than 16777216 bytes");
  }
  return std::make_unique<UnigramTokenizer>(std::move(parts), options, std::move(byte_ids), std::move(trie));
}

}  // namespace kinglet
