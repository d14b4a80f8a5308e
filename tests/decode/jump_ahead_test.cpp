// Text that a processor foresees costs no pass of its own and changes no token.
#include <gtest/gtest.h>

#include "fake_engine.h"

namespace kinglet {
namespace {

using fake::FakeEngine;
using fake::letters;
using fake::run;

constexpr int kVocabulary = 26;

/// After a token below 8 the next five are its successors, but after 3 the third of them may also be 25. Foresees five;
/// after 5 the end must follow where there is one.
class Chorus final : public LogitsProcessor {
 public:
  explicit Chorus(TokenId end = -1) : end_(end) {}
  std::optional<std::span<const TokenId>> allowed() override {
    started_ = true;
    next_.clear();
    if (end_ >= 0 && !history_.empty() && history_.back() == 5) {
      next_.push_back(end_);
    } else if (const TokenId next = forced(history_); next >= 0) {
      next_.push_back(next);
      if (next == 6 && history_.back() == 5) next_.push_back(25);
    } else {
      return std::nullopt;
    }
    return next_;
  }
  void apply(Candidates&) override {}
  void accept(TokenId id) override {
    if (started_) history_.push_back(id);
  }
  void rollback(std::int64_t count) override { history_.resize(history_.size() - static_cast<std::size_t>(count)); }
  void foresee(std::size_t most, std::vector<TokenId>& out) override {
    started_ = true;
    for (auto text = history_; out.size() < most && forced(text) >= 0; text.push_back(out.back()))
      out.push_back(forced(text));
    foreseen += out.size();
  }
  std::size_t foreseen = 0;

 private:
  // A run begins with a token below 8 that no run has given, and has six tokens.
  static TokenId forced(const std::vector<TokenId>& text) {
    std::size_t left = 0;
    for (const TokenId id : text)
      if (left > 0)
        --left;
      else if (id < 8)
        left = 5;
    return left > 0 ? (text.back() + 1) % kVocabulary : -1;
  }
  TokenId end_;
  bool started_ = false;
  std::vector<TokenId> history_, next_;
};

GenerateRequest request(std::uint64_t seed, double temperature, const char* drafter, TokenId end = -1) {
  GenerateRequest made;
  for (std::uint64_t k = 0; k <= seed % 5; ++k)
    made.prompt.push_back(static_cast<TokenId>((seed * 7 + k * k) % kVocabulary));
  made.options.max_tokens = 60;
  made.options.seed = seed;
  made.options.drafter = drafter;
  made.options.sampling["temperature"] = temperature;
  made.processors = {std::make_shared<Chorus>(end)};
  return made;
}

TEST(JumpAhead, GivesTheTokensOfOnePassEachInFewerPasses) {
  std::int64_t with = 0, without = 0, forced = 0;
  for (std::uint64_t seed = 0; seed < 12; ++seed)
    for (const double temperature : {0.0, 1.0})
      for (const char* drafter : {"none", "ngram"}) {
        FakeEngine engine(kVocabulary, 512, 2);
        auto plain = request(seed, temperature, "none"), jumping = request(seed, temperature, drafter);
        plain.options.jump_ahead = false;
        const auto a = run(engine, letters(kVocabulary), {plain})[0],
                   b = run(engine, letters(kVocabulary), {jumping})[0];
        EXPECT_EQ(a.token_ids, b.token_ids) << seed << " " << temperature << " " << drafter;
        EXPECT_EQ(a.forced_tokens, 0);
        EXPECT_EQ(b.target_passes + b.accepted + b.forced_tokens, 60);
        without += a.target_passes, with += b.target_passes, forced += b.forced_tokens;
      }
  EXPECT_GT(forced, 500);
  EXPECT_LT(2 * with, without);
}

TEST(JumpAhead, BatchesAndShortCallsGiveTheSameTokens) {
  std::vector<std::vector<TokenId>> alone;
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    FakeEngine engine(kVocabulary, 512);
    alone.push_back(run(engine, letters(kVocabulary), {request(seed, 0.7, "none")})[0].token_ids);
  }
  for (const int rows : {3, 8, 64}) {
    FakeEngine engine(kVocabulary, rows);
    std::vector<GenerateRequest> requests;
    for (std::uint64_t seed = 0; seed < 12; ++seed) requests.push_back(request(seed, 0.7, seed % 2 ? "ngram" : "none"));
    const auto together = run(engine, letters(kVocabulary), requests, 3);
    EXPECT_LE(engine.most_rows, static_cast<std::size_t>(rows));
    for (std::size_t i = 0; i < 12; ++i) EXPECT_EQ(together[i].token_ids, alone[i]) << rows << " " << i;
  }
}

TEST(JumpAhead, TheFirstTokensAreForeseenWithThePrompt) {
  FakeEngine engine(kVocabulary, 512);
  GenerateRequest one = request(0, 0, "none");
  one.options.max_tokens = 6;
  class Opening final : public LogitsProcessor {
   public:
    std::optional<std::span<const TokenId>> allowed() override { return std::span<const TokenId>(&text_[at_ % 6], 1); }
    void apply(Candidates&) override {}
    void accept(TokenId id) override { at_ += id == text_[at_ % 6] ? 1 : 0; }
    void rollback(std::int64_t count) override { at_ -= static_cast<std::size_t>(count); }
    void foresee(std::size_t most, std::vector<TokenId>& out) override {
      for (std::size_t i = at_; i < 6 && out.size() < most; ++i) out.push_back(text_[i]);
    }

   private:
    TokenId text_[6] = {9, 8, 7, 6, 5, 4};
    std::size_t at_ = 0;
  };
  one.processors = {std::make_shared<Opening>()};
  fake::FakeSequence sequence;
  one.sequence = &sequence;
  const auto result = run(engine, letters(kVocabulary), {one})[0];
  EXPECT_EQ(result.token_ids, (std::vector<TokenId>{9, 8, 7, 6, 5, 4}));
  EXPECT_EQ(engine.passes, 1);
  EXPECT_EQ(sequence.tokens, (std::vector<TokenId>{one.prompt[0], 9, 8, 7, 6, 5}));
}

TEST(JumpAhead, AnEndThatMustComeCostsNoPass) {
  auto tokenizer = letters(kVocabulary);
  tokenizer.end_ids = {24};
  int ended = 0;
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    FakeEngine engine(kVocabulary, 512);
    auto one = request(seed, 1, "none", 24);
    one.options.jump_ahead = false;
    const auto result = run(engine, tokenizer, {one})[0];
    if (result.finish_reason != "stop" || result.token_ids.empty() || result.token_ids.back() != 5) continue;
    ++ended;
    EXPECT_EQ(result.target_passes, static_cast<std::int64_t>(result.token_ids.size()));
  }
  EXPECT_GT(ended, 3);
}

}  // namespace
}  // namespace kinglet
