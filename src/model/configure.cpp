#include "model/configure.h"

#include <cmath>
#include <numbers>

#include "base/limits.h"
#include "base/try.h"

namespace kinglet {
namespace {

/// Llama 3.1's scaling (Meta's reference code): long wavelengths are divided by `factor`, short ones stay, and between
/// the two a linear blend. The result divides each frequency, as GGUF's rope_freqs.weight does.
Result<std::vector<float>> llama3_factors(const Metadata& metadata, std::string_view architecture, double base,
                                          std::int64_t dimensions) {
  KINGLET_TRY(double factor, metadata.number(key_of(architecture, "rope.scaling.factor"), 1e-3, 1e6));
  KINGLET_TRY(double low, metadata.number_or(key_of(architecture, "rope.scaling.low_freq_factor"), 1, 1e-3, 1e6));
  KINGLET_TRY(double high, metadata.number_or(key_of(architecture, "rope.scaling.high_freq_factor"), 4, 1e-3, 1e6));
  KINGLET_TRY(double original,
              metadata.number_or(key_of(architecture, "rope.scaling.original_context_length"), 8192, 1, 1e9));
  if (high <= low) return fail(ErrorCode::kCorrupt, "rope.scaling.high_freq_factor is not above low_freq_factor");
  std::vector<float> factors;
  for (std::int64_t i = 0; i < dimensions; i += 2) {
    const double wavelength = 2 * std::numbers::pi * std::pow(base, double(i) / double(dimensions));
    double result = 1;
    if (wavelength > original / low) {
      result = factor;
    } else if (wavelength >= original / high) {
      const double blend = (original / wavelength - low) / (high - low);
      result = 1 / ((1 - blend) / factor + blend);
    }
    factors.push_back(float(result));
  }
  return factors;
}

Result<void> read_heads(const Metadata& metadata, std::string_view architecture, ModelConfig& config) {
  KINGLET_TRY(auto heads, metadata.integer_per_layer(key_of(architecture, "attention.head_count"), 0, config.layers, 1,
                                                     limits::kHeads));
  KINGLET_TRY(auto kv_heads, metadata.integer_per_layer(key_of(architecture, "attention.head_count_kv"), 0,
                                                        config.layers, 1, limits::kHeads));
  KINGLET_TRY(auto feed_forward, metadata.integer_per_layer(key_of(architecture, "feed_forward_length"), 0,
                                                            config.layers, 1, limits::kWidth));
  config.per_layer.resize(std::size_t(config.layers));
  for (std::size_t i = 0; i < config.per_layer.size(); ++i) {
    LayerConfig& layer = config.per_layer[i];
    layer.heads = heads[i];
    layer.kv_heads = kv_heads[i] == 0 ? heads[i] : kv_heads[i];
    layer.feed_forward = feed_forward[i];
    if (layer.heads == 0) {
      return fail(ErrorCode::kCorrupt, key_of(architecture, "attention.head_count") + " is missing");
    }
    if (layer.kv_heads > layer.heads || layer.heads % layer.kv_heads != 0) {
      return fail(ErrorCode::kCorrupt, std::to_string(layer.heads) + " attention heads cannot share " +
                                           std::to_string(layer.kv_heads) + " key-value heads");
    }
    if (layer.feed_forward == 0) {
      return fail(ErrorCode::kCorrupt, key_of(architecture, "feed_forward_length") + " is missing");
    }
  }
  return {};
}

Result<void> read_rope(const Metadata& metadata, std::string_view architecture, ModelConfig& config) {
  KINGLET_TRY(config.rope_dimensions, metadata.integer_or(key_of(architecture, "rope.dimension_count"),
                                                          config.key_length, 2, config.key_length));
  if (config.rope_dimensions % 2 != 0) return fail(ErrorCode::kCorrupt, "rope.dimension_count is odd");
  KINGLET_TRY(double base, metadata.number_or(key_of(architecture, "rope.freq_base"), 10000, 1e-3, 1e12));
  KINGLET_TRY(std::string type, metadata.string_or(key_of(architecture, "rope.scaling.type"), "none"));
  KINGLET_TRY(double old_scale, metadata.number_or(key_of(architecture, "rope.scale_linear"), 1, 1e-3, 1e6));
  double scale = 1 / old_scale;
  if (type == "linear") {
    KINGLET_TRY(double factor, metadata.number_or(key_of(architecture, "rope.scaling.factor"), 1, 1e-3, 1e6));
    scale = 1 / factor;
  } else if (type == "llama3") {
    KINGLET_TRY(config.rope_factors, llama3_factors(metadata, architecture, base, config.rope_dimensions));
  } else if (type != "none") {
    return fail(ErrorCode::kUnsupported, "RoPE scaling of type '" + type + "' is not supported",
                "Linear and llama3 scaling are.");
  }
  for (LayerConfig& layer : config.per_layer) layer.rope_base = base, layer.rope_scale = scale;
  return {};
}

}  // namespace

std::string key_of(std::string_view architecture, std::string_view key) {
  return std::string(architecture) + "." + std::string(key);
}

Result<ModelConfig> configure_common(const Metadata& metadata, std::string_view architecture) {
  ModelConfig config;
  config.architecture = architecture;
  KINGLET_TRY(config.layers, metadata.integer(key_of(architecture, "block_count"), 1, limits::kLayers));
  KINGLET_TRY(config.width, metadata.integer(key_of(architecture, "embedding_length"), 1, limits::kWidth));
  KINGLET_TRY(config.context, metadata.integer_or(key_of(architecture, "context_length"), 2048, 1, limits::kContext));
  KINGLET_CHECK(read_heads(metadata, architecture, config));
  const std::int64_t heads = config.per_layer.front().heads;
  if (!metadata.contains(key_of(architecture, "attention.key_length")) && config.width % heads != 0) {
    return fail(ErrorCode::kCorrupt, "a width of " + std::to_string(config.width) + " does not divide into " +
                                         std::to_string(heads) + " heads");
  }
  const std::int64_t split = std::max<std::int64_t>(1, config.width / heads);
  KINGLET_TRY(config.key_length,
              metadata.integer_or(key_of(architecture, "attention.key_length"), split, 1, limits::kHeadLength));
  KINGLET_TRY(config.value_length, metadata.integer_or(key_of(architecture, "attention.value_length"),
                                                       config.key_length, 1, limits::kHeadLength));
  KINGLET_TRY(config.norm_epsilon,
              metadata.number_or(key_of(architecture, "attention.layer_norm_rms_epsilon"), 1e-5, 0, 1));
  KINGLET_CHECK(read_rope(metadata, architecture, config));
  KINGLET_TRY(config.attention_scale, metadata.number_or(key_of(architecture, "attention.scale"),
                                                         1 / std::sqrt(double(config.key_length)), 1e-6, 1e6));
  return config;
}

void copy_number(const Metadata& from, std::string_view hf, Metadata& to, std::string_view gguf) {
  if (const MetadataValue* value = from.find(hf); value != nullptr && !value->is_array) to.set(gguf, *value);
}

Result<void> import_rope_scaling(const Metadata& config, Metadata& gguf, std::string_view architecture) {
  KINGLET_TRY(std::string type, config.string_or("rope_scaling.type", ""));
  KINGLET_TRY(type, config.string_or("rope_scaling.rope_type", type));
  if (type.empty() || type == "default") return {};
  if (type != "linear" && type != "llama3") {
    return fail(ErrorCode::kUnsupported, "RoPE scaling of type '" + type + "' is not supported",
                "Linear and llama3 scaling are.");
  }
  gguf.set_string(key_of(architecture, "rope.scaling.type"), type);
  copy_number(config, "rope_scaling.factor", gguf, key_of(architecture, "rope.scaling.factor"));
  copy_number(config, "rope_scaling.low_freq_factor", gguf, key_of(architecture, "rope.scaling.low_freq_factor"));
  copy_number(config, "rope_scaling.high_freq_factor", gguf, key_of(architecture, "rope.scaling.high_freq_factor"));
  copy_number(config, "rope_scaling.original_max_position_embeddings", gguf,
              key_of(architecture, "rope.scaling.original_context_length"));
  return {};
}

}  // namespace kinglet
