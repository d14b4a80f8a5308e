// tokenizer.json in GGUF's words, so that other engines read a converted model. Kinglet itself goes on reading the
// tokenizer.json text, which is carried along.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "base/json.h"
#include "base/limits.h"
#include "model/format/convert_parts.h"

namespace kinglet {
namespace {

using Json = nlohmann::ordered_json;

enum TokenType { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

constexpr std::string_view kSpace = "\xe2\x96\x81";  // U+2581, SentencePiece's space

struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<std::int64_t> types;

  bool place(std::int64_t id, std::string text, TokenType type) {
    if (id < 0 || id >= limits::kVocabulary) return false;
    const auto index = static_cast<std::size_t>(id);
    if (index >= tokens.size()) tokens.resize(index + 1), types.resize(index + 1, 0);
    tokens[index] = std::move(text);
    types[index] = type;
    return true;
  }
  void fill(std::size_t size) {
    if (tokens.size() < size) tokens.resize(size), types.resize(size, 0);
    for (std::size_t i = 0; i < tokens.size(); ++i)
      if (types[i] == 0) tokens[i] = "[PAD" + std::to_string(i) + "]", types[i] = kUnused;
  }
};

bool place_added(const Json& tokenizer, Vocabulary& vocabulary) {
  const Json added = tokenizer.value("added_tokens", Json::array());
  if (!added.is_array()) return false;
  for (const Json& token : added) {
    if (!token.is_object()) return false;
    const Json id = token.value("id", Json()), content = token.value("content", Json());
    if (!id.is_number_unsigned() || !content.is_string()) return false;
    const Json special = token.value("special", Json(false));
    const bool control = special.is_boolean() && special.get<bool>();
    if (!vocabulary.place(id.get<std::int64_t>(), content.get<std::string>(), control ? kControl : kUserDefined))
      return false;
  }
  return true;
}

// [["a","b"],...] or ["a b",...] as "a b" lines; false where a part holds a space.
bool read_merges(const Json& model, std::vector<std::string>& lines) {
  const Json* merges = model.contains("merges") ? &model["merges"] : nullptr;
  if (!merges || !merges->is_array()) return false;
  for (const Json& merge : *merges) {
    if (merge.is_string()) {
      lines.push_back(merge.get<std::string>());
      continue;
    }
    if (!merge.is_array() || merge.size() != 2 || !merge[0].is_string() || !merge[1].is_string()) return false;
    const auto &left = merge[0].get_ref<const std::string&>(), &right = merge[1].get_ref<const std::string&>();
    if (left.find(' ') != std::string::npos || right.find(' ') != std::string::npos) return false;
    lines.push_back(left + " " + right);
  }
  return true;
}

// GGUF names pre-tokenizers; these are told apart by what their expressions say.
std::string pre_tokenizer_name(const Json& tokenizer) {
  const std::string text = dump_json(tokenizer.value("pre_tokenizer", Json()));
  const auto has = [&](std::string_view part) { return text.find(part) != std::string::npos; };
  if (!has("ByteLevel")) return "";
  if (has("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|"))
    return has("\\\\p{N}{1,3}|") ? "llama-bpe" : has("|\\\\p{N}|") ? "qwen2" : "";
  if (has("Digits")) return "smollm";
  return has("Split") ? "" : "gpt-2";
}

void set_special(Metadata& metadata, const Vocabulary& vocabulary, std::string_view text, std::string_view key) {
  const auto found = std::find(vocabulary.tokens.begin(), vocabulary.tokens.end(), text);
  if (found != vocabulary.tokens.end())
    metadata.set_integer("tokenizer.ggml." + std::string(key), found - vocabulary.tokens.begin());
}

// Scores under which merging by score takes the order of the merges.
std::vector<double> scores_from(const std::vector<std::string>& merges, const Vocabulary& vocabulary) {
  std::unordered_map<std::string, std::size_t> ranks;
  for (std::size_t i = 0; i < merges.size(); ++i) {
    std::string whole = merges[i];
    if (const auto space = whole.find(' '); space != std::string::npos) whole.erase(space, 1);
    ranks.try_emplace(std::move(whole), i);
  }
  std::vector<double> scores;
  for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const auto rank = ranks.find(vocabulary.tokens[i]);
    scores.push_back(rank != ranks.end()              ? -static_cast<double>(rank->second + 1)
                     : vocabulary.types[i] == kNormal ? -1e6
                                                      : 0.0);
  }
  return scores;
}

bool is_byte_token(std::string_view text) { return text.size() == 6 && text.starts_with("<0x") && text.back() == '>'; }

}  // namespace

void add_gguf_tokenizer(const Checkpoint& from, Metadata& metadata, std::vector<std::string>& notes) {
  const auto text = metadata.string_or(kHfTokenizerKey, "");
  if (!text || text->empty() || metadata.contains("tokenizer.ggml.model")) return;
  const auto refuse = [&](const std::string& why) {
    notes.push_back("the tokenizer stays a tokenizer.json that Kinglet reads and other engines do not: " + why);
  };
  const auto parsed = parse_json(*text, "tokenizer.json");
  if (!parsed || !parsed->is_object() || !parsed->contains("model") || !(*parsed)["model"].is_object())
    return refuse("it has no model");
  const Json& model = (*parsed)["model"];
  const Json type = model.value("type", Json()), bytes = model.value("byte_fallback", Json(false));
  const std::string kind = type.is_string() ? type.get<std::string>() : model.contains("merges") ? "BPE" : "";
  const bool fallback = bytes.is_boolean() && bytes.get<bool>();
  if ((kind != "BPE" && kind != "WordPiece") || !model.contains("vocab") || !model["vocab"].is_object())
    return refuse("its kind '" + kind + "' has no counterpart");
  Vocabulary vocabulary;
  for (const auto& [token, id] : model["vocab"].items()) {
    if (!id.is_number_unsigned()) return refuse("an id is not a number");
    std::string name = token;
    if (kind == "WordPiece") name = token.starts_with("##") ? token.substr(2) : std::string(kSpace) + token;
    const TokenType token_type = kind == "BPE" && fallback && is_byte_token(token) ? kByte : kNormal;
    if (!vocabulary.place(id.get<std::int64_t>(), std::move(name), token_type)) return refuse("an id is out of range");
  }
  if (!place_added(*parsed, vocabulary)) return refuse("its added tokens are malformed");
  if (const TensorInfo* embedding = from.find("token_embd.weight"))
    vocabulary.fill(static_cast<std::size_t>(std::min<std::int64_t>(embedding->rows(), limits::kVocabulary)));
  std::vector<std::string> merges;
  std::string pre;
  if (kind == "BPE") {
    if (!read_merges(model, merges)) return refuse("its merges cannot be written as lines");
    pre = fallback ? "default" : pre_tokenizer_name(*parsed);
    if (pre.empty()) return refuse("its pre-tokenizer has no name in GGUF");
  }
  const Json unknown = model.value("unk_token", Json());
  if (unknown.is_string()) {
    set_special(metadata, vocabulary, unknown.get<std::string>(), "unknown_token_id");
    const auto found = std::find(vocabulary.tokens.begin(), vocabulary.tokens.end(), unknown.get<std::string>());
    if (found != vocabulary.tokens.end()) vocabulary.types[found - vocabulary.tokens.begin()] = kUnknown;
  }
  metadata.set_string("tokenizer.ggml.model", kind == "WordPiece" ? "bert" : fallback ? "llama" : "gpt2");
  if (kind == "WordPiece") {
    metadata.set_string("tokenizer.ggml.pre", "jina-v2-en");  // what other converters write for BERT
    metadata.set_integer("tokenizer.ggml.token_type_count", 2);
    set_special(metadata, vocabulary, "[CLS]", "bos_token_id");
    set_special(metadata, vocabulary, "[CLS]", "cls_token_id");
    set_special(metadata, vocabulary, "[SEP]", "eos_token_id");
    set_special(metadata, vocabulary, "[SEP]", "seperator_token_id");
    set_special(metadata, vocabulary, "[MASK]", "mask_token_id");
  } else {
    metadata.set_string("tokenizer.ggml.pre", pre);
    const bool prefix = dump_json(parsed->value("normalizer", Json())).find("Prepend") != std::string::npos;
    if (fallback) {
      metadata.set_flag("tokenizer.ggml.add_space_prefix", prefix);
      metadata.set_numbers("tokenizer.ggml.scores", scores_from(merges, vocabulary));
    } else {
      metadata.set_strings("tokenizer.ggml.merges", std::move(merges));
    }
  }
  metadata.set_strings("tokenizer.ggml.tokens", std::move(vocabulary.tokens));
  metadata.set_integers("tokenizer.ggml.token_type", std::move(vocabulary.types));
}

}  // namespace kinglet
