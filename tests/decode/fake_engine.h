// A stand-in for a model: its logits are a fixed function of the tokens that a row sees, so the loop's bookkeeping is
// tested without weights. It checks what it is asked: positions, slots, the size of a call.
#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "decode/loop.h"
#include "kinglet/generate.h"

namespace kinglet::fake {

class FakeTokenizer final : public Tokenizer {
 public:
  explicit FakeTokenizer(std::vector<std::string> pieces) : pieces_(std::move(pieces)) {}
  std::string_view kind() const override { return "fake"; }
  std::int32_t size() const override { return static_cast<std::int32_t>(pieces_.size()); }
  std::vector<TokenId> encode(std::string_view, EncodeOptions) const override { return {}; }
  std::string decode(std::span<const TokenId> ids, bool) const override {
    std::string text;
    for (TokenId id : ids) text += piece(id);
    return text;
  }
  std::string_view piece(TokenId id) const override { return pieces_[static_cast<std::size_t>(id)]; }
  std::string_view text(TokenId id) const override { return piece(id); }
  bool is_control(TokenId) const override { return false; }
  TokenId find(std::string_view) const override { return -1; }

 private:
  std::vector<std::string> pieces_;
};

/// One letter a token.
inline FakeTokenizer letters(int count) {
  std::vector<std::string> pieces;
  for (int i = 0; i < count; ++i) pieces.push_back(std::string(1, static_cast<char>('a' + i % 26)));
  return FakeTokenizer(std::move(pieces));
}

struct FakeSequence final : Sequence {
  std::vector<TokenId> tokens;  ///< by slot
  std::int64_t refuse_truncate_below = 0;

  std::int64_t length() const override { return static_cast<std::int64_t>(tokens.size()); }
  Result<void> truncate(std::int64_t length) override {
    if (length < 0 || length > this->length()) return fail(ErrorCode::kInvalidArgument, "truncate above the length");
    if (length < refuse_truncate_below) return fail(ErrorCode::kUnsupported, "forgotten");
    tokens.resize(static_cast<std::size_t>(length));
    return {};
  }
  Result<std::unique_ptr<Sequence>> fork() const override { return std::make_unique<FakeSequence>(*this); }
  Result<void> keep_path(std::int64_t base, std::span<const std::int32_t> offsets) override {
    std::vector<TokenId> kept(tokens.begin(), tokens.begin() + base);
    for (std::int32_t offset : offsets) kept.push_back(tokens.at(static_cast<std::size_t>(base + offset)));
    tokens = kept;
    return {};
  }
  Result<std::string> snapshot() const override { return std::string(); }
  Result<void> restore(std::string_view) override { return {}; }
  std::uint64_t bytes() const override { return 0; }
};

class FakeEngine final : public Engine {
 public:
  static constexpr std::size_t kWidth = 4;

  FakeEngine(int vocabulary, int max_rows, int memory = 0) : vocabulary_(vocabulary), memory_(memory) {
    options_.max_rows = max_rows;
  }
  const Model& model() const override { __builtin_trap(); }  // has no weights: tests give the loop a LoopTarget
  const EngineOptions& options() const override { return options_; }
  Result<std::unique_ptr<Sequence>> new_sequence() override { return std::make_unique<FakeSequence>(); }

  Result<void> embed(std::span<const TokenId> ids, std::span<const std::int32_t>, float* hidden) override {
    for (std::size_t i = 0; i < ids.size(); ++i) hidden[i * kWidth] = static_cast<float>(ids[i]);
    return {};
  }

  Result<void> forward(const ForwardCall& call) override {
    ++passes;
    most_rows = std::max(most_rows, call.rows.size());
    if (call.rows.size() > static_cast<std::size_t>(options_.max_rows))
      return fail(ErrorCode::kInternal, "too many rows");
    if (call.tree) ++tree_passes;
    std::map<Sequence*, std::vector<TokenId>> before;  // what each sequence held
    for (std::size_t i = 0; i < call.rows.size(); ++i) {
      const Row& row = call.rows[i];
      auto& sequence = static_cast<FakeSequence&>(*row.sequence);
      before.try_emplace(row.sequence, sequence.tokens);
      const auto token = static_cast<TokenId>(call.hidden[i * kWidth]);
      sequence.tokens.push_back(token);
      std::vector<TokenId> seen;
      if (call.tree) {
        for (std::int32_t at = static_cast<std::int32_t>(i); at >= 0;
             at = call.rows[static_cast<std::size_t>(at)].parent)
          seen.push_back(static_cast<TokenId>(call.hidden[static_cast<std::size_t>(at) * kWidth]));
        seen.insert(seen.end(), before[row.sequence].rbegin(), before[row.sequence].rend());
        std::reverse(seen.begin(), seen.end());
      } else {
        seen = sequence.tokens;
      }
      if (row.position != static_cast<std::int32_t>(seen.size()) - 1)
        return fail(ErrorCode::kInternal, "wrong position");
      const std::uint64_t hash = hash_of(seen);
      std::memcpy(call.hidden + i * kWidth + 1, &hash, sizeof hash);
    }
    return {};
  }

  Result<void> head(const float* hidden, int rows, std::span<const TokenId> allowed, float* logits) override {
    for (int r = 0; r < rows; ++r) {
      std::uint64_t hash = 0;
      std::memcpy(&hash, hidden + static_cast<std::size_t>(r) * kWidth + 1, sizeof hash);
      if (allowed.empty())
        for (int v = 0; v < vocabulary_; ++v) *logits++ = logit(hash, v);
      else
        for (TokenId v : allowed) *logits++ = logit(hash, v), ++masked_logits;
    }
    return {};
  }
  void final_norm(float*, int) override {}

  Result<void> step(std::span<const Row> rows, std::span<const TokenId> ids, std::span<const std::int32_t> wanted,
                    float* logits) override {
    std::vector<float> hidden(rows.size() * kWidth);
    (void)embed(ids, {}, hidden.data());
    if (auto done = forward({.rows = rows, .hidden = hidden.data()}); !done) return done;
    for (std::size_t i = 0; i < wanted.size(); ++i)
      (void)head(hidden.data() + static_cast<std::size_t>(wanted[i]) * kWidth, 1, {},
                 logits + i * static_cast<std::size_t>(vocabulary_));
    return {};
  }
  std::uint64_t workspace_bytes() const override { return 0; }
  std::uint64_t cache_bytes() const override { return 0; }

  /// The same function, for the tests' own slow references.
  std::vector<float> logits_after(std::span<const TokenId> text) const {
    std::vector<float> row;
    for (int v = 0; v < vocabulary_; ++v) row.push_back(logit(hash_of(text), v));
    return row;
  }
  std::vector<TokenId> greedy(std::vector<TokenId> text, int count) const {
    std::vector<TokenId> answer;
    for (int i = 0; i < count; ++i) {
      const auto row = logits_after(text);
      answer.push_back(static_cast<TokenId>(std::max_element(row.begin(), row.end()) - row.begin()));
      text.push_back(answer.back());
    }
    return answer;
  }

  int passes = 0, tree_passes = 0, masked_logits = 0;
  std::size_t most_rows = 0;

 private:
  std::uint64_t hash_of(std::span<const TokenId> text) const {
    if (memory_ > 0 && text.size() > static_cast<std::size_t>(memory_))
      text = text.last(static_cast<std::size_t>(memory_));
    std::uint64_t hash = 1469598103934665603u;
    for (TokenId id : text) hash = (hash ^ static_cast<std::uint64_t>(id + 1)) * 1099511628211u;
    return hash;
  }
  static float logit(std::uint64_t hash, TokenId token) {
    return 2 * Random(hash * 31 + static_cast<std::uint64_t>(token)).uniform() * 2;
  }

  int vocabulary_, memory_;
  EngineOptions options_;
};

/// Runs requests through a loop over the stand-in.
inline std::vector<Generation> run(FakeEngine& engine, const Tokenizer& tokenizer,
                                   std::vector<GenerateRequest> requests, int batch = 1, std::int64_t context = 4096,
                                   std::vector<std::size_t>* order = nullptr) {
  std::vector<Generation> results(requests.size());
  GenerationLoop loop({.engine = &engine,
                       .tokenizer = &tokenizer,
                       .vocabulary = tokenizer.size(),
                       .width = static_cast<std::int64_t>(FakeEngine::kWidth),
                       .context = context},
                      batch);
  loop.on_done = [&](std::size_t index, Generation result) {
    results[index] = std::move(result);
    if (order) order->push_back(index);
  };
  for (std::size_t i = 0; i < requests.size(); ++i) loop.add(i, std::move(requests[i]));
  while (!loop.idle())
    if (auto done = loop.step(); !done) {
      loop.cancel("engine: " + done.error().message);
      break;
    }
  return results;
}

}  // namespace kinglet::fake
