// A vocabulary from bytes. What loads must encode and decode any text without harm; a byte-level vocabulary that has
// all bytes gives every text back.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/tokenizer.h"

namespace {

/// Takes small values and strings off the front of the input.
class Source {
 public:
  Source(const std::uint8_t* data, std::size_t size) : data_(data), left_(size) {}
  std::uint8_t byte() { return left_ > 0 ? (--left_, *data_++) : 0; }
  std::string string() {
    std::string out;
    for (std::size_t size = byte() % 24; size > 0 && left_ > 0; --size) out += static_cast<char>(byte());
    return out;
  }
  bool empty() const { return left_ == 0; }
  std::string rest() { return std::string(reinterpret_cast<const char*>(data_), left_); }

 private:
  const std::uint8_t* data_;
  std::size_t left_;
};

void use(const kinglet::Tokenizer& tokenizer, const std::string& text) {
  for (const bool special : {false, true}) {
    const auto ids = tokenizer.encode(text, {.parse_special = special, .add_special = special});
    for (kinglet::TokenId id : ids)
      if (id < 0 || id >= tokenizer.size()) std::abort();
    (void)tokenizer.decode(ids, special);
  }
  for (kinglet::TokenId id = -1; id <= tokenizer.size(); ++id)
    (void)(tokenizer.piece(id).size() + tokenizer.text(id).size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Source source(data, size);
  kinglet::Metadata metadata;
  const std::uint8_t kind = source.byte();
  if (kind % 5 == 4) {
    const std::string json = source.rest();
    metadata.set_string("tokenizer.huggingface.json", json);
    const auto tokenizer = kinglet::load_tokenizer(metadata);
    if (tokenizer) use(**tokenizer, json.substr(0, 200));
    return 0;
  }
  static constexpr const char* kModels[] = {"gpt2", "llama", "t5", "bert"};
  static constexpr const char* kPre[] = {"gpt-2", "smollm", "llama-bpe", "qwen2"};
  metadata.set_string("tokenizer.ggml.model", kModels[kind % 5]);
  metadata.set_string("tokenizer.ggml.pre", kPre[kind / 5 % 4]);
  if (kind & 0x80) metadata.set_flag("tokenizer.ggml.add_space_prefix", source.byte() & 1);
  std::vector<std::string> tokens, merges;
  std::vector<std::int64_t> types;
  std::vector<double> scores;
  for (std::size_t count = source.byte() % 64; count > 0; --count) {
    tokens.push_back(source.string());
    types.push_back(source.byte() % 7);
    scores.push_back(static_cast<std::int8_t>(source.byte()) / 4.0);
  }
  for (std::size_t count = source.byte() % 32; count > 0 && !tokens.empty(); --count) {
    const std::string& left = tokens[source.byte() % tokens.size()];
    const std::string& right = tokens[source.byte() % tokens.size()];
    merges.push_back(left + " " + right);
  }
  std::vector<std::int64_t> map;
  for (std::size_t count = source.byte() % 40; count > 0; --count) map.push_back(source.byte());
  if (!map.empty()) metadata.set_integers("tokenizer.ggml.precompiled_charsmap", map, kinglet::MetadataType::kUint8);
  metadata.set_integer("tokenizer.ggml.unknown_token_id", source.byte() % 64);
  metadata.set_integer("tokenizer.ggml.eos_token_id", source.byte() % 64);
  std::string text = source.rest();
  for (std::size_t k = 0; k < tokens.size() && k < 8; ++k) text += tokens[k];
  metadata.set_strings("tokenizer.ggml.tokens", std::move(tokens));
  metadata.set_integers("tokenizer.ggml.token_type", std::move(types));
  metadata.set_numbers("tokenizer.ggml.scores", std::move(scores));
  metadata.set_strings("tokenizer.ggml.merges", std::move(merges));
  const auto tokenizer = kinglet::load_tokenizer(metadata);
  if (tokenizer) use(**tokenizer, text);
  return 0;
}
