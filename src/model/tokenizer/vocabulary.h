// The tokens of a model: text, type and score of each id, and ids by text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/result.h"
#include "kinglet/tokenizer.h"
#include "model/tokenizer/index_table.h"

namespace kinglet {

/// GGUF's numbers.
enum class TokenType : std::uint8_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

inline std::uint64_t hash_bytes(std::string_view bytes) {
  std::uint64_t hash = 0x9E3779B97F4A7C15ull ^ bytes.size();
  const char* data = bytes.data();
  std::size_t left = bytes.size();
  auto mix = [&](std::uint64_t word) {
    hash = (hash ^ word) * 0xFF51AFD7ED558CCDull;
    hash ^= hash >> 32;
  };
  std::uint64_t word = 0;
  for (; left >= 8; left -= 8, data += 8) {
    __builtin_memcpy(&word, data, 8);
    mix(word);
  }
  word = 0;
  for (std::size_t k = 0; k < left; ++k) word = word << 8 | static_cast<std::uint8_t>(data[k]);
  mix(word);
  return hash;
}

/// Immutable after make(). Views stay valid as long as the vocabulary, also when it is moved.
class Vocabulary {
 public:
  /// Most tokens and bytes of a vocabulary: eight times the largest in use (262144 tokens, about 3 MB of text).
  static constexpr std::size_t kMostTokens = 1u << 21;
  static constexpr std::size_t kMostBytes = 1u << 28;

  /// `types` and `scores` may be empty (all normal; 0). kCorrupt where lengths or types are wrong or two tokens are
  /// equal. Empty texts are kept as ids that nothing finds.
  static Result<Vocabulary> make(const std::vector<std::string>& tokens, std::vector<TokenType> types,
                                 std::vector<float> scores);

  std::int32_t size() const { return static_cast<std::int32_t>(types_.size()); }
  bool contains(TokenId id) const { return id >= 0 && id < size(); }
  std::string_view text(TokenId id) const {
    return std::string_view(bytes_.data() + offsets_[static_cast<std::size_t>(id)],
                            offsets_[static_cast<std::size_t>(id) + 1] - offsets_[static_cast<std::size_t>(id)]);
  }
  TokenType type(TokenId id) const { return types_[static_cast<std::size_t>(id)]; }
  float score(TokenId id) const { return scores_.empty() ? 0.0f : scores_[static_cast<std::size_t>(id)]; }
  TokenId find(std::string_view text) const;
  std::size_t longest() const { return longest_; }  ///< bytes of the longest text

 private:
  std::vector<char> bytes_;
  std::vector<std::uint32_t> offsets_;
  std::vector<TokenType> types_;
  std::vector<float> scores_;
  IndexTable by_text_;
  std::size_t longest_ = 0;
};

}  // namespace kinglet
