#include "model/tokenizer/vocabulary.h"

#include <algorithm>
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
  vocabulary.by_text_ = IndexTable(count);
  for (std::size_t k = 0; k < count; ++k) {
    const std::string& token = tokens[k];
    vocabulary.offsets_.push_back(static_cast<std::uint32_t>(vocabulary.bytes_.size()));
    vocabulary.bytes_.insert(vocabulary.bytes_.end(), token.begin(), token.end());
    vocabulary.longest_ = std::max(vocabulary.longest_, token.size());
    if (token.empty()) continue;
    const std::uint64_t hash = hash_bytes(token);
    const std::uint32_t other = vocabulary.by_text_.find(
        hash, [&](std::uint32_t id) { return vocabulary.text(static_cast<TokenId>(id)) == token; });
    if (other != IndexTable::kNone)
      return fail(ErrorCode::kCorrupt,
                  "tokens " + std::to_string(other) + " and " + std::to_string(k) + " of the vocabulary are equal");
    vocabulary.by_text_.add(hash, static_cast<std::uint32_t>(k));
  }
  vocabulary.offsets_.push_back(static_cast<std::uint32_t>(vocabulary.bytes_.size()));
  return vocabulary;
}

TokenId Vocabulary::find(std::string_view text) const {
  if (text.empty() || text.size() > longest_) return -1;
  const std::uint32_t id =
      by_text_.find(hash_bytes(text), [&](std::uint32_t at) { return this->text(static_cast<TokenId>(at)) == text; });
  return id == IndexTable::kNone ? -1 : static_cast<TokenId>(id);
}

}  // namespace kinglet
