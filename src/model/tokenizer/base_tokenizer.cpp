#include "model/tokenizer/base_tokenizer.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "model/tokenizer/unicode.h"

namespace kinglet {

// A word takes about five bytes; most are repeated. 8192 entries stay in the second-level cache.
WordCache::WordCache(std::size_t text_bytes)
    : entries_(std::bit_ceil(std::clamp<std::size_t>(text_bytes / 8, 1, 8192))) {}

bool WordCache::append(std::string_view word, std::uint64_t hash, std::vector<TokenId>& ids) const {
  const Entry& entry = entries_[hash & (entries_.size() - 1)];
  if (entry.size != word.size() || std::memcmp(entry.bytes, word.data(), word.size()) != 0) return false;
  for (std::size_t k = 0; k < entry.count; ++k) ids.push_back(ids[entry.first + k]);
  return true;
}

void WordCache::remember(std::string_view word, std::uint64_t hash, const std::vector<TokenId>& ids,
                         std::size_t first) {
  Entry& entry = entries_[hash & (entries_.size() - 1)];
  entry.size = static_cast<std::uint8_t>(word.size());
  std::memcpy(entry.bytes, word.data(), word.size());
  entry.first = first;
  entry.count = static_cast<std::uint32_t>(ids.size() - first);
}

BaseTokenizer::BaseTokenizer(TokenizerParts parts)
    : vocabulary_(std::move(parts.vocabulary)),
      added_(std::move(parts.added)),
      added_normalized_(std::move(parts.added_normalized)),
      normalizer_(std::move(parts.normalizer)) {}

std::vector<TokenId> BaseTokenizer::encode(std::string_view text, EncodeOptions options) const {
  Encoding encoding(text.size());
  encoding.ids.reserve(text.size() / 3 + 8);
  if (options.add_special) {
    if (!prefix_ids.empty())
      encoding.ids.insert(encoding.ids.end(), prefix_ids.begin(), prefix_ids.end());
    else if (adds_bos && bos >= 0)
      encoding.ids.push_back(bos);
  }
  std::size_t at = 0;
  while (at < text.size()) {
    const AddedTokens::Match match = added_.next(text, at, options.parse_special);
    const std::size_t end = match.id >= 0 ? match.begin : text.size();
    if (end > at) {
      encode_between(text.substr(at, end - at), options, encoding);
      encoding.at_start = false;
    }
    at = end;
    if (match.id >= 0) {
      encoding.ids.push_back(match.id);
      encoding.at_start = false;
      at = match.end;
    }
  }
  if (options.add_special) {
    if (!suffix_ids.empty())
      encoding.ids.insert(encoding.ids.end(), suffix_ids.begin(), suffix_ids.end());
    else if (adds_eos && eos >= 0)
      encoding.ids.push_back(eos);
  }
  return std::move(encoding.ids);
}

void BaseTokenizer::encode_between(std::string_view text, EncodeOptions options, Encoding& encoding) const {
  std::string replaced, normalized;
  // A normaliser works on characters, so it makes U+FFFD of ill-formed bytes even for kinds that could keep them.
  if ((!keeps_ill_formed_ || !normalizer_.is_identity()) && !unicode::is_well_formed(text))
    text = replaced = unicode::replace_ill_formed(text);
  if (!normalizer_.is_identity()) text = normalized = normalizer_.apply(text);
  if (added_normalized_.empty()) {
    if (!text.empty()) encode_text(text, encoding);
    return;
  }
  std::size_t at = 0;
  while (at < text.size()) {
    const AddedTokens::Match match = added_normalized_.next(text, at, options.parse_special);
    const std::size_t end = match.id >= 0 ? match.begin : text.size();
    if (end > at) encode_text(text.substr(at, end - at), encoding);
    encoding.at_start = false;
    at = end;
    if (match.id >= 0) {
      encoding.ids.push_back(match.id);
      at = match.end;
    }
  }
}

std::string BaseTokenizer::decode(std::span<const TokenId> ids, bool special) const {
  std::string out;
  bool first = true;
  for (TokenId id : ids) {
    if (!vocabulary_.contains(id)) continue;
    const bool shown = special && vocabulary_.type(id) != TokenType::kNormal && piece(id).empty();
    std::string_view bytes = shown ? vocabulary_.text(id) : piece(id);
    if (bytes.empty()) continue;
    if (first && !shown && strips_leading_space_ && bytes.front() == ' ') bytes.remove_prefix(1);
    first = false;
    out += bytes;
  }
  return out;
}

std::string_view BaseTokenizer::piece(TokenId id) const {
  if (!vocabulary_.contains(id)) return "";
  const std::size_t begin = piece_offsets_[static_cast<std::size_t>(id)];
  return std::string_view(piece_bytes_).substr(begin, piece_offsets_[static_cast<std::size_t>(id) + 1] - begin);
}

bool BaseTokenizer::is_control(TokenId id) const {
  if (!vocabulary_.contains(id)) return false;
  const TokenType type = vocabulary_.type(id);
  return type == TokenType::kControl || type == TokenType::kUnknown;
}

Result<std::vector<TokenId>> find_byte_tokens(const Vocabulary& vocabulary) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::vector<TokenId> ids(256, -1);
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const char name[] = {'<', '0', 'x', kHex[byte / 16], kHex[byte % 16], '>'};
    const TokenId id = vocabulary.find({name, sizeof name});
    if (id < 0 || vocabulary.type(id) != TokenType::kByte) continue;
    ids[byte] = id;
  }
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    if (vocabulary.type(id) != TokenType::kByte) continue;
    if (std::find(ids.begin(), ids.end(), id) == ids.end())
      return fail(ErrorCode::kCorrupt,
                  "token " + std::to_string(id) + " is a byte token but its text is not <0x00> to <0xFF>");
  }
  return ids;
}

std::string spaces_of_marks(std::string_view text) {
  std::string out;
  for (std::size_t at = 0;;) {
    const std::size_t found = text.find(kSpaceMark, at);
    out += text.substr(at, found - at);
    if (found == std::string_view::npos) return out;
    out += ' ';
    at = found + kSpaceMark.size();
  }
}

}  // namespace kinglet
