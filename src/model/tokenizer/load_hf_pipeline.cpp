// Normaliser, pre-tokenizer and post-processor of a tokenizer.json.
#include <array>
#include <nlohmann/json.hpp>

#include "base/try.h"
#include "model/tokenizer/load_hf.h"

namespace kinglet::hf {
namespace {

constexpr std::size_t kMostParts = 64;

/// The parts of a Sequence, or the one part itself; none for null.
Result<std::vector<const Json*>> parts_of(const Json& root, const char* name, const char* list_name) {
  std::vector<const Json*> parts, open;
  if (const Json* top = member(root, name); top != nullptr && !top->is_null()) open.push_back(top);
  while (!open.empty()) {
    const Json* part = open.back();
    open.pop_back();
    const Json* list = text_of(*part, "type") == "Sequence" ? member(*part, list_name) : nullptr;
    if (list != nullptr && list->is_array())
      for (auto it = list->rbegin(); it != list->rend(); ++it) open.push_back(&*it);
    else
      parts.push_back(part);
    if (parts.size() + open.size() > kMostParts)
      return fail(ErrorCode::kUnsupported, std::string("tokenizer.json: /") + name + " has more than 64 parts");
  }
  return parts;
}

tl::unexpected<Error> unknown_part(const char* where, const Json& part) {
  std::string text = part.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > 300) text = text.substr(0, 300) + "...";
  return fail(ErrorCode::kUnsupported, std::string("tokenizer.json: the ") + where + " " + text + " is not known");
}

std::string decode_base64(std::string_view text) {
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  for (char c : text) {
    std::uint32_t value = 0;
    if (c >= 'A' && c <= 'Z')
      value = static_cast<std::uint32_t>(c - 'A');
    else if (c >= 'a' && c <= 'z')
      value = static_cast<std::uint32_t>(c - 'a' + 26);
    else if (c >= '0' && c <= '9')
      value = static_cast<std::uint32_t>(c - '0' + 52);
    else if (c == '+' || c == '/')
      value = c == '+' ? 62 : 63;
    else
      continue;
    bits = bits << 6 | value;
    if ((count += 6) < 8) continue;
    count -= 8;
    out += static_cast<char>(bits >> count & 0xFF);
  }
  return out;
}

/// The text of a pattern: {"String": ...} or {"Regex": ...}.
std::string pattern_of(const Json& part, const char* kind) {
  const Json* pattern = member(part, "pattern");
  return pattern == nullptr ? std::string() : text_of(*pattern, kind);
}

void add_bert(const Json& part, Normalizer& normalizer) {
  const bool lowercase = flag_of(part, "lowercase", true);
  const bool strip_accents = flag_of(part, "strip_accents", lowercase);
  if (flag_of(part, "clean_text", true)) normalizer.add(Normalizer::Kind::kBertClean);
  if (flag_of(part, "handle_chinese_chars", true)) normalizer.add(Normalizer::Kind::kBertChinese);
  if (strip_accents) {
    normalizer.add(Normalizer::Kind::kNfd);
    normalizer.add(Normalizer::Kind::kStripAccents);
  }
  if (lowercase) normalizer.add(Normalizer::Kind::kLowercase);
}

Result<void> add_normalizer(const Json& part, Normalizer& normalizer) {
  using Kind = Normalizer::Kind;
  struct Simple {
    std::string_view name;
    Kind kind;
  };
  static constexpr Simple kSimple[] = {{"NFC", Kind::kNfc},
                                       {"NFD", Kind::kNfd},
                                       {"NFKC", Kind::kNfkc},
                                       {"NFKD", Kind::kNfkd},
                                       {"Lowercase", Kind::kLowercase},
                                       {"StripAccents", Kind::kStripAccents}};
  const std::string type = text_of(part, "type");
  for (const Simple& simple : kSimple)
    if (type == simple.name) return normalizer.add(simple.kind), Result<void>();
  Normalizer::Step step;
  if (type == "BertNormalizer") return add_bert(part, normalizer), Result<void>();
  if (type == "Precompiled") {
    step.kind = Kind::kCharacterMap;
    KINGLET_TRY(step.map, CharacterMap::parse(decode_base64(text_of(part, "precompiled_charsmap"))));
  } else if (type == "Prepend") {
    step.kind = Kind::kPrepend;
    step.to = text_of(part, "prepend");
  } else if (type == "Strip") {
    step.kind = Kind::kStrip;
    step.left = flag_of(part, "strip_left", true);
    step.right = flag_of(part, "strip_right", true);
  } else if (type == "Replace" && !pattern_of(part, "String").empty()) {
    step.kind = Kind::kReplace;
    step.from = pattern_of(part, "String");
    step.to = text_of(part, "content");
  } else if (type == "Replace" && pattern_of(part, "Regex") == " {2,}") {
    step.kind = Kind::kSpaceRuns;
    step.to = text_of(part, "content");
  } else {
    return unknown_part("normaliser", part);
  }
  normalizer.add(std::move(step));
  return {};
}

void read_metaspace(const Json& part, Pipeline& pipeline) {
  std::string scheme = text_of(part, "prepend_scheme");
  if (scheme.empty()) scheme = flag_of(part, "add_prefix_space", true) ? "always" : "never";
  const bool split = flag_of(part, "split", true);
  pipeline.bpe.mark_prefix = pipeline.unigram.add_prefix_space = scheme != "never";
  pipeline.bpe.prefix_first_only = pipeline.unigram.prefix_first_only = scheme == "first";
  pipeline.unigram.split_words = split;
  pipeline.bpe.pre_tokenizer = split ? PreTokenizer::kMarks : PreTokenizer::kNone;
}

Result<void> read_bpe_pre_tokenizer(const std::vector<const Json*>& parts, Pipeline& pipeline) {
  BpeOptions& bpe = pipeline.bpe;
  bpe.byte_level = false;
  bpe.marks_spaces = true;
  bpe.pre_tokenizer = PreTokenizer::kNone;
  bool digits = false, split = false;
  for (const Json* part : parts) {
    const std::string type = text_of(*part, "type");
    const std::string expression = pattern_of(*part, "Regex");
    const auto known = find_pre_tokenizer_of_expression(expression);
    if (type == "Digits" && flag_of(*part, "individual_digits", false) && !digits && !split && !bpe.byte_level) {
      digits = true;
    } else if (type == "Split" && known && !digits && !split && !bpe.byte_level &&
               text_of(*part, "behavior") == "Isolated" && !flag_of(*part, "invert", false)) {
      bpe.pre_tokenizer = *known;
      split = true;
    } else if (type == "Split" && pattern_of(*part, "String") == " " &&
               text_of(*part, "behavior") == "MergedWithPrevious" && parts.size() == 1) {
      // Gemma: its normaliser leaves no spaces to split at.
    } else if (type == "ByteLevel" && !bpe.byte_level && (split != flag_of(*part, "use_regex", true))) {
      bpe.byte_level = true;
      bpe.marks_spaces = false;
      bpe.add_prefix_space = flag_of(*part, "add_prefix_space", true);
      if (!split) bpe.pre_tokenizer = digits ? PreTokenizer::kSmollm : PreTokenizer::kGpt2;
    } else if (type == "Metaspace" && parts.size() == 1) {
      Normalizer::Step step{.kind = Normalizer::Kind::kReplace, .from = " ", .to = std::string(kSpaceMark), .map = {}};
      pipeline.normalizer.add(std::move(step));
      read_metaspace(*part, pipeline);
    } else {
      return unknown_part("pre-tokenizer", *part);
    }
  }
  if ((digits || split) && !bpe.byte_level)
    return fail(ErrorCode::kUnsupported,
                "tokenizer.json: BPE with a Split or Digits pre-tokenizer but without ByteLevel");
  return {};
}

Result<void> read_pre_tokenizer(const std::vector<const Json*>& parts, std::string_view model, Pipeline& pipeline) {
  if (model == "BPE") return read_bpe_pre_tokenizer(parts, pipeline);
  bool known = model == "Unigram" && parts.empty();
  pipeline.unigram.add_prefix_space = false;
  for (const Json* part : parts) {
    const std::string type = text_of(*part, "type");
    if (model == "WordPiece" && type == "BertPreTokenizer" && parts.size() == 1) {
      known = true;
    } else if (model == "Unigram" && type == "WhitespaceSplit") {
      pipeline.unigram.remove_extra_spaces = true;
    } else if (model == "Unigram" && type == "Metaspace") {
      read_metaspace(*part, pipeline);
      known = true;
    } else {
      return unknown_part("pre-tokenizer", *part);
    }
  }
  if (!known)
    return fail(ErrorCode::kUnsupported,
                "tokenizer.json: " + std::string(model) + " without the pre-tokenizer that goes with it");
  return {};
}

}  // namespace

const Json* member(const Json& object, const char* name) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(name);
  return found == object.end() ? nullptr : &*found;
}

std::string text_of(const Json& object, const char* name) {
  const Json* value = member(object, name);
  return value != nullptr && value->is_string() ? value->get_ref<const std::string&>() : std::string();
}

bool flag_of(const Json& object, const char* name, bool fallback) {
  const Json* value = member(object, name);
  return value != nullptr && value->is_boolean() ? value->get<bool>() : fallback;
}

Result<Pipeline> read_pipeline(const Json& root, std::string_view model) {
  Pipeline pipeline;
  KINGLET_TRY(const auto normalizers, parts_of(root, "normalizer", "normalizers"));
  for (const Json* part : normalizers) KINGLET_CHECK(add_normalizer(*part, pipeline.normalizer));
  KINGLET_TRY(const auto pre_tokenizers, parts_of(root, "pre_tokenizer", "pretokenizers"));
  KINGLET_CHECK(read_pre_tokenizer(pre_tokenizers, model, pipeline));
  // Decoders that take the first space away again do so by a Strip step or by being a Metaspace.
  KINGLET_TRY(const auto decoders, parts_of(root, "decoder", "decoders"));
  for (const Json* part : decoders) {
    const std::string type = text_of(*part, "type");
    if (type == "Strip" || type == "Metaspace")
      pipeline.bpe.strips_leading_space = type == "Strip" || pipeline.bpe.mark_prefix;
  }
  return pipeline;
}

Template read_template(const Json& root, const Vocabulary& vocabulary) {
  Template around;
  auto add = [&](const std::string& text, std::vector<TokenId>& ids) {
    if (const TokenId id = vocabulary.find(text); id >= 0 && ids.size() < 16) ids.push_back(id);
  };
  const auto processors = parts_of(root, "post_processor", "processors");
  for (std::size_t k = 0; processors && k < processors->size(); ++k) {
    const Json& part = *(*processors)[k];
    const std::string type = text_of(part, "type");
    if (type == "BertProcessing" || type == "RobertaProcessing") {
      for (const char* name : {"cls", "sep"}) {
        const Json* pair = member(part, name);
        if (pair != nullptr && pair->is_array() && !pair->empty() && (*pair)[0].is_string())
          add((*pair)[0].get_ref<const std::string&>(), name[0] == 'c' ? around.prefix : around.suffix);
      }
    }
    const Json* single = type == "TemplateProcessing" ? member(part, "single") : nullptr;
    bool after_text = false;
    for (std::size_t i = 0; single != nullptr && single->is_array() && i < single->size(); ++i) {
      const Json& item = (*single)[i];
      if (member(item, "Sequence") != nullptr) after_text = true;
      if (const Json* special = member(item, "SpecialToken"); special != nullptr)
        add(text_of(*special, "id"), after_text ? around.suffix : around.prefix);
    }
  }
  return around;
}

}  // namespace kinglet::hf
