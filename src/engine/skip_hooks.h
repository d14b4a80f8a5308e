// The hooks that make a forward call follow a FeedForwardSkip.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kinglet/engine.h"
#include "kinglet/ffn_skip.h"

namespace kinglet {

/// One for an engine; begin() for each call.
class SkipHooks {
 public:
  explicit SkipHooks(std::size_t width) : width_(width) {}

  /// Which rows may skip: those that are their sequence's only one in the call, after its warm-up. False: none may, and
  /// the call needs no hooks.
  bool begin(const FeedForwardSkip& skip, const ForwardCall& call);
  const ForwardHooks* hooks() const { return &hooks_; }

 private:
  struct RowState {
    bool may_skip = false, watched = false;
    int left = 0;  ///< layers that it still skips
  };
  void choose(int layer, std::span<const float> hidden, std::span<std::uint8_t> run);
  void watch(int layer, std::span<float> hidden);
  bool skips(int layer, std::size_t row);

  std::size_t width_;
  const FeedForwardSkip* skip_ = nullptr;
  std::span<const Row> rows_;
  std::vector<RowState> states_;
  std::vector<float> before_;   ///< rows before their feed-forward
  std::vector<float> entered_;  ///< rows as they entered the layer
  ForwardHooks hooks_;
};

double cosine(std::span<const float> a, std::span<const float> b);

}  // namespace kinglet
