#include "model/tokenizer/load.h"

#include <algorithm>

#include "base/try.h"

namespace kinglet {
namespace {

/// Control tokens that end an answer in the models that have them, whatever the file calls its EOS.
constexpr std::string_view kEndMarkers[] = {
    "<|im_end|>",    "<|eot_id|>",      "<|eom_id|>",    "<end_of_turn>",   "<turn|>",
    "<|end|>",       "<|end_of_text|>", "<|endoftext|>", "<|end_of_turn|>", "<|END_OF_TURN_TOKEN|>",
    "<|return|>",    "<|call|>",        "<|eot|>",       "<|eom|>",         "<｜end▁of▁sentence｜>",
    "<|endofturn|>", "[EOT]",           "<EOT>",         "<|role_end|>",
};

}  // namespace

Result<void> read_special_ids(const Metadata& metadata, BaseTokenizer& tokenizer) {
  const std::int64_t last = tokenizer.size() - 1;
  auto read = [&](std::string_view name, TokenId& id) -> Result<void> {
    const std::string key = "tokenizer.ggml." + std::string(name) + "_token_id";
    if (!metadata.contains(key)) return {};
    KINGLET_TRY(const std::int64_t value, metadata.integer(key, 0, last));
    id = static_cast<TokenId>(value);
    return {};
  };
  TokenId eot = -1, eom = -1;
  KINGLET_CHECK(read("bos", tokenizer.bos));
  KINGLET_CHECK(read("eos", tokenizer.eos));
  KINGLET_CHECK(read("unknown", tokenizer.unknown));
  KINGLET_CHECK(read("padding", tokenizer.padding));
  KINGLET_CHECK(read("eot", eot));
  KINGLET_CHECK(read("eom", eom));
  if (tokenizer.kind() == "wordpiece") {
    KINGLET_CHECK(read("cls", tokenizer.bos));
    KINGLET_CHECK(read("seperator", tokenizer.eos));  // so spelt in GGUF
    KINGLET_CHECK(read("separator", tokenizer.eos));
  }
  KINGLET_TRY(tokenizer.adds_bos, metadata.flag_or("tokenizer.ggml.add_bos_token", tokenizer.adds_bos));
  KINGLET_TRY(tokenizer.adds_eos, metadata.flag_or("tokenizer.ggml.add_eos_token", tokenizer.adds_eos));
  if (tokenizer.kind() == "wordpiece") {
    KINGLET_TRY(tokenizer.adds_eos, metadata.flag_or("tokenizer.ggml.add_sep_token", tokenizer.adds_eos));
  }

  auto add_end = [&](TokenId id) {
    if (id >= 0 && !tokenizer.is_end(id)) tokenizer.end_ids.push_back(id);
  };
  add_end(tokenizer.eos);
  add_end(eot);
  add_end(eom);
  KINGLET_TRY(const auto* ends, metadata.integers("tokenizer.ggml.eos_token_ids"));
  for (std::size_t k = 0; ends != nullptr && k < ends->size(); ++k) {
    const std::int64_t id = (*ends)[k];
    if (id < 0 || id > last)
      return fail(ErrorCode::kCorrupt, "tokenizer.ggml.eos_token_ids holds " + std::to_string(id) +
                                           ", but the vocabulary has " + std::to_string(last + 1) + " tokens");
    if (k < 1024) add_end(static_cast<TokenId>(id));  // is_end() is linear
  }
  for (std::string_view marker : kEndMarkers) {
    const TokenId id = tokenizer.find(marker);
    if (id >= 0 && tokenizer.is_special(id)) add_end(id);
  }
  return {};
}

Result<std::unique_ptr<Tokenizer>> load_tokenizer(const Metadata& metadata) {
  TokenizerResult loaded =
      metadata.contains("tokenizer.huggingface.json") ? load_hf_tokenizer(metadata) : load_gguf_tokenizer(metadata);
  if (!loaded) return tl::unexpected<Error>(std::move(loaded.error()).within("tokenizer"));
  return std::unique_ptr<Tokenizer>(std::move(*loaded));
}

}  // namespace kinglet
