// The parts of a tokenizer.json beside its vocabulary.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/result.h"
#include "model/tokenizer/tokenizers.h"

namespace kinglet::hf {

using Json = nlohmann::ordered_json;

/// Null where `object` is no object or has no such member.
const Json* member(const Json& object, const char* name);
/// "" where it is absent or no string.
std::string text_of(const Json& object, const char* name);
bool flag_of(const Json& object, const char* name, bool fallback);

/// What /normalizer, /pre_tokenizer and /decoder ask of the model.
struct Pipeline {
  Normalizer normalizer;
  BpeOptions bpe;
  SentencePieceOptions unigram;
};
/// kUnsupported with the name of a component that is not known; never a guess.
Result<Pipeline> read_pipeline(const Json& root, std::string_view model);

/// What /post_processor puts around a single text.
struct Template {
  std::vector<TokenId> prefix, suffix;
};
Template read_template(const Json& root, const Vocabulary& vocabulary);

}  // namespace kinglet::hf
