// A model that reads along: it remembers what it was fed, and catches up with a text that others write.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "kinglet/engine.h"

namespace kinglet {

class Follower {
 public:
  /// The engine must outlive it.
  explicit Follower(Engine& engine) : engine_(engine) {}

  Engine& engine() const { return engine_; }
  /// Of `ids`, how many at the begin are what it was fed.
  std::size_t common(std::span<const TokenId> ids) const;
  /// Afterwards exactly `text` is fed, and row(i) has the logits after the i-th of its last `count` tokens. What has
  /// changed since the last call is forgotten, what is missing is fed in as few passes as the engine allows.
  Result<void> read(std::span<const TokenId> text, std::size_t count = 0);
  /// Logits [vocabulary] of the last read(); they may be changed.
  std::span<float> row(std::size_t index) {
    return std::span<float>(logits_).subspan(index * vocabulary(), vocabulary());
  }
  TokenId best(std::size_t index);
  /// One more token; its hidden row [width] before the final norm, which may be changed, valid until the next call.
  Result<float*> hidden_after(TokenId id);
  /// Its memory; null before the first read().
  Sequence* sequence() const { return sequence_.get(); }
  std::size_t vocabulary() const { return static_cast<std::size_t>(engine_.model().config().vocabulary); }
  /// Passes and rows that read() and hidden_after() took.
  std::int64_t passes() const { return passes_; }
  std::int64_t rows() const { return fed_rows_; }

 private:
  Engine& engine_;
  std::unique_ptr<Sequence> sequence_;
  std::vector<TokenId> fed_;
  std::vector<Row> rows_;
  std::vector<std::int32_t> wanted_;
  std::vector<float> logits_, hidden_;
  std::int64_t passes_ = 0, fed_rows_ = 0;
};

}  // namespace kinglet
