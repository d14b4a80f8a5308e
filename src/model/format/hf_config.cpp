// config.json -> flat keys -> GGUF keys.
#include <nlohmann/json.hpp>

#include "base/limits.h"
#include "base/try.h"
#include "kinglet/factors.h"
#include "kinglet/layer_map.h"
#include "model/format/hf.h"
#include "model/format/validate.h"

namespace kinglet {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMaxConfigKeys = 4096;  // real ones have 20 to 100
constexpr std::string_view kSkipped[] = {"id2label", "label2id", "quantization_config", "vision_config",
                                         "audio_config"};

MetadataType integer_type(std::int64_t value) {
  if (value >= 0 && value <= UINT32_MAX) return MetadataType::kUint32;
  return value >= INT32_MIN && value < 0 ? MetadataType::kInt32 : MetadataType::kInt64;
}

bool is_integer(const Json& value) {
  return value.is_number_integer() &&
         (!value.is_number_unsigned() || value.get<std::uint64_t>() <= static_cast<std::uint64_t>(INT64_MAX));
}

template <typename T, typename Test>
bool all_are(const Json& list, Test test, std::vector<T>& out) {
  for (const Json& item : list) {
    if (!test(item)) return false;
    out.push_back(item.get<T>());
  }
  return true;
}

void set_list(Metadata& flat, const std::string& key, const Json& list) {
  std::vector<std::string> texts;
  std::vector<std::int64_t> integers;
  std::vector<double> numbers;
  if (list.empty()) return;
  if (all_are(list, [](const Json& item) { return item.is_string(); }, texts))
    flat.set_strings(key, std::move(texts));
  else if (all_are(list, is_integer, integers))
    flat.set_integers(key, std::move(integers), MetadataType::kInt64);
  else if (all_are(list, [](const Json& item) { return item.is_number(); }, numbers))
    flat.set_numbers(key, std::move(numbers));
}

Result<void> flatten(const Json& object, const std::string& prefix, Metadata& flat, std::string_view place) {
  for (const auto& [name, value] : object.items()) {
    if (std::find(std::begin(kSkipped), std::end(kSkipped), name) != std::end(kSkipped)) continue;
    const std::string key = prefix + name;
    if (flat.entries().size() >= kMaxConfigKeys)
      return fail(ErrorCode::kExhausted, "config.json has more than " + std::to_string(kMaxConfigKeys) + " keys",
                  "Check that this is a model's config.json.", std::string(place));
    if (value.is_object())
      KINGLET_CHECK(flatten(value, key + ".", flat, place));
    else if (value.is_boolean())
      flat.set_flag(key, value.get<bool>());
    else if (is_integer(value))
      flat.set_integer(key, value.get<std::int64_t>(), integer_type(value.get<std::int64_t>()));
    else if (value.is_number())
      flat.set_number(key, value.get<double>());
    else if (value.is_string())
      flat.set_string(key, value.get_ref<const std::string&>());
    else if (value.is_array())
      set_list(flat, key, value);
  }
  return {};
}

void rename(Metadata& flat, const std::string& from, const std::string& to) {
  if (const MetadataValue* value = flat.find(from)) {
    MetadataValue copy = *value;
    flat.set(to, std::move(copy));
    flat.erase(from);
  }
}

// Transformers 5 says rope_parameters where earlier ones say rope_theta and rope_scaling; with kinds of layers, one set
// for each kind.
void unify_rope(Metadata& flat) {
  const std::string kinds[][2] = {{"rope_parameters.sliding_attention.rope_theta", "rope_local_base_freq"},
                                  {"rope_parameters.full_attention.rope_theta", "rope_theta"},
                                  {"rope_parameters.rope_theta", "rope_theta"}};
  for (const auto& [from, to] : kinds) rename(flat, from, to);
  for (std::string_view prefix : {"rope_parameters.full_attention.", "rope_parameters."}) {
    std::vector<std::string> keys;
    for (const auto& [key, value] : flat.entries())
      if (key.starts_with(prefix) && key.find('.', prefix.size()) == std::string::npos) keys.push_back(key);
    for (const std::string& key : keys) rename(flat, key, "rope_scaling." + key.substr(prefix.size()));
  }
}

// layer_types as a period where it is one (every n-th layer sees everything), as Gemma's earlier configurations say it.
void unify_layer_types(Metadata& flat) {
  rename(flat, "_sliding_window_pattern", "sliding_window_pattern");
  const MetadataValue* value = flat.find("layer_types");
  const auto* types = value ? std::get_if<std::vector<std::string>>(&value->value) : nullptr;
  if (!types || flat.contains("sliding_window_pattern")) return;
  std::size_t period = 0;
  while (period < types->size() && (*types)[period] != "full_attention") ++period;
  ++period;
  bool periodic = true;
  std::vector<std::int64_t> sliding;
  for (std::size_t i = 0; i < types->size(); ++i) {
    const bool slides = (*types)[i] == "sliding_attention";
    sliding.push_back(slides);
    if (slides == ((i + 1) % period == 0)) periodic = false;
  }
  if (periodic)
    flat.set_integer("sliding_window_pattern", static_cast<std::int64_t>(period));
  else
    flat.set_integers("sliding_window_pattern", std::move(sliding), MetadataType::kBool);
}

std::string known_classes() {
  std::string list;
  for (const Architecture* architecture : architectures())
    for (std::string_view name : architecture->hf_classes) list += (list.empty() ? "" : ", ") + std::string(name);
  return list;
}

}  // namespace

Result<Metadata> flatten_config(const Json& config, std::string_view place) {
  if (!config.is_object())
    return fail(ErrorCode::kCorrupt, "config.json is not a JSON object", "Fetch the model's config.json again.",
                std::string(place));
  Metadata flat;
  Json top = config;
  const Json text = config.contains("text_config") ? config["text_config"] : Json();
  top.erase("text_config");
  KINGLET_CHECK(flatten(top, "", flat, place));
  if (text.is_object()) {
    KINGLET_CHECK(flatten(text, "", flat, place));
    flat.set_flag("kinglet.multimodal", true);
  }
  rename(flat, "dtype", "torch_dtype");
  unify_rope(flat);
  unify_layer_types(flat);
  return flat;
}

Result<const Architecture*> architecture_of(const Json& config, const std::string& folder) {
  const std::string place = folder + "/config.json";
  const auto unsupported = [&](const std::string& what, std::string hint) {
    return fail(ErrorCode::kUnsupported, what, std::move(hint), place);
  };
  for (const Json* level : {&config, config.contains("text_config") ? &config["text_config"] : &config}) {
    if (!level->is_object() || !level->contains("quantization_config")) continue;
    const Json& quantization = (*level)["quantization_config"];
    if (quantization.is_null()) continue;
    const Json method = quantization.is_object() ? quantization.value("quant_method", Json()) : Json();
    return unsupported(
        "the weights are quantized with " +
            (method.is_string() ? printable(method.get<std::string>()) : std::string("an unnamed method")) +
            ", which Kinglet does not read",
        "Take the original model, or its GGUF version.");
  }
  const Json names = config.value("architectures", Json::array());
  if (!names.is_array() || names.empty() || !names[0].is_string())
    return unsupported("config.json does not say which architecture the model has",
                       "Kinglet runs: " + known_classes() + ".");
  for (const Json& name : names) {
    if (!name.is_string()) continue;
    std::string_view known = name.get_ref<const std::string&>();
    if (known.starts_with(kHfOwnPrefix)) known.remove_prefix(kHfOwnPrefix.size());
    if (const Architecture* found = find_architecture_of_hf_class(known)) return found;
  }
  return unsupported("the architecture '" + printable(names[0].get<std::string>()) + "' is not supported",
                     "Kinglet runs: " + known_classes() + ".");
}

Result<Metadata> import_config(const Architecture& architecture, const Metadata& flat, std::string_view folder) {
  Metadata gguf;
  gguf.set_string("general.architecture", architecture.name);
  gguf.set_string("general.type", "model");
  KINGLET_TRY(std::string name, flat.string_or("_name_or_path", ""));
  if (name.empty()) name = folder;
  while (name.size() > 1 && name.back() == '/') name.pop_back();
  if (const auto slash = name.rfind('/'); slash != std::string::npos) name.erase(0, slash + 1);
  if (!name.empty() && name != "." && name != "..") gguf.set_string("general.name", name);
  for (const HfKey& key : architecture.hf_keys) {
    const MetadataValue* value = flat.find(key.hf);
    if (!value) continue;
    std::string target(key.gguf);
    if (target.starts_with("A.")) target = std::string(architecture.name) + target.substr(1);
    gguf.set(target, *value);
  }
  const std::string pattern = std::string(architecture.name) + ".attention.sliding_window_pattern";
  if (const MetadataValue* value = flat.find("sliding_window_pattern"); value && value->is_array)
    gguf.set(pattern, *value);
  for (std::string_view key : {kFactorsKey, kLayerMapKey})
    if (const MetadataValue* value = flat.find(key)) gguf.set(key, *value);
  if (architecture.import_hf) KINGLET_CHECK(architecture.import_hf(flat, gguf));
  const auto special = [&](std::string_view from, std::string_view to) {
    const MetadataValue* value = flat.find(from);
    if (!value) return;
    if (const auto* list = std::get_if<std::vector<std::int64_t>>(&value->value)) {
      gguf.set_integer(to, list->front());
      if (list->size() > 1) gguf.set_integers(std::string(to) + "s", *list);
    } else if (!value->is_array && value->type != MetadataType::kBool &&
               std::holds_alternative<std::int64_t>(value->value)) {
      gguf.set(to, *value);
    }
  };
  special("bos_token_id", "tokenizer.ggml.bos_token_id");
  special("eos_token_id", "tokenizer.ggml.eos_token_id");
  special("pad_token_id", "tokenizer.ggml.padding_token_id");
  return gguf;
}

}  // namespace kinglet
