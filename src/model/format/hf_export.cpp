// A checkpoint as a Hugging Face folder: names and rotary rows turned back, config.json from the metadata.
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/try.h"
#include "kinglet/factors.h"
#include "kinglet/layer_map.h"
#include "model/format/convert_parts.h"
#include "model/format/native_types.h"
#include "model/format/validate.h"

namespace kinglet {
namespace {

using Json = nlohmann::ordered_json;

Json to_json(const MetadataValue& value) {
  if (const auto* integer = std::get_if<std::int64_t>(&value.value))
    return !value.is_array && value.type == MetadataType::kBool ? Json(*integer != 0) : Json(*integer);
  if (const auto* number = std::get_if<double>(&value.value)) {
    if (value.type == MetadataType::kFloat32) {  // the shortest decimal that is this float: 1e-06, not 9.99e-07
      char text[32];
      const auto end = std::to_chars(text, text + sizeof text, static_cast<float>(*number)).ptr;
      double shortest = *number;
      std::from_chars(text, end, shortest);
      return Json(shortest);
    }
    return Json(*number);
  }
  if (const auto* text = std::get_if<std::string>(&value.value)) return Json(*text);
  return Json();
}

std::string_view dtype_name(const BlockType& type) {
  return type.name == "F16" ? "float16" : type.name == "BF16" ? "bfloat16" : "float32";
}

// RoPE scaling and Gemma's own keys, which architectures import with arithmetic.
void export_special_keys(const Metadata& metadata, const std::string& a, Json& config) {
  const auto copy = [&](const std::string& from, Json& to, const char* name) {
    if (const MetadataValue* value = metadata.find(a + "." + from); value && !value->is_array)
      to[name] = to_json(*value);
  };
  if (const auto type = metadata.string_or(a + ".rope.scaling.type", "none"); type && *type != "none") {
    Json scaling = {{"rope_type", *type}};
    copy("rope.scaling.factor", scaling, "factor");
    copy("rope.scaling.low_freq_factor", scaling, "low_freq_factor");
    copy("rope.scaling.high_freq_factor", scaling, "high_freq_factor");
    copy("rope.scaling.original_context_length", scaling, "original_max_position_embeddings");
    config["rope_scaling"] = std::move(scaling);
  }
  copy("attention.sliding_window", config, "sliding_window");
  if (!a.starts_with("gemma")) return;
  config["hidden_activation"] = "gelu_pytorch_tanh";
  copy("attn_logit_softcapping", config, "attn_logit_softcapping");
  copy("final_logit_softcapping", config, "final_logit_softcapping");
  copy("rope.freq_base_swa", config, "rope_local_base_freq");
  copy("attention.sliding_window_pattern", config, "sliding_window_pattern");
  double scale = 0;
  if (const auto given = metadata.number_or(a + ".attention.scale", 0, 0, 1e6)) scale = *given;
  if (const auto length = metadata.integer_or(a + ".attention.key_length", 0, 0, limits::kHeadLength);
      scale == 0 && length && *length > 0)
    scale = 1 / std::sqrt(static_cast<double>(*length));
  if (scale > 0) config["query_pre_attn_scalar"] = std::round(1 / (scale * scale) * 1e3) / 1e3;
}

// Attention masks of BERT are the encoder's own; what is implicit in the class needs no key.
Json build_config(const Architecture& architecture, const Checkpoint& from) {
  const Metadata& metadata = from.metadata();
  const std::string a(architecture.name);
  Json config;
  config["architectures"] = Json::array({std::string(architecture.hf_classes.front())});
  config["model_type"] = a == "gemma3" ? "gemma3_text" : a;
  for (const HfKey& key : architecture.hf_keys) {
    std::string name(key.gguf);
    if (name.starts_with("A.")) name = a + name.substr(1);
    const MetadataValue* value = metadata.find(name);
    if (value && !value->is_array && !config.contains(std::string(key.hf)))
      config[std::string(key.hf)] = to_json(*value);
  }
  if (const TensorInfo* embedding = from.find("token_embd.weight")) config["vocab_size"] = embedding->rows();
  if (from.find("token_types.weight")) config["type_vocab_size"] = from.find("token_types.weight")->rows();
  config["hidden_act"] = a == "bert" ? "gelu" : a.starts_with("gemma") ? "gelu_pytorch_tanh" : "silu";
  config["tie_word_embeddings"] = from.find("output.weight") == nullptr;
  if (a == "llama") {
    config["attention_bias"] = from.find("blk.0.attn_q.bias") != nullptr;
    config["mlp_bias"] = from.find("blk.0.ffn_up.bias") != nullptr;
  }
  export_special_keys(metadata, a, config);
  constexpr std::pair<const char*, const char*> kIds[] = {{"tokenizer.ggml.bos_token_id", "bos_token_id"},
                                                          {"tokenizer.ggml.eos_token_id", "eos_token_id"},
                                                          {"tokenizer.ggml.padding_token_id", "pad_token_id"}};
  for (const auto& [key, name] : kIds)
    if (const MetadataValue* value = metadata.find(key)) config[name] = to_json(*value);
  return config;
}

struct Export {
  std::vector<WrittenTensor> written;
  std::vector<SafetensorsTensor> tensors;
  std::vector<TensorInfo> infos;  // for the bits
};

const BlockType* export_type(const TensorInfo& tensor, const BlockType* to) {
  if (!safetensors_dtype(*to).empty()) return to;
  return tensor.type->decode ? find_block_type("F32") : nullptr;
}

Result<Export> plan_export(const Architecture& architecture, const Checkpoint& from, const BlockType* type,
                           std::vector<std::string>& notes) {
  Export result;
  int widened = 0;
  const std::string a(architecture.name);
  KINGLET_TRY(const auto matrices, factored_matrices(from.metadata()));
  std::set<std::string, std::less<>> factored;
  for (const FactoredMatrix& matrix : matrices) factored.insert(matrix.name);
  for (const PlannedTensor& plan : plan_tensors(from, type)) {
    HfMatch match = match_gguf_name(architecture, plan.info->name);
    // Factors are Kinglet's own: their names and the order of rows stay.
    if (factored.contains(matrix_of_factor(plan.info->name))) match.gguf = plan.info->name;
    if (match.gguf.empty()) {
      notes.push_back("tensor '" + printable(plan.info->name) +
                      "' has no name in Hugging Face's layout and was left out");
      continue;
    }
    const BlockType* to = export_type(*plan.info, plan.to);
    if (!to)
      return fail(ErrorCode::kUnsupported, "tensor '" + printable(plan.info->name) + "' has the type " +
                                               std::string(plan.info->type->name) +
                                               ", which safetensors does not have");
    if (to != plan.to) ++widened;
    WrittenTensor written{plan.info, to, 0, 0};
    if (match.transform == HfTransform::kAddOne) {
      written.add = -1;
    } else if (match.transform != HfTransform::kNone) {
      const std::string key = a + (match.transform == HfTransform::kPermuteKvHeads &&
                                           from.metadata().contains(a + ".attention.head_count_kv")
                                       ? ".attention.head_count_kv"
                                       : ".attention.head_count");
      KINGLET_TRY(const auto layers, from.metadata().integer(a + ".block_count", 1, limits::kLayers));
      KINGLET_TRY(const auto heads, from.metadata().integer_per_layer(key, 1, layers, 1, limits::kHeads));
      written.heads = heads[static_cast<std::size_t>(std::min(match.layer, layers - 1))];
      if (plan.info->shape.front() % written.heads != 0 || plan.info->shape.front() / written.heads % 2 != 0)
        return fail(ErrorCode::kCorrupt, "tensor '" + printable(plan.info->name) + "' does not divide into heads");
    }
    TensorInfo info = *plan.info;
    info.codec.clear();  // it is written plainly
    info.type = to;
    info.bytes = to->row_bytes(static_cast<std::uint64_t>(info.elements()));
    result.written.push_back(written);
    result.tensors.push_back({match.gguf, std::string(safetensors_dtype(*to)), to, info.shape, 0, info.bytes});
    result.infos.push_back(std::move(info));
  }
  if (widened > 0)
    notes.push_back(std::to_string(widened) + " tensors of block types became F32, which holds them exactly");
  return result;
}

// What no other reader knows, so that none takes the model for an ordinary one.
void add_own_keys(const Metadata& metadata, Json& config) {
  Json own = Json::object();
  for (std::string_view key : {kFactorsKey, kLayerMapKey}) {
    const MetadataValue* value = metadata.find(key);
    if (!value) continue;
    const std::string name(key.substr(std::string_view("kinglet.").size()));
    if (const auto* texts = std::get_if<std::vector<std::string>>(&value->value)) own[name] = *texts;
    if (const auto* numbers = std::get_if<std::vector<std::int64_t>>(&value->value)) own[name] = *numbers;
  }
  config.erase("kinglet");
  if (own.empty()) return;
  config["kinglet"] = own;
  for (Json& name : config["architectures"])
    if (name.is_string() && !name.get_ref<const std::string&>().starts_with(kHfOwnPrefix))
      name = std::string(kHfOwnPrefix) + name.get<std::string>();
  if (config.contains("model_type") && config["model_type"].is_string()) {
    const auto type = config["model_type"].get<std::string>();
    if (!type.starts_with(kNativePrefix)) config["model_type"] = std::string(kNativePrefix) + type;
  }
}

Result<void> write_text(const std::string& path, std::string_view text) {
  KINGLET_TRY(auto file, AtomicFile::create(path));
  KINGLET_CHECK(file->write(text));
  return file->commit();
}

Result<void> write_side_files(const Architecture& architecture, const Checkpoint& from, const std::string& folder,
                              std::string_view dtype, std::vector<std::string>& notes) {
  const Metadata& metadata = from.metadata();
  KINGLET_TRY(const std::string original, metadata.string_or(kHfConfigKey, ""));
  Json config;
  if (!original.empty()) {
    KINGLET_TRY(config, parse_json(original, "config.json"));
  } else {
    config = build_config(architecture, from);
    notes.push_back("config.json was made from the metadata: what only the original had is not in it");
  }
  if (!config.is_object()) return fail(ErrorCode::kCorrupt, "the carried config.json is not an object");
  config[config.contains("dtype") ? "dtype" : "torch_dtype"] = std::string(dtype);
  add_own_keys(metadata, config);
  KINGLET_CHECK(write_text(folder + "/config.json", dump_json(config, 2) + "\n"));
  constexpr std::pair<std::string_view, std::string_view> kTexts[] = {{kHfTokenizerKey, "tokenizer.json"},
                                                                      {kHfTokenizerConfigKey, "tokenizer_config.json"},
                                                                      {kHfGenerationKey, "generation_config.json"}};
  for (const auto& [key, name] : kTexts) {
    KINGLET_TRY(const std::string text, metadata.string_or(key, ""));
    if (!text.empty()) KINGLET_CHECK(write_text(folder + "/" + std::string(name), text));
  }
  if (!metadata.contains(kHfTokenizerKey))
    notes.push_back(
        "the source has no tokenizer.json, and GGUF's tokenizer cannot be written as one without loss: "
        "put the original model's tokenizer.json into the folder");
  KINGLET_TRY(const std::string chat, metadata.string_or("tokenizer.chat_template", ""));
  if (!chat.empty()) KINGLET_CHECK(write_text(folder + "/chat_template.jinja", chat));
  const std::string pooling_key = std::string(architecture.name) + ".pooling_type";
  KINGLET_TRY(const auto pooling, metadata.integer_or(pooling_key, 0, 0, 4));
  if (pooling >= 1 && pooling <= 3) {
    const Json text = {{"pooling_mode_cls_token", pooling == 2},
                       {"pooling_mode_mean_tokens", pooling == 1},
                       {"pooling_mode_lasttoken", pooling == 3}};
    KINGLET_CHECK(make_folders(folder + "/1_Pooling"));
    KINGLET_CHECK(write_text(folder + "/1_Pooling/config.json", dump_json(text, 2) + "\n"));
  }
  return {};
}

}  // namespace

Result<ConvertReport> convert_to_hugging_face(const Checkpoint& from, const std::string& output, const BlockType* type,
                                              const ConvertOptions& options) {
  const std::string name = from.architecture();
  const Architecture* architecture = find_architecture(name);
  if (!architecture)
    return fail(ErrorCode::kUnsupported, "the architecture '" + printable(name) + "' has no Hugging Face layout here",
                "Convert it to GGUF.");
  if (type && safetensors_dtype(*type).empty())
    return fail(ErrorCode::kInvalidArgument, "safetensors does not have the type " + std::string(type->name),
                "Take --type f32, f16 or bf16, or --format gguf.");
  if (output.ends_with(".safetensors") || output.ends_with(".gguf"))
    return fail(ErrorCode::kInvalidArgument, "a Hugging Face model is a folder, and the output is named like a file",
                "Name a folder: the weights need config.json and tokenizer.json beside them.", output);
  ConvertReport report;
  KINGLET_TRY(Export plan, plan_export(*architecture, from, type, report.notes));
  if (plan.tensors.empty()) return fail(ErrorCode::kCorrupt, "the model has no weights");
  KINGLET_TRY(AtomicFolder folder, AtomicFolder::create(output));
  const std::string header = safetensors_header(plan.tensors, {{"format", "pt"}});
  {
    KINGLET_TRY(auto file, AtomicFile::create(folder.path() + "/model.safetensors"));
    KINGLET_CHECK(file->write(std::string_view(header)));
    ThreadPool pool(options.threads);
    ConvertProgress progress(from, options);
    KINGLET_CHECK(write_tensors(from, plan.written, pool, progress, report,
                                [&](std::span<const std::byte> bytes) { return file->write(bytes); }));
    KINGLET_CHECK(file->commit());
  }
  const auto matrix =
      std::find_if(plan.infos.begin(), plan.infos.end(), [](const TensorInfo& info) { return info.shape.size() > 1; });
  const BlockType& main = matrix == plan.infos.end() ? *plan.infos.front().type : *matrix->type;
  KINGLET_CHECK(write_side_files(*architecture, from, folder.path(), dtype_name(main), report.notes));
  KINGLET_CHECK(folder.commit());
  const BitCounts counts = count_bits(plan.infos);
  report.output = output;
  report.bytes = header.size();
  for (const SafetensorsTensor& tensor : plan.tensors) report.bytes += tensor.bytes;
  report.parameters = counts.parameters;
  report.bits_per_weight = counts.bits_per_weight;
  report.layer_bits_per_weight = counts.layer_bits_per_weight;
  return report;
}

}  // namespace kinglet
