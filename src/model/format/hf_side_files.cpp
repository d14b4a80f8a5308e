// What lies beside the weights: tokenizer, chat template, generation defaults, pooling.
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/try.h"
#include "model/format/hf.h"
#include "model/format/validate.h"

namespace kinglet {
namespace {

using Json = nlohmann::ordered_json;

// The text of a file of the folder; empty where there is none.
Result<std::string> read_optional(const std::string& path, std::uint64_t max_bytes) {
  if (!file_exists(path)) return std::string();
  return read_file(path, max_bytes);
}

// A JSON object of the folder; null where there is none.
Result<Json> read_object(const std::string& path, std::string* text = nullptr) {
  KINGLET_TRY(std::string content, read_optional(path, limits::kConfigBytes));
  if (content.empty()) return Json();
  KINGLET_TRY(Json object, parse_json(content, path, {.max_bytes = limits::kConfigBytes}));
  if (!object.is_object()) return fail(ErrorCode::kCorrupt, "expected a JSON object", "Fetch this file again.", path);
  if (text) *text = std::move(content);
  return object;
}

void set_template(const Json& value, Metadata& gguf) {
  if (value.is_string()) {
    gguf.set_string("tokenizer.chat_template", value.get_ref<const std::string&>());
    return;
  }
  if (!value.is_array()) return;
  std::vector<std::string> names;
  for (const Json& entry : value) {
    if (!entry.is_object()) continue;
    const Json name = entry.value("name", Json()), text = entry.value("template", Json());
    if (!name.is_string() || !text.is_string() || names.size() >= 16) continue;
    const auto& key = name.get_ref<const std::string&>();
    if (key == "default") {
      gguf.set_string("tokenizer.chat_template", text.get_ref<const std::string&>());
    } else if (check_name(key, 64, "template name")) {
      gguf.set_string("tokenizer.chat_template." + key, text.get_ref<const std::string&>());
      names.push_back(key);
    }
  }
  if (!names.empty()) gguf.set_strings("tokenizer.chat_templates", std::move(names));
}

Result<void> import_template(const std::string& folder, const Json& tokenizer_config, Metadata& gguf) {
  KINGLET_TRY(std::string text, read_optional(folder + "/chat_template.jinja", limits::kTemplateBytes));
  if (!text.empty()) {
    gguf.set_string("tokenizer.chat_template", text);
    return {};
  }
  KINGLET_TRY(const Json file, read_object(folder + "/chat_template.json"));
  if (file.is_object() && file.contains("chat_template"))
    set_template(file["chat_template"], gguf);
  else if (tokenizer_config.is_object() && tokenizer_config.contains("chat_template"))
    set_template(tokenizer_config["chat_template"], gguf);
  return {};
}

Result<void> import_tokenizer(const std::string& folder, Metadata& gguf) {
  KINGLET_TRY(std::string tokenizer, read_optional(folder + "/tokenizer.json", limits::kJsonBytes));
  if (!tokenizer.empty()) gguf.set_string(kHfTokenizerKey, tokenizer);
  std::string text;
  KINGLET_TRY(const Json config, read_object(folder + "/tokenizer_config.json", &text));
  if (config.is_object()) {
    gguf.set_string(kHfTokenizerConfigKey, text);
    for (std::string_view key : {"add_bos_token", "add_eos_token"})
      if (const auto found = config.find(key); found != config.end() && found->is_boolean())
        gguf.set_flag("tokenizer.ggml." + std::string(key), found->get<bool>());
  }
  return import_template(folder, config, gguf);
}

Result<void> import_generation(const std::string& folder, Metadata& gguf) {
  std::string text;
  KINGLET_TRY(const Json config, read_object(folder + "/generation_config.json", &text));
  if (!config.is_object()) return {};
  gguf.set_string(kHfGenerationKey, text);
  KINGLET_TRY(const Metadata flat, flatten_config(config, folder + "/generation_config.json"));
  if (const MetadataValue* eos = flat.find("eos_token_id")) {
    if (const auto* list = std::get_if<std::vector<std::int64_t>>(&eos->value)) {
      gguf.set_integers("tokenizer.ggml.eos_token_ids", *list);
      if (!gguf.contains("tokenizer.ggml.eos_token_id")) gguf.set_integer("tokenizer.ggml.eos_token_id", list->front());
    } else if (std::holds_alternative<std::int64_t>(eos->value) && !gguf.contains("tokenizer.ggml.eos_token_id")) {
      gguf.set("tokenizer.ggml.eos_token_id", *eos);
    }
  }
  constexpr std::string_view kNames[] = {"do_sample", "temperature",        "top_k",    "top_p",
                                         "min_p",     "repetition_penalty", "typical_p"};
  for (std::string_view name : kNames)
    if (const MetadataValue* value = flat.find(name); value && !value->is_array)
      gguf.set("kinglet.generation." + std::string(name), *value);
  return {};
}

// sentence-transformers: 1_Pooling/config.json, in GGUF's numbers.
Result<void> import_pooling(const std::string& folder, const Architecture& architecture, Metadata& gguf) {
  KINGLET_TRY(const Json config, read_object(folder + "/1_Pooling/config.json"));
  if (!config.is_object()) return {};
  const auto asks = [&](std::string_view key) {
    const auto found = config.find(key);
    return found != config.end() && found->is_boolean() && found->get<bool>();
  };
  const std::string key = std::string(architecture.name) + ".pooling_type";
  const Json mode = config.value("pooling_mode", Json());
  const std::string name = mode.is_string() ? mode.get<std::string>() : "";
  if (asks("pooling_mode_mean_tokens") || name == "mean")
    gguf.set_integer(key, 1);
  else if (asks("pooling_mode_cls_token") || name == "cls")
    gguf.set_integer(key, 2);
  else if (asks("pooling_mode_lasttoken") || name == "lasttoken")
    gguf.set_integer(key, 3);
  else
    return fail(ErrorCode::kUnsupported, "the model pools in a way that is not supported",
                "Kinglet pools by mean, by the first token and by the last.", folder + "/1_Pooling/config.json");
  return {};
}

}  // namespace

Result<void> import_side_files(const std::string& folder, const Architecture& architecture, const Metadata&,
                               Metadata& gguf) {
  KINGLET_CHECK(import_tokenizer(folder, gguf));
  KINGLET_CHECK(import_generation(folder, gguf));
  return import_pooling(folder, architecture, gguf);
}

}  // namespace kinglet
