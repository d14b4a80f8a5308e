// From a model file's keys to a tokenizer.
#pragma once

#include "kinglet/metadata.h"
#include "model/tokenizer/tokenizers.h"

namespace kinglet {

/// From tokenizer.ggml.*.
TokenizerResult load_gguf_tokenizer(const Metadata& metadata);
/// From the text of a tokenizer.json under tokenizer.huggingface.json (and of tokenizer_config.json beside it).
TokenizerResult load_hf_tokenizer(const Metadata& metadata);

/// Reads tokenizer.ggml.*_token_id and add_*_token, where present, and gathers end_ids.
Result<void> read_special_ids(const Metadata& metadata, BaseTokenizer& tokenizer);

}  // namespace kinglet
