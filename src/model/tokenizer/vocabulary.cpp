#include "model/tokenizer/vocabulary.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace kinglet {

Result<Vocabulary> Vocabulary::make(const std::vector<std::string>& tokens, std::vector<TokenType> types,
                                    std::vector<float> scores) {
  const std::size_t count = tokens.size();
  if (count == 0) return fail(ErrorCode::kCorrupt, "the vocabulary has no tokens");
  if (count > kMostTokens)
    return fail(ErrorCode::kExhausted,
                "the vocabulary has " + std::to_string(count) + " tokens, more than " + std::to_string(kMostTokens));
  if (!types.empty() && types.size() != count)
    return fail(ErrorCode::kCorrupt, "the vocabulary has " + std::to_string(count) + " tokens but " +
                                         std::to_string(types.size()) + " token types");
  if (!scores.empty() && scores.size() != count)
    return fail(ErrorCode::kCorrupt, "the vocabulary has " + std::to_string(count) + " tokens but " +
                                         std::to_string(scores.size()) + " scores");
  for (std::size_t k = 0; k < scores.size(); ++k)
    if (!std::isfinite(scores[k]))
      return fail(ErrorCode::kCorrupt, "the score of token " + std::to_string(k) + " is not a number");
  std::size_t total = 0;
  for (const std::string& token : tokens) total += token.size();
  if (total > kMostBytes)
    return fail(ErrorCode::kExhausted, "the vocabulary's texts have " + std::to_string(total) + " bytes, more than " +
                                           std::to_string(kMostBytes));

  Vocabulary vocabulary;
  vocabulary.types_ = types.empty() ? std::vector<TokenType>(count, TokenType::kNormal) : std::move(types);
  vocabulary.scores_ = std::move(scores);
  vocabulary.bytes_.reserve(total);
  vocabulary.offsets_.reserve(count + 1);
  vocabulary.slots_.resize(std::bit_ceil(count * 2));
  const std::size_t mask = vocabulary.slots_.size() - 1;
  for (std::size_t k = 0; k < count; ++k) {
    const std::string& token = tokens[k];
    vocabulary.offsets_.push_back(static_cast<std::uint32_t>(vocabulary.bytes_.size()));
    vocabulary.bytes_.insert(vocabulary.bytes_.end(), token.begin(), token.end());
    vocabulary.longest_ = std::max(vocabulary.longest_, token.size());
    if (token.empty()) continue;
    const std::uint64_t hash = hash_bytes(token);
    const auto tag = static_cast<std::uint32_t>(hash >> 32);
    std::size_t slot = hash & mask;
    for (; vocabulary.slots_[slot].id >= 0; slot = (slot + 1) & mask) {
      const Slot& other = vocabulary.slots_[slot];
      if (other.tag == tag && vocabulary.text(other.id) == token)
        return fail(ErrorCode::kCorrupt, "tokens " + std::to_string(other.id) + " and " + std::to_string(k) +
                                             " of the vocabulary are equal");
    }
    vocabulary.slots_[slot] = {tag, static_cast<TokenId>(k)};
  }
  vocabulary.offsets_.push_back(static_cast<std::uint32_t>(vocabulary.bytes_.size()));
  return vocabulary;
}

TokenId Vocabulary::find(std::string_view text) const {
  if (text.empty() || text.size() > longest_) return -1;
  const std::uint64_t hash = hash_bytes(text);
  const auto tag = static_cast<std::uint32_t>(hash >> 32);
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t slot = hash & mask;; slot = (slot + 1) & mask) {
    const Slot& entry = slots_[slot];
    if (entry.id < 0) return -1;
    if (entry.tag == tag && this->text(entry.id) == text) return entry.id;
  }
}

}  // namespace kinglet
