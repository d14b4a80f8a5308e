// The rows of an output head that a drafter needs: most of a vocabulary is never drafted (VocabTrim, Goel et al. 2025).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/aligned_memory.h"
#include "kinglet/engine.h"
#include "tensor/kernels/matmul.h"

namespace kinglet {

/// A copy of some rows of a model's head, packed as the whole is: the logits of these tokens are the same bits. The
/// model's own head stays as it is.
class TrimmedHead {
 public:
  /// `ids` ascending, of the engine's vocabulary. Reads the model's file again. kUnsupported where the head's storage
  /// is not one of rows.
  static Result<std::unique_ptr<TrimmedHead>> create(Engine& engine, std::vector<TokenId> ids);

  std::span<const TokenId> ids() const { return ids_; }
  std::uint64_t bytes() const { return plan_.tile_bytes * static_cast<std::uint64_t>(plan_.tiles()); }
  /// Final norm, these rows of the head, soft cap: one logit for each of ids(). `hidden` is one row and is changed.
  std::span<float> logits(Engine& engine, float* hidden);

 private:
  TrimmedHead() = default;
  std::vector<TokenId> ids_;
  PackPlan plan_;
  AlignedMemory tiles_;
  std::vector<std::byte> quantized_;
  std::vector<float> logits_;
};

/// The `count` ids with the most occurrences (ties: the lower id), all control tokens first; most frequent first.
std::vector<TokenId> by_frequency(std::span<const std::uint64_t> occurrences, std::size_t count,
                                  const Tokenizer& tokenizer);
/// The `count` ids with the most occurrences (ties: the lower id), with all control tokens, ascending.
std::vector<TokenId> most_frequent(std::span<const std::uint64_t> occurrences, std::size_t count,
                                   const Tokenizer& tokenizer);

}  // namespace kinglet
