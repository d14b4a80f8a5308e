// Byte pair encoding with a list of merges: GPT-2 and its descendants, and tokenizer.json files of SentencePiece
// models.
#include <array>
#include <optional>

#include "base/try.h"
#include "model/tokenizer/adjacency.h"
#include "model/tokenizer/merge.h"
#include "model/tokenizer/tokenizers.h"
#include "model/tokenizer/unicode.h"

namespace kinglet {

char32_t byte_character(std::uint8_t byte) {
  // GPT-2's alphabet: printable Latin-1 characters stand for themselves, the others follow from U+0100 on.
  static const std::array<char32_t, 256> table = [] {
    std::array<char32_t, 256> characters{};
    char32_t next = 0x100;
    for (std::uint32_t b = 0; b < 256; ++b) {
      const bool itself = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      characters[b] = itself ? b : next++;
    }
    return characters;
  }();
  return table[byte];
}

namespace {

/// The bytes that a byte-level token stands for; characters outside the alphabet stand for themselves.
std::string bytes_of(std::string_view text) {
  static const std::array<std::int16_t, 0x144> table = [] {
    std::array<std::int16_t, 0x144> bytes;
    bytes.fill(-1);
    for (int b = 0; b < 256; ++b) bytes[byte_character(static_cast<std::uint8_t>(b))] = static_cast<std::int16_t>(b);
    return bytes;
  }();
  std::string out;
  while (!text.empty()) {
    const unicode::Character c = unicode::decode(text);
    if (c.well_formed && c.code < table.size() && table[c.code] >= 0)
      out += static_cast<char>(table[c.code]);
    else
      out += text.substr(0, c.size);
    text.remove_prefix(c.size);
  }
  return out;
}

class BpeTokenizer final : public BaseTokenizer {
 public:
  BpeTokenizer(TokenizerParts parts, const BpeOptions& options, MergeTable merges, std::optional<Adjacency> adjacency,
               std::vector<TokenId> byte_ids)
      : BaseTokenizer(std::move(parts)),
        options_(options),
        merges_(std::move(merges)),
        adjacency_(std::move(adjacency)),
        byte_ids_(std::move(byte_ids)) {
    keeps_ill_formed_ = options_.byte_level;
    strips_leading_space_ = options_.strips_leading_space;
    make_pieces([this](TokenId id) {
      const std::string_view text = vocabulary_.text(id);
      if (vocabulary_.type(id) == TokenType::kUserDefined) return std::string(text);
      if (options_.byte_level) return bytes_of(text);
      for (std::size_t byte = 0; vocabulary_.type(id) == TokenType::kByte && byte < 256; ++byte)
        if (byte_ids_[byte] == id) return std::string(1, static_cast<char>(byte));
      return options_.marks_spaces ? spaces_of_marks(text) : std::string(text);
    });
  }
  std::string_view kind() const override { return "bpe"; }

 protected:
  void encode_text(std::string_view text, Encoding& encoding) const override {
    std::string prefixed;
    if (options_.mark_prefix && (encoding.at_start || !options_.prefix_first_only) && !text.starts_with(kSpaceMark)) {
      prefixed = std::string(kSpaceMark) + std::string(text);
      text = prefixed;
    }
    if (options_.add_prefix_space && text.front() != ' ') {
      prefixed = " " + std::string(text);
      text = prefixed;
    }
    while (!text.empty()) {
      const std::size_t size = !adjacency_ ? next_word(options_.pre_tokenizer, text) : next_joined(*adjacency_, text);
      encode_word(text.substr(0, size), encoding);
      text.remove_prefix(size);
    }
  }

 private:
  void encode_word(std::string_view word, Encoding& encoding) const {
    auto& ids = encoding.ids;
    if (options_.byte_level && word.size() == 1) {
      const TokenId id = byte_ids_[static_cast<std::uint8_t>(word[0])];
      if (id >= 0) ids.push_back(id);
      return;
    }
    const bool cached = word.size() <= WordCache::kLongest && !options_.fuse_unknown;
    const std::uint64_t hash = cached ? hash_bytes(word) : 0;
    if (cached && encoding.cache.append(word, hash, ids)) return;
    const std::size_t first = ids.size();
    merge_word(word, encoding);
    if (cached) encoding.cache.remember(word, hash, ids, first);
  }

  void merge_word(std::string_view word, Encoding& encoding) const {
    if (options_.ignore_merges) {
      const TokenId whole = whole_word(word);
      if (whole >= 0) {
        encoding.ids.push_back(whole);
        return;
      }
    }
    auto& symbols = encoding.symbols;
    symbols.clear();
    if (options_.byte_level) {
      for (char c : word) {
        const TokenId id = byte_ids_[static_cast<std::uint8_t>(c)];
        if (id >= 0) symbols.push_back({id, 1});  // the reference drops a byte that the vocabulary lacks
      }
    } else {
      split_characters(word, encoding);
    }
    merge_symbols(symbols, 0, encoding.scratch, [this](const Symbol& left, const Symbol& right, std::uint32_t) {
      return merges_.find(left.id, right.id);
    });
    for (const Symbol& symbol : symbols) encoding.ids.push_back(symbol.id);
  }

  TokenId whole_word(std::string_view word) const {
    TokenId id = -1;
    if (options_.byte_level) {
      if (word.size() > vocabulary_.longest()) return -1;
      std::string text;
      for (char c : word) unicode::append(text, byte_character(static_cast<std::uint8_t>(c)));
      id = vocabulary_.find(text);
    } else {
      id = vocabulary_.find(word);
    }
    return id >= 0 && vocabulary_.type(id) == TokenType::kNormal ? id : -1;
  }

  void split_characters(std::string_view word, Encoding& encoding) const {
    auto& symbols = encoding.symbols;
    while (!word.empty()) {
      const std::size_t size = unicode::decode(word).size;
      const std::string_view character = word.substr(0, size);
      word.remove_prefix(size);
      const TokenId id = vocabulary_.find(character);
      if (id >= 0) {
        symbols.push_back({id, 1});
        continue;
      }
      bool bytes = options_.byte_fallback;
      for (char c : character) bytes = bytes && byte_ids_[static_cast<std::uint8_t>(c)] >= 0;
      if (bytes) {
        for (char c : character) symbols.push_back({byte_ids_[static_cast<std::uint8_t>(c)], 1});
      } else if (options_.unknown >= 0) {
        const bool fused =
            options_.fuse_unknown && (symbols.empty() ? !encoding.ids.empty() && encoding.ids.back() == options_.unknown
                                                      : symbols.back().id == options_.unknown);
        if (!fused) symbols.push_back({options_.unknown, 1});
      }
    }
  }

  BpeOptions options_;
  MergeTable merges_;
  std::optional<Adjacency> adjacency_;
  std::vector<TokenId> byte_ids_;
};

Result<MergeTable> make_merges(const Vocabulary& vocabulary, const MergeTexts& merges) {
  MergeTable table(merges.size());
  std::string joined;
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    joined.assign(left);
    joined += right;
    const TokenId ids[] = {vocabulary.find(left), vocabulary.find(right), vocabulary.find(joined)};
    const std::string_view texts[] = {left, right, joined};
    for (int k = 0; k < 3; ++k)
      if (ids[k] < 0)
        return fail(ErrorCode::kCorrupt, "merge " + std::to_string(rank) + (k == 2 ? " makes \"" : " names \"") +
                                             unicode::replace_ill_formed(texts[k].substr(0, 80)) +
                                             "\", which is no token of the vocabulary");
    table.add(ids[0], ids[1], ids[2]);
  }
  return table;
}

}  // namespace

TokenizerResult make_bpe(TokenizerParts parts, const MergeTexts& merges, const BpeOptions& options) {
  const Vocabulary& vocabulary = parts.vocabulary;
  KINGLET_TRY(MergeTable table, make_merges(vocabulary, merges));
  std::vector<TokenId> byte_ids(256, -1);
  std::optional<Adjacency> adjacency;
  if (options.byte_level) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      std::string character;
      unicode::append(character, byte_character(static_cast<std::uint8_t>(byte)));
      byte_ids[byte] = vocabulary.find(character);
    }
  } else {
    KINGLET_TRY(byte_ids, find_byte_tokens(vocabulary));
    if (options.pre_tokenizer == PreTokenizer::kNone) adjacency.emplace(merges.size());
    for (const auto& [left, right] : merges)
      if (adjacency) adjacency->add(std::string(left).append(right));
  }
  return std::make_unique<BpeTokenizer>(std::move(parts), options, std::move(table), std::move(adjacency),
                                        std::move(byte_ids));
}

}  // namespace kinglet
