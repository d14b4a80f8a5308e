// What Gemma 2 and 3 share: tensor names, hyperparameters, the rule of sliding layers.
#pragma once

#include "kinglet/architecture.h"

namespace kinglet::gemma {

/// Names of both; Gemma 2 has no query and key norms and never meets those lines.
std::span<const HfName> hf_names();

/// configure_common plus GELU, sandwich norms, half-split RoPE and the scaled embedding.
Result<ModelConfig> configure(const Metadata& metadata, std::string_view architecture);

/// Every `period`-th layer sees everything, the others slide.
void slide(ModelConfig& config, std::int64_t window, std::int64_t period);

/// Keys of config.json that both have: window, attention scale, soft caps, RoPE scaling.
Result<void> import_hf(const Metadata& config, Metadata& gguf, std::string_view architecture);

}  // namespace kinglet::gemma
