#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "fake_engine.h"

namespace kinglet {
namespace {

using fake::FakeEngine;
using fake::letters;

constexpr int kVocabulary = 8;
constexpr double kTemperature = 0.9;

std::vector<double> softmax(const std::vector<float>& logits) {
  std::vector<double> p;
  double total = 0;
  for (const float logit : logits) total += p.emplace_back(std::exp(logit / kTemperature));
  for (double& value : p) value /= total;
  return p;
}

/// Draws two tokens from distributions that are not the target's, and never proposes token 0.
class RandomDrafter final : public Drafter {
 public:
  explicit RandomDrafter(std::uint64_t seed) : random_(seed) {}
  static std::vector<double> distribution(std::size_t depth) {
    std::vector<double> q(kVocabulary);
    double total = 0;
    for (std::size_t i = 1; i < q.size(); ++i) total += q[i] = 1.0 + static_cast<double>((i * 3 + depth) % 5);
    for (double& value : q) value /= total;
    return q;
  }
  void propose(std::span<const TokenId>, int budget, Draft& draft) override {
    for (std::size_t depth = 0; depth < 2 && static_cast<int>(depth) < budget; ++depth) {
      const auto q = distribution(depth);
      DraftDistribution told;
      for (std::size_t i = 1; i < q.size(); ++i) told.emplace_back(static_cast<TokenId>(i), static_cast<float>(q[i]));
      double point = random_.uniform();
      std::size_t drawn = 1;
      while (drawn + 1 < q.size() && (point -= q[drawn]) >= 0) ++drawn;
      draft.drawn_from.push_back(static_cast<std::int32_t>(depth));
      draft.distributions.push_back(told);
      draft.push(static_cast<TokenId>(drawn), static_cast<std::int32_t>(depth) - 1);
    }
  }

 private:
  Random random_;
};

struct Sampled {
  std::vector<double> pairs;  ///< how often the second and third token were (a, b)
  double accepted = 0, drafted = 0;
};

/// The first token of an answer comes with the prompt; the next two are drafted.
Sampled sample(FakeEngine& engine, int count, std::shared_ptr<LogitsProcessor> rule = nullptr) {
  const auto tokenizer = letters(kVocabulary);
  GenerationLoop loop({.engine = &engine,
                       .tokenizer = &tokenizer,
                       .vocabulary = kVocabulary,
                       .width = static_cast<std::int64_t>(FakeEngine::kWidth),
                       .context = 64},
                      1);
  std::uint64_t seed = 1;
  loop.make_drafter = [&](std::string_view) -> Result<std::unique_ptr<Drafter>> {
    return std::make_unique<RandomDrafter>(seed++ * 77 + 5);
  };
  Sampled sampled{.pairs = std::vector<double>(kVocabulary * kVocabulary)};
  loop.on_done = [&](std::size_t, Generation done) {
    sampled.accepted += static_cast<double>(done.accepted);
    sampled.drafted += static_cast<double>(done.drafted);
    ++sampled.pairs[static_cast<std::size_t>(done.token_ids.at(1) * kVocabulary + done.token_ids.at(2))];
  };
  for (int i = 0; i < count; ++i) {
    GenerateRequest request;
    request.prompt = {3, 1, 4};
    request.options.max_tokens = 4;
    request.options.seed = static_cast<std::uint64_t>(i);
    request.options.sampling["temperature"] = kTemperature;
    if (rule) request.processors = {rule};
    loop.add(static_cast<std::size_t>(i), std::move(request));
  }
  while (!loop.idle())
    if (!loop.step()) break;
  return sampled;
}

/// The same probabilities by hand; `forbid_odd`: after an even token only even ones may follow.
std::vector<double> exact_pairs(const FakeEngine& engine, bool forbid_odd) {
  std::vector<double> pairs(kVocabulary * kVocabulary);
  const auto next = [&](const std::vector<TokenId>& text) {
    auto logits = engine.logits_after(text);
    if (forbid_odd && text.back() % 2 == 0)
      for (std::size_t i = 1; i < logits.size(); i += 2) logits[i] = -1e9f;
    return softmax(logits);
  };
  std::vector<TokenId> text = {3, 1, 4};
  const auto first = next(text);
  for (TokenId a = 0; a < kVocabulary; ++a) {
    text.resize(3);
    text.push_back(a);
    const auto second = next(text);
    for (TokenId b = 0; b < kVocabulary; ++b) {
      text.resize(4);
      text.push_back(b);
      const auto third = next(text);
      for (TokenId c = 0; c < kVocabulary; ++c)
        pairs[static_cast<std::size_t>(b * kVocabulary + c)] += first[static_cast<std::size_t>(a)] *
                                                                second[static_cast<std::size_t>(b)] *
                                                                third[static_cast<std::size_t>(c)];
    }
  }
  return pairs;
}

/// Over its expectation of one per degree of freedom: near 1 where both agree.
double chi_square(const std::vector<double>& seen, const std::vector<double>& exact) {
  double count = 0, sum = 0;
  int cells = 0;
  for (const double n : seen) count += n;
  for (std::size_t i = 0; i < seen.size(); ++i) {
    const double expected = count * exact[i];
    if (expected < 1e-6) {
      EXPECT_EQ(seen[i], 0) << i;
      continue;
    }
    sum += (seen[i] - expected) * (seen[i] - expected) / expected;
    ++cells;
  }
  return sum / (cells - 1);
}

TEST(RatioAcceptance, KeepsTheDistribution) {
  FakeEngine engine(kVocabulary, 64);
  const auto sampled = sample(engine, 20000);
  // 63 degrees of freedom: 1.6 has a probability of 0.002; the seeds are fixed.
  EXPECT_LT(chi_square(sampled.pairs, exact_pairs(engine, false)), 1.6);
  // The test sees a wrong distribution: that of another prompt.
  FakeEngine other(kVocabulary, 64, 2);
  EXPECT_GT(chi_square(sampled.pairs, exact_pairs(other, false)), 10);
}

TEST(RatioAcceptance, AcceptsAsOftenAsTheDistributionsOverlap) {
  FakeEngine engine(kVocabulary, 64, 1);
  const auto sampled = sample(engine, 4000);
  EXPECT_GT(sampled.accepted, 0.2 * sampled.drafted);
  EXPECT_LT(sampled.accepted, 0.9 * sampled.drafted);
}

/// After an even token only even ones may follow.
class EvenAfterEven final : public LogitsProcessor {
 public:
  std::optional<std::span<const TokenId>> allowed() override {
    if (history_.empty() || history_.back() % 2 != 0) return std::nullopt;
    return kEven;
  }
  void apply(Candidates&) override {}
  void accept(TokenId id) override { history_.push_back(id); }
  void rollback(std::int64_t count) override { history_.resize(history_.size() - static_cast<std::size_t>(count)); }

 private:
  static constexpr TokenId kEven[] = {0, 2, 4, 6};
  std::vector<TokenId> history_;
};

TEST(RatioAcceptance, KeepsTheDistributionWhereTokensAreForbidden) {
  FakeEngine engine(kVocabulary, 64);
  const auto sampled = sample(engine, 20000, std::make_shared<EvenAfterEven>());
  EXPECT_LT(chi_square(sampled.pairs, exact_pairs(engine, true)), 1.7);
}

TEST(RatioAcceptance, APickThatWasDraftedFromTheSameDistributionAlwaysStands) {
  auto chain = SamplerChain::make({{"temperature", 1.0}}, 4);
  ASSERT_TRUE(chain);
  for (TokenId proposal = 0; proposal < 4; ++proposal) {
    std::vector<float> logits = {0.5f, 0.1f, -1.0f, 2.0f};
    double total = 0;
    for (const float logit : logits) total += std::exp(logit);
    DraftDistribution same;
    for (TokenId id = 0; id < 4; ++id)
      same.emplace_back(id, static_cast<float>(std::exp(logits[static_cast<std::size_t>(id)]) / total * 0.9999));
    for (int i = 0; i < 50; ++i) {
      Candidates candidates;
      std::vector<float> row = logits;
      candidates.reset(row);
      EXPECT_EQ(chain->pick_drafted(candidates, proposal, same).value(), proposal);
    }
  }
}

}  // namespace
}  // namespace kinglet
