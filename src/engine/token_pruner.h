// Runs forward calls with TokenPruning: a prompt in stages, each with fewer rows; later tokens with those that they
// call back.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/cache/sequence_cache.h"
#include "kinglet/engine.h"
#include "kinglet/token_pruning.h"

namespace kinglet {

class TokenPruner {
 public:
  TokenPruner(TokenPruning pruning, int layers, std::size_t width)
      : pruning_(std::move(pruning)), layers_(layers), width_(width) {}

  /// A call over all layers that commits and is no tree. Rows of a prompt that stopped keep the hidden row they stopped
  /// with; the last row of a sequence is always finished. On an error the sequences are what they were.
  Result<void> forward(Engine& engine, const ForwardCall& call);

 private:
  /// Rows on their way up, in the order of the call; the last is the newest token.
  struct Batch {
    std::vector<Row> rows;
    std::vector<float> hidden;
  };
  Result<void> run(Engine& engine, SequenceCache& sequence, Batch& batch);
  Result<void> run_layers(Engine& engine, Batch& batch, int begin, int end, bool watched);
  std::vector<std::int32_t> rank(const SequenceCache& sequence, int layer,
                                 const std::vector<std::uint8_t>& alive) const;
  void stop(SequenceCache& sequence, std::size_t stage, std::span<const std::int32_t> cut, Batch& batch);
  void call_back(SequenceCache& sequence, std::size_t stage, const std::vector<std::uint8_t>& alive, std::size_t most,
                 Batch& batch);

  TokenPruning pruning_;
  int layers_;
  std::size_t width_;
  std::vector<float> scores_;  ///< by slot of the watched layer, summed over heads
};

}  // namespace kinglet
