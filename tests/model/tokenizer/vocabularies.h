// Small literal vocabularies for the tokenizer tests.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "kinglet/tokenizer.h"
#include "model/tokenizer/tokenizers.h"
#include "model/tokenizer/unicode.h"

namespace kinglet::testing {

/// The 256 byte characters, then merges' results in order, each once.
inline std::vector<std::string> byte_tokens(const std::vector<std::string>& merges) {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) {
    std::string text;
    unicode::append(text, byte_character(static_cast<std::uint8_t>(byte)));
    tokens.push_back(text);
  }
  for (const std::string& merge : merges) {
    std::string text = merge;
    text.erase(text.find(' '), 1);
    if (std::find(tokens.begin(), tokens.end(), text) == tokens.end()) tokens.push_back(text);
  }
  return tokens;
}

/// Byte-level BPE with <|end|> as a control token and <tool> as a user-defined one at the end of the vocabulary.
inline Metadata bpe_metadata(const std::vector<std::string>& merges, std::string_view pre = "gpt-2") {
  std::vector<std::string> tokens = byte_tokens(merges);
  std::vector<std::int64_t> types(tokens.size(), 1);
  tokens.push_back("<|end|>"), types.push_back(3);
  tokens.push_back("<tool>"), types.push_back(4);
  Metadata metadata;
  metadata.set_string("tokenizer.ggml.model", "gpt2");
  metadata.set_string("tokenizer.ggml.pre", pre);
  metadata.set_integer("tokenizer.ggml.eos_token_id", static_cast<std::int64_t>(tokens.size()) - 2);
  metadata.set_strings("tokenizer.ggml.tokens", std::move(tokens));
  metadata.set_integers("tokenizer.ggml.token_type", std::move(types));
  metadata.set_strings("tokenizer.ggml.merges", merges);
  return metadata;
}

/// SentencePiece BPE: <unk>, <s>, </s>, 256 byte tokens, then the given pieces with falling scores.
inline Metadata spm_metadata(const std::vector<std::string>& pieces, bool prefix) {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<std::int64_t> types = {2, 3, 3};
  static constexpr char kHex[] = "0123456789ABCDEF";
  for (std::size_t byte = 0; byte < 256; ++byte) {
    tokens.push_back({'<', '0', 'x', kHex[byte / 16], kHex[byte % 16], '>'});
    types.push_back(6);
  }
  std::vector<double> scores(tokens.size(), 0.0);
  for (const std::string& piece : pieces) {
    tokens.push_back(piece);
    types.push_back(1);
    scores.push_back(-static_cast<double>(scores.size()));
  }
  Metadata metadata;
  metadata.set_string("tokenizer.ggml.model", "llama");
  metadata.set_strings("tokenizer.ggml.tokens", std::move(tokens));
  metadata.set_integers("tokenizer.ggml.token_type", std::move(types));
  metadata.set_numbers("tokenizer.ggml.scores", std::move(scores));
  metadata.set_integer("tokenizer.ggml.unknown_token_id", 0);
  metadata.set_integer("tokenizer.ggml.bos_token_id", 1);
  metadata.set_integer("tokenizer.ggml.eos_token_id", 2);
  metadata.set_flag("tokenizer.ggml.add_space_prefix", prefix);
  return metadata;
}

/// The tokens' own texts, joined by "|".
inline std::string texts(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  std::string out;
  for (TokenId id : ids) {
    if (!out.empty()) out += "|";
    out += tokenizer.text(id);
  }
  return out;
}

}  // namespace kinglet::testing
