// A drafter on disk: which layers or which second model draft, and the tokens that they may propose (VocabTrim, Goel et
// al. 2025). A GGUF file of metadata alone; the rows of the head are read from the models themselves.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kinglet/checkpoint.h"
#include "kinglet/tokenizer.h"

namespace kinglet {

struct DrafterFile {
  std::string target_sha256;              ///< of the model that it drafts for
  std::string model, model_sha256;        ///< the second model, as it was named; empty: the target's own layers
  int exit_layer = 0;                     ///< of the target's own layers; 0: chosen
  std::vector<TokenId> kept;              ///< ascending
  std::vector<std::int64_t> occurrences;  ///< of each kept token in the calibration text
  std::string curve;                      ///< JSON: what other sizes would be worth; for people
};

bool is_drafter_file(const Checkpoint& checkpoint);
/// kCorrupt where something is missing or out of range. Who uses it compares the checksums.
Result<DrafterFile> read_drafter_file(const Checkpoint& checkpoint);
Result<void> write_drafter_file(const std::string& path, const DrafterFile& drafter);

}  // namespace kinglet
