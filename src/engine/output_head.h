// The end of the forward pass: final norm, output matrix, soft cap.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/workspace.h"
#include "kinglet/linear.h"
#include "kinglet/model.h"
#include "kinglet/result.h"

namespace kinglet {

class OutputHead {
 public:
  /// Both must outlive it.
  OutputHead(const Model& model, Workspace& workspace);

  void norm(float* hidden, int rows) const;
  /// As Engine::head(), `max_rows` rows at once; the bytes of weights that were read.
  Result<std::uint64_t> run(const float* hidden, int rows, int max_rows, std::span<const TokenId> allowed,
                            float* logits);
  /// As Engine::best(), of the last run().
  std::span<const TokenId> best() const { return best_; }
  void forget_best() { best_.clear(); }

 private:
  /// Rows whose largest logits are noted: of more, the first have left the caches before the last are made.
  static constexpr int kPeakRows = 16;
  /// What a thread has found in its part of the vocabulary.
  struct alignas(128) Peaks {  // two lines: the prefetcher fetches pairs
    std::array<float, kPeakRows> logit;
    std::array<TokenId, kPeakRows> id;
  };

  std::uint64_t run_chunk(const float* hidden, int rows, float* logits, bool notes_peaks);
  LinearInput prepare(const float* hidden, int rows, int thread);
  void multiply(const LinearInput& input, TileRange tiles, float* logits, Peaks* peaks) const;
  void find_best(int rows);

  const Model& model_;
  Workspace& workspace_;
  std::vector<TileRange> tiles_;   ///< that are multiplied, ascending
  std::vector<float> all_logits_;  ///< whole rows, where only some of the head is asked for
  std::vector<Peaks> peaks_;       ///< by thread
  std::vector<TokenId> best_;
};

}  // namespace kinglet
