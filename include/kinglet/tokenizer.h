// Text to token ids and back.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/checkpoint.h"
#include "kinglet/result.h"

namespace kinglet {

using TokenId = std::int32_t;

struct EncodeOptions {
  bool parse_special = false;  ///< read the text of special tokens as those tokens; otherwise it is plain text
  bool add_special = false;    ///< add BOS / EOS (for BERT: [CLS], [SEP]) as the model asks
};

/// Immutable after loading; may be used from several threads.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual std::string_view kind() const = 0;  ///< "bpe", "spm-bpe", "unigram", "wordpiece"
  virtual std::int32_t size() const = 0;      ///< number of ids
  /// Any bytes are accepted; ill-formed UTF-8 is handled as the reference tokenizer does. Time is linear in practice.
  virtual std::vector<TokenId> encode(std::string_view text, EncodeOptions options = {}) const = 0;
  /// Bytes that the tokens stand for, joined. Control tokens give nothing unless `special`.
  virtual std::string decode(std::span<const TokenId> ids, bool special = false) const = 0;
  /// Exact bytes that this token adds in the middle of a text ("" for control tokens and ids out of range).
  /// Concatenated pieces equal decode() except for the leading space that some vocabularies strip.
  virtual std::string_view piece(TokenId id) const = 0;
  /// The token's own name in the vocabulary: "<|im_end|>", "▁the", "Ġthe".
  virtual std::string_view text(TokenId id) const = 0;
  virtual bool is_control(TokenId id) const = 0;
  virtual TokenId find(std::string_view text) const = 0;  ///< by text(); -1 if there is none

  TokenId bos = -1, eos = -1, unknown = -1, padding = -1;
  bool adds_bos = false, adds_eos = false;
  std::vector<TokenId> end_ids;  ///< all that end a generation: EOS, end of turn, end of message
  bool is_end(TokenId id) const {
    for (TokenId end : end_ids)
      if (end == id) return true;
    return false;
  }
};

/// From GGUF's tokenizer.ggml.* keys, or from the whole text of a tokenizer.json under tokenizer.huggingface.json.
/// An unknown pre-tokenizer or model kind is an error that names it.
Result<std::unique_ptr<Tokenizer>> load_tokenizer(const Metadata& metadata);

}  // namespace kinglet
