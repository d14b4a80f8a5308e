// Hyperparameters that architectures share, read from GGUF keys with their ranges.
#pragma once

#include <string_view>

#include "kinglet/architecture.h"

namespace kinglet {

/// The keys that every architecture has (sizes, heads, norm epsilon, RoPE base and scaling, context). A window under
/// A.attention.sliding_window is left to the architecture: which layers slide is its own rule.
Result<ModelConfig> configure_common(const Metadata& metadata, std::string_view architecture);

/// "llama" + "block_count" -> "llama.block_count".
std::string key_of(std::string_view architecture, std::string_view key);

/// Copies a number or string of config.json to a GGUF key where it is present.
void copy_number(const Metadata& from, std::string_view hf, Metadata& to, std::string_view gguf);

/// RoPE scaling of config.json: rope_scaling.{type|rope_type, factor, ...} -> A.rope.scaling.*. `dynamic` and others
/// that Kinglet does not do are kUnsupported by name.
Result<void> import_rope_scaling(const Metadata& config, Metadata& gguf, std::string_view architecture);

}  // namespace kinglet
