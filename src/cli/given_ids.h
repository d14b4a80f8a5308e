// `eval --ids`: sequences of token ids from a file, and their logits to one.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "kinglet/measure.h"
#include "kinglet/result.h"

namespace kinglet {

/// A JSON list of sequences: a list of token ids, of which those after the middle are scored, or
/// {"ids": […], "score_from": N}. kInvalidArgument that names the one that is neither.
Result<std::vector<TextWindow>> read_ids(const std::string& path);

/// Writes the logits of every token (NumPy, f32 [all tokens, vocabulary]), and scores what evaluate() would.
Result<Evaluation> write_logits(Engine& engine, std::span<const TextWindow> windows, const std::string& path,
                                int chunk);

}  // namespace kinglet
