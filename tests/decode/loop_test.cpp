#include <gtest/gtest.h>

#include <cmath>

#include "fake_engine.h"

namespace kinglet {
namespace {

using fake::FakeEngine;
using fake::FakeTokenizer;
using fake::letters;
using fake::run;

constexpr int kVocabulary = 26;

GenerateRequest request(std::vector<TokenId> prompt, std::int64_t tokens) {
  GenerateRequest made;
  made.prompt = std::move(prompt);
  made.options.max_tokens = tokens;
  return made;
}

TEST(GenerationLoop, GreedyTakesTheBestTokenEachTime) {
  FakeEngine engine(kVocabulary, 512);
  const auto results = run(engine, letters(kVocabulary), {request({1, 2, 3}, 20)});
  EXPECT_EQ(results[0].token_ids, engine.greedy({1, 2, 3}, 20));
  EXPECT_EQ(results[0].finish_reason, "length");
  EXPECT_EQ(results[0].prompt_tokens, 3);
  EXPECT_EQ(results[0].target_passes, 20);
  EXPECT_EQ(engine.passes, 20);
}

TEST(GenerationLoop, TextIsTheTokensPieces) {
  FakeEngine engine(kVocabulary, 512);
  const auto tokenizer = letters(kVocabulary);
  std::string streamed;
  auto one = request({5}, 12);
  one.on_text = [&](std::string_view text) { return streamed += text, true; };
  const auto results = run(engine, tokenizer, {one});
  EXPECT_EQ(results[0].text, tokenizer.decode(results[0].token_ids, false));
  EXPECT_EQ(streamed, results[0].text);
}

TEST(GenerationLoop, ChunksOfThePromptDoNotChangeTheAnswer) {
  std::vector<TokenId> prompt;
  for (int i = 0; i < 100; ++i) prompt.push_back(i * 7 % kVocabulary);
  for (const int chunk : {0, 1, 7, 64}) {
    FakeEngine engine(kVocabulary, 32);
    auto one = request(prompt, 10);
    one.options.prefill_chunk = chunk;
    const auto results = run(engine, letters(kVocabulary), {one});
    EXPECT_EQ(results[0].token_ids, engine.greedy(prompt, 10)) << chunk;
    EXPECT_LE(engine.most_rows, 32u);
  }
}

TEST(GenerationLoop, BatchesGiveTheSameTokensAsAlone) {
  for (const int batch : {1, 2, 7, 16}) {
    FakeEngine engine(kVocabulary, 24);
    std::vector<GenerateRequest> requests;
    for (int i = 0; i < 23; ++i) {
      std::vector<TokenId> prompt;
      for (int k = 0; k <= i * 3; ++k) prompt.push_back((i * 5 + k * k) % kVocabulary);
      requests.push_back(request(prompt, 3 + i % 9));
      if (i % 3 == 0) requests.back().options.drafter = "ngram";
      if (i % 4 == 1) requests.back().options.sampling["temperature"] = 0.9;
      requests.back().options.seed = static_cast<std::uint64_t>(i);
    }
    std::vector<std::size_t> order;
    const auto together = run(engine, letters(kVocabulary), requests, batch, 4096, &order);
    EXPECT_LE(engine.most_rows, 24u);
    EXPECT_EQ(order.size(), requests.size());
    for (std::size_t i = 0; i < requests.size(); ++i) {
      FakeEngine other(kVocabulary, 512);
      EXPECT_EQ(together[i].token_ids, run(other, letters(kVocabulary), {requests[i]})[0].token_ids)
          << batch << " " << i;
    }
  }
}

TEST(GenerationLoop, ANewRequestJoinsWhileOthersAreDecoding) {
  FakeEngine engine(kVocabulary, 512);
  std::vector<GenerateRequest> requests = {request({1}, 3), request({2}, 30), request({3}, 3)};
  std::vector<std::size_t> order;
  run(engine, letters(kVocabulary), requests, 2, 4096, &order);
  EXPECT_EQ(order, (std::vector<std::size_t>{0, 2, 1}));
  EXPECT_EQ(engine.passes, 30);  // the short ones ran inside the long one's passes
}

TEST(GenerationLoop, StopsAtAnEndTokenAndLeavesItOut) {
  FakeEngine engine(kVocabulary, 512);
  const auto answer = engine.greedy({4, 4}, 30);
  auto tokenizer = letters(kVocabulary);
  tokenizer.end_ids = {answer[10]};
  const auto first = std::find(answer.begin(), answer.end(), answer[10]) - answer.begin();
  const auto results = run(engine, tokenizer, {request({4, 4}, 30)});
  EXPECT_EQ(results[0].finish_reason, "stop");
  EXPECT_EQ(results[0].token_ids, std::vector<TokenId>(answer.begin(), answer.begin() + first));
  auto on = request({4, 4}, 30);
  on.options.ignore_eos = true;
  EXPECT_EQ(run(engine, tokenizer, {on})[0].token_ids, answer);
}

TEST(GenerationLoop, StopStringEndsTheTextBeforeIt) {
  FakeEngine engine(kVocabulary, 512);
  const auto tokenizer = letters(kVocabulary);
  const std::string whole = tokenizer.decode(engine.greedy({9}, 30), false);
  auto one = request({9}, 30);
  one.options.stop = {"nowhere", whole.substr(12, 3)};
  std::string streamed;
  one.on_text = [&](std::string_view text) { return streamed += text, true; };
  const auto results = run(engine, tokenizer, {one});
  EXPECT_EQ(results[0].text, whole.substr(0, whole.find(whole.substr(12, 3))));
  EXPECT_EQ(streamed, results[0].text);
  EXPECT_EQ(results[0].finish_reason, "stop");
}

TEST(GenerationLoop, NgramDraftsGiveTheSameTokensInFewerPasses) {
  FakeEngine engine(kVocabulary, 512, 1);  // the next token depends on the last one alone: the answer runs in a circle
  for (const double temperature : {0.0, 0.8}) {
    auto plain = request({3, 1}, 200);
    plain.options.sampling["temperature"] = temperature;
    plain.options.sampling["top-k"] = 2;
    plain.options.seed = 5;
    auto drafted = plain;
    drafted.options.drafter = "ngram";
    const auto a = run(engine, letters(kVocabulary), {plain})[0], b = run(engine, letters(kVocabulary), {drafted})[0];
    EXPECT_EQ(a.token_ids, b.token_ids);
    EXPECT_EQ(a.text, b.text);
    EXPECT_GT(b.accepted, 0);
    EXPECT_EQ(b.target_passes + b.accepted, 200);
    if (temperature == 0) EXPECT_LT(b.target_passes, 60);
  }
}

TEST(GenerationLoop, DraftsRespectTheLastTokenAndTheContext) {
  FakeEngine engine(kVocabulary, 512, 1);
  for (std::int64_t context = 20; context < 40; ++context) {
    auto one = request({3, 1}, 1000);
    one.options.drafter = "ngram";
    const auto result = run(engine, letters(kVocabulary), {one}, 1, context)[0];
    EXPECT_EQ(result.finish_reason, "length");
    EXPECT_EQ(result.token_ids, engine.greedy({3, 1}, static_cast<int>(context) - 1));
  }
}

/// Proposes what the caller prepared.
class TreeDrafter final : public Drafter {
 public:
  explicit TreeDrafter(const FakeEngine& engine) : engine_(engine) {}
  void propose(std::span<const TokenId> text, int budget, Draft& draft) override {
    if (budget < 5) return;
    std::vector<TokenId> copy(text.begin(), text.end());
    const auto right = engine_.greedy(copy, 2);
    const TokenId wrong = (right[0] + 1) % kVocabulary;
    draft.push(wrong, -1);                        // 0: a wrong first token
    draft.push(right[0], -1);                     // 1: the right one
    draft.push(right[1], 0);                      // 2: right second token on the wrong branch
    draft.push((right[1] + 1) % kVocabulary, 1);  // 3: wrong on the right branch
    draft.push(right[1], 1);                      // 4: right, right
  }
  void observe(int accepted) override { observed.push_back(accepted); }
  static inline std::vector<int> observed;

 private:
  const FakeEngine& engine_;
};

TEST(GenerationLoop, TreeDraftsKeepTheRightPath) {
  FakeEngine engine(kVocabulary, 512);
  const auto tokenizer = letters(kVocabulary);
  GenerationLoop trees({.engine = &engine,
                        .tokenizer = &tokenizer,
                        .vocabulary = kVocabulary,
                        .width = static_cast<std::int64_t>(FakeEngine::kWidth),
                        .context = 4096},
                       2);
  trees.make_drafter = [&](std::string_view) -> Result<std::unique_ptr<Drafter>> {
    return std::make_unique<TreeDrafter>(engine);
  };
  std::vector<Generation> results(2);
  trees.on_done = [&](std::size_t index, Generation done) { results[index] = std::move(done); };
  trees.add(0, request({2, 7}, 31));
  trees.add(1, request({8, 8, 1, 0, 4}, 20));
  while (!trees.idle()) ASSERT_TRUE(trees.step());
  EXPECT_EQ(results[0].token_ids, engine.greedy({2, 7}, 31));
  EXPECT_EQ(results[1].token_ids, engine.greedy({8, 8, 1, 0, 4}, 20));
  EXPECT_GT(engine.tree_passes, 0);
  EXPECT_LT(results[0].target_passes, 20);
  EXPECT_EQ(TreeDrafter::observed.front(), 2);
}

/// Allows even tokens after an odd one and all after an even one.
class Alternate final : public LogitsProcessor {
 public:
  std::optional<std::span<const TokenId>> allowed() override {
    if (history_.empty() || history_.back() % 2 == 0) return std::nullopt;
    even_.clear();
    for (TokenId id = 0; id < kVocabulary; id += 2) even_.push_back(id);
    return even_;
  }
  void apply(Candidates&) override {}
  void accept(TokenId id) override { history_.push_back(id); }
  void rollback(std::int64_t count) override { history_.resize(history_.size() - static_cast<std::size_t>(count)); }
  std::vector<TokenId> history_;

 private:
  std::vector<TokenId> even_;
};

TEST(GenerationLoop, MaskedHeadGivesTheBestAllowedTokenWithAndWithoutDrafts) {
  std::vector<TokenId> expected;
  for (const char* drafter : {"none", "ngram"}) {
    FakeEngine engine(kVocabulary, 512, 1);
    auto one = request({3, 1}, 60);
    one.options.drafter = drafter;
    auto rule = std::make_shared<Alternate>();
    one.processors = {rule};
    const auto result = run(engine, letters(kVocabulary), {one})[0];
    ASSERT_EQ(result.finish_reason, "length");
    std::vector<TokenId> text = {3, 1};
    for (TokenId id : result.token_ids) {
      const auto row = engine.logits_after(text);
      TokenId best = -1;
      for (TokenId v = 0; v < kVocabulary; ++v)
        if ((text.back() % 2 == 0 || v % 2 == 0) &&
            (best < 0 || row[static_cast<std::size_t>(v)] > row[static_cast<std::size_t>(best)]))
          best = v;
      ASSERT_EQ(id, best);
      text.push_back(id);
    }
    EXPECT_EQ(rule->history_, text);  // look-aheads were undone
    EXPECT_GT(engine.masked_logits, 0);
    if (expected.empty()) expected = result.token_ids;
    EXPECT_EQ(result.token_ids, expected);
  }
}

TEST(GenerationLoop, SameSeedSameTextOtherSeedOtherText) {
  FakeEngine engine(kVocabulary, 512);
  auto one = request({1, 2}, 40);
  one.options.sampling["temperature"] = 1;
  one.options.seed = 11;
  auto other = one;
  other.options.seed = 12;
  const auto results = run(engine, letters(kVocabulary), {one, one, other}, 3);
  EXPECT_EQ(results[0].token_ids, results[1].token_ids);
  EXPECT_NE(results[0].token_ids, results[2].token_ids);
}

TEST(GenerationLoop, LogprobsAreTheModelsOwn) {
  FakeEngine engine(kVocabulary, 512);
  auto one = request({1, 2}, 5);
  one.options.logprobs = 3;
  one.options.sampling = {{"temperature", 0.5}, {"top-k", 5}};
  const auto result = run(engine, letters(kVocabulary), {one})[0];
  ASSERT_EQ(result.logprobs.size(), 5u);
  std::vector<TokenId> text = {1, 2};
  for (const TokenLogprob& at : result.logprobs) {
    const auto row = engine.logits_after(text);
    double sum = 0;
    for (float x : row) sum += std::exp(x);
    EXPECT_NEAR(at.logprob, row[static_cast<std::size_t>(at.id)] - std::log(sum), 1e-5);
    ASSERT_EQ(at.top.size(), 3u);
    EXPECT_EQ(at.top[0].first, std::max_element(row.begin(), row.end()) - row.begin());
    EXPECT_GE(at.top[0].second, at.top[1].second);
    text.push_back(at.id);
  }
}

TEST(GenerationLoop, ASequenceGoesOnWhereItStands) {
  FakeEngine engine(kVocabulary, 512);
  fake::FakeSequence sequence;
  auto one = request({1, 2, 3}, 6);
  one.sequence = &sequence;
  one.options.drafter = "ngram";
  auto text = one.prompt;
  const auto first = run(engine, letters(kVocabulary), {one})[0];
  text.insert(text.end(), first.token_ids.begin(), first.token_ids.end());
  EXPECT_EQ(sequence.tokens, std::vector<TokenId>(text.begin(), text.end() - 1));
  text.push_back(9);
  auto two = request(text, 6);
  two.sequence = &sequence;
  const auto second = run(engine, letters(kVocabulary), {two})[0];
  EXPECT_EQ(second.token_ids, engine.greedy(text, 6));
  EXPECT_EQ(second.cached_tokens, 8);
  auto again = request(text, 6);  // the sequence holds more than this prompt already
  sequence.tokens = text;
  again.sequence = &sequence;
  EXPECT_EQ(run(engine, letters(kVocabulary), {again})[0].token_ids, engine.greedy(text, 6));
}

TEST(GenerationLoop, OneRequestsErrorEndsThatRequestOnly) {
  FakeEngine engine(kVocabulary, 512);
  auto unknown = request({1}, 5), range = request({1}, 5);
  unknown.options.drafter = "magic";
  range.options.sampling["top-p"] = 2;
  const auto results = run(engine, letters(kVocabulary),
                           {request({}, 5), request({1, 99}, 5), request(std::vector<TokenId>(60, 1), 5), unknown,
                            range, request({1, 2}, 5)},
                           6, 50);
  const ErrorCode codes[] = {ErrorCode::kInvalidArgument, ErrorCode::kInvalidArgument, ErrorCode::kExhausted,
                             ErrorCode::kInvalidArgument, ErrorCode::kInvalidArgument};
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(results[i].finish_reason, "error");
    ASSERT_TRUE(results[i].error);
    EXPECT_EQ(results[i].error->code, codes[i]) << i << " " << results[i].error->message;
  }
  EXPECT_EQ(results[5].token_ids, engine.greedy({1, 2}, 5));
}

TEST(GenerationLoop, CancelsWhenTheReaderGoesAway) {
  FakeEngine engine(kVocabulary, 512);
  auto one = request({1}, 50);
  int calls = 0;
  one.on_text = [&](std::string_view) { return ++calls < 4; };
  const auto result = run(engine, letters(kVocabulary), {one})[0];
  EXPECT_EQ(result.finish_reason, "cancelled");
  EXPECT_EQ(result.token_ids.size(), 4u);
  EXPECT_EQ(calls, 4);
}

TEST(GenerationLoop, ZeroTokensIsAnEmptyAnswer) {
  FakeEngine engine(kVocabulary, 512);
  const auto result = run(engine, letters(kVocabulary), {request({1}, 0)})[0];
  EXPECT_EQ(result.finish_reason, "length");
  EXPECT_TRUE(result.token_ids.empty());
  EXPECT_EQ(engine.passes, 0);
}

}  // namespace
}  // namespace kinglet
