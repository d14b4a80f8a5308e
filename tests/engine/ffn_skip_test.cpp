// Decoding that leaves out feed-forwards.
#include "kinglet/ffn_skip.h"

#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "engine/cache/sequence_cache.h"
#include "engine/tiny_model_helper.h"
#include "kinglet/engine.h"
#include "temporary_folder.h"

namespace kinglet {
namespace {

using test::make_tiny_model;

constexpr std::size_t kLayers = 6;

std::shared_ptr<FeedForwardSkip> skip_of(SkipRule rule) {
  auto skip = std::make_shared<FeedForwardSkip>();
  skip->rule = rule;
  skip->warm_up = 3;
  skip->cold.assign(kLayers, 0);
  skip->off.assign(kLayers, 0);
  skip->cold[0] = skip->cold[5] = 1;
  return skip;
}

/// Logits of `steps` tokens after a prompt of 10, one at a time.
struct Decoded {
  std::vector<std::vector<float>> logits;
  std::vector<std::int64_t> slots;
};
Decoded decode(const std::shared_ptr<const Model>& model, std::shared_ptr<const FeedForwardSkip> skip, int steps = 12) {
  auto engine = Engine::create(model, {.ffn_skip = std::move(skip)}).value();
  auto sequence = engine->new_sequence().value();
  Decoded result;
  std::vector<float> logits(100);
  EXPECT_TRUE(prefill(*engine, *sequence, std::vector<TokenId>(10, 7), 0, logits.data()));
  for (int i = 0; i < steps; ++i) {
    const TokenId id = 31 * i % 100;
    EXPECT_TRUE(prefill(*engine, *sequence, {&id, 1}, 0, logits.data()));
    result.logits.push_back(logits);
  }
  for (std::size_t layer = 0; layer < kLayers; ++layer)
    result.slots.push_back(dynamic_cast<SequenceCache&>(*sequence).slots(static_cast<int>(layer)));
  return result;
}

TEST(FeedForwardSkip, AThresholdAboveOneChangesNoBit) {
  const auto model = make_tiny_model({.layers = kLayers}, 2);
  auto skip = skip_of(SkipRule::kAdaptive);
  EXPECT_EQ(decode(model, nullptr).logits, decode(model, skip).logits);
  EXPECT_EQ(skip->skipped, 0);
  EXPECT_EQ(skip->ran, 9 * 6) << "12 tokens, of which 3 warm up";
}

TEST(FeedForwardSkip, SkipsOnlyWarmLayersAfterTheWarmUpAndTheCacheStaysComplete) {
  const auto model = make_tiny_model({.layers = kLayers}, 2);
  const Decoded plain = decode(model, nullptr);
  for (SkipRule rule : {SkipRule::kAdaptive, SkipRule::kStatic, SkipRule::kRandom, SkipRule::kLayers}) {
    auto skip = skip_of(rule);
    skip->threshold = -1, skip->probe = 2;  // each that runs passes: of the layers 1 to 4, 2 and 3 are skipped
    skip->chance = 1;
    if (rule == SkipRule::kStatic || rule == SkipRule::kLayers) skip->off[2] = skip->off[3] = 1;
    const Decoded got = decode(model, skip);
    for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(got.logits[i], plain.logits[i]) << "the warm-up";
    EXPECT_NE(got.logits[3], plain.logits[3]) << skip_rule_name(rule);
    EXPECT_EQ(skip->skipped, 9 * (rule == SkipRule::kRandom ? 4 : 2)) << skip_rule_name(rule);
    for (std::int64_t slots : got.slots) EXPECT_EQ(slots, 22);
  }
}

TEST(FeedForwardSkip, RowsDecideForThemselves) {
  const auto model = make_tiny_model({.layers = kLayers}, 2);
  auto skip = skip_of(SkipRule::kAdaptive);
  skip->threshold = 0.9, skip->warm_up = 0;
  std::vector<std::vector<float>> alone;
  auto engine = Engine::create(model, {.ffn_skip = skip}).value();
  for (int s = 0; s < 3; ++s) {
    auto sequence = engine->new_sequence().value();
    for (int i = 0; i < 6; ++i) {
      const TokenId id = (17 * s + 5 * i) % 100;
      alone.emplace_back(100);
      ASSERT_TRUE(prefill(*engine, *sequence, {&id, 1}, 0, alone.back().data()));
    }
  }
  std::vector<std::unique_ptr<Sequence>> sequences;
  for (int s = 0; s < 3; ++s) sequences.push_back(engine->new_sequence().value());
  for (int i = 0; i < 6; ++i) {
    std::vector<Row> rows;
    std::vector<TokenId> ids;
    for (int s = 0; s < 3; ++s) {
      rows.push_back({sequences[static_cast<std::size_t>(s)].get(), i});
      ids.push_back((17 * s + 5 * i) % 100);
    }
    const std::vector<std::int32_t> wanted = {0, 1, 2};
    std::vector<float> logits(300);
    ASSERT_TRUE(engine->step(rows, ids, wanted, logits.data()));
    for (std::size_t s = 0; s < 3; ++s)
      EXPECT_EQ(alone[6 * s + static_cast<std::size_t>(i)],
                std::vector<float>(logits.begin() + static_cast<long>(100 * s),
                                   logits.begin() + static_cast<long>(100 * s + 100)));
  }
}

TEST(FeedForwardSkip, FilesComeBackAndWrongOnesAreRefused) {
  const test::TemporaryFolder folder;
  const std::string path = folder.path("a.skip");
  auto skip = skip_of(SkipRule::kRandom);
  skip->threshold = 0.75, skip->chance = 0.5, skip->probe = 7, skip->off[3] = 1;
  skip->similarity = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6};
  skip->curve = {{2, 0, 3.5}, {0.75, 0.25, 3.6}};
  skip->model = std::string(64, 'a');
  ASSERT_TRUE(skip->save(path));
  const auto back = FeedForwardSkip::load(path).value();
  EXPECT_EQ(back->rule, SkipRule::kRandom);
  EXPECT_EQ(back->threshold, 0.75);
  EXPECT_EQ(back->chance, 0.5);
  EXPECT_EQ(back->probe, 7);
  EXPECT_EQ(back->warm_up, 3);
  EXPECT_EQ(back->cold, skip->cold);
  EXPECT_EQ(back->off, skip->off);
  EXPECT_EQ(back->model, skip->model);
  ASSERT_EQ(back->curve.size(), 2u);
  EXPECT_EQ(back->curve[1].share, 0.25);
  EXPECT_EQ(Engine::create(make_tiny_model({.layers = 5}), {.ffn_skip = skip}).error().code,
            ErrorCode::kInvalidArgument);
  std::ifstream in(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), {});
  std::mt19937 random(3);
  for (int i = 0; i < 300; ++i) {
    std::string changed = bytes.substr(0, i % 3 == 0 ? random() % bytes.size() : bytes.size());
    for (int k = 0; k < 3 && !changed.empty(); ++k) changed[random() % changed.size()] = static_cast<char>(random());
    std::ofstream(path, std::ios::binary | std::ios::trunc) << changed;
    if (const auto loaded = FeedForwardSkip::load(path)) (void)(*loaded)->check(6);
  }
}

}  // namespace
}  // namespace kinglet
