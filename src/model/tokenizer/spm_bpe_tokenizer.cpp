// SentencePiece's byte pair encoding: no list of merges, two symbols may join where the join is a token.
#include <bit>

#include "base/try.h"
#include "model/tokenizer/adjacency.h"
#include "model/tokenizer/merge.h"
#include "model/tokenizer/tokenizers.h"
#include "model/tokenizer/unicode.h"

namespace kinglet {
namespace {

/// A rank that is lower for a higher score.
std::uint32_t rank_of(float score) {
  const auto bits = std::bit_cast<std::uint32_t>(score == 0 ? 0.0f : score);  // -0 and 0 are equal
  const std::uint32_t ascending = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return ~ascending;
}

class SpmBpeTokenizer final : public BaseTokenizer {
 public:
  SpmBpeTokenizer(TokenizerParts parts, const SentencePieceOptions& options, std::vector<TokenId> byte_ids)
      : BaseTokenizer(std::move(parts)),
        options_(options),
        byte_ids_(std::move(byte_ids)),
        adjacency_(static_cast<std::size_t>(vocabulary_.size())) {
    for (TokenId id = 0; id < vocabulary_.size(); ++id)
      if (vocabulary_.type(id) == TokenType::kNormal) adjacency_.add(vocabulary_.text(id));
    strips_leading_space_ = options_.add_prefix_space;
    make_pieces([this](TokenId id) {
      for (std::size_t byte = 0; vocabulary_.type(id) == TokenType::kByte && byte < 256; ++byte)
        if (byte_ids_[byte] == id) return std::string(1, static_cast<char>(byte));
      return spaces_of_marks(vocabulary_.text(id));
    });
  }
  std::string_view kind() const override { return "spm-bpe"; }

 protected:
  void encode_text(std::string_view text, Encoding& encoding) const override {
    bool open_unknown = false;
    for (std::string_view left = text; !left.empty();) {
      const std::size_t size = next_joined(adjacency_, left);
      encode_piece(left.substr(0, size), encoding, open_unknown);
      left.remove_prefix(size);
    }
  }

 private:
  TokenId find_normal(std::string_view text) const {
    const TokenId id = vocabulary_.find(text);
    return id >= 0 && vocabulary_.type(id) == TokenType::kNormal ? id : -1;
  }

  void encode_piece(std::string_view piece, Encoding& encoding, bool& open_unknown) const {
    const bool cached = piece.size() <= WordCache::kLongest;
    const std::uint64_t hash = cached ? hash_bytes(piece) : 0;
    if (cached && encoding.cache.append(piece, hash, encoding.ids)) {
      open_unknown = false;
      return;
    }
    const std::size_t first = encoding.ids.size();
    const bool known = merge_piece(piece, encoding, open_unknown);
    // What an unknown character gives depends on its neighbours, so only known pieces are remembered.
    if (cached && known) encoding.cache.remember(piece, hash, encoding.ids, first);
  }

  bool merge_piece(std::string_view piece, Encoding& encoding, bool& open_unknown) const {
    auto& symbols = encoding.symbols;
    auto& offsets = encoding.offsets;
    symbols.clear();
    offsets.clear();
    for (std::size_t at = 0; at < piece.size();) {
      const std::size_t size = unicode::decode(piece.substr(at)).size;
      symbols.push_back({find_normal(piece.substr(at, size)), 1});
      offsets.push_back(static_cast<std::uint32_t>(at));
      at += size;
    }
    offsets.push_back(static_cast<std::uint32_t>(piece.size()));
    merge_symbols(symbols, 0, encoding.scratch,
                  [&](const Symbol& left, const Symbol& right, std::uint32_t start) -> Merge {
                    const std::uint32_t begin = offsets[start], end = offsets[start + left.size + right.size];
                    const TokenId id = find_normal(piece.substr(begin, end - begin));
                    if (id < 0) return {};
                    return {rank_of(vocabulary_.score(id)), id};
                  });
    bool known = true;
    std::uint32_t start = 0;
    for (const Symbol& symbol : symbols) {
      if (symbol.id >= 0) {
        encoding.ids.push_back(symbol.id);
        open_unknown = false;
      } else {
        fall_back(piece.substr(offsets[start], offsets[start + symbol.size] - offsets[start]), encoding, open_unknown);
        known = false;
      }
      start += symbol.size;
    }
    return known;
  }

  void fall_back(std::string_view character, Encoding& encoding, bool& open_unknown) const {
    bool bytes = options_.byte_fallback;
    for (char c : character) bytes = bytes && byte_ids_[static_cast<std::uint8_t>(c)] >= 0;
    if (bytes) {
      for (char c : character) encoding.ids.push_back(byte_ids_[static_cast<std::uint8_t>(c)]);
      open_unknown = false;
    } else if (options_.unknown >= 0 && !open_unknown) {
      encoding.ids.push_back(options_.unknown);
      open_unknown = true;
    }
  }

  SentencePieceOptions options_;
  std::vector<TokenId> byte_ids_;
  Adjacency adjacency_;
};

}  // namespace

TokenizerResult make_spm_bpe(TokenizerParts parts, const SentencePieceOptions& options) {
  KINGLET_TRY(std::vector<TokenId> byte_ids, find_byte_tokens(parts.vocabulary));
  return std::make_unique<SpmBpeTokenizer>(std::move(parts), options, std::move(byte_ids));
}

}  // namespace kinglet
