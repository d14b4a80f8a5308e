// Prompts whose tokens are left out on the way up, and called back.
#include "kinglet/token_pruning.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <set>

#include "engine/cache/sequence_cache.h"
#include "engine/tiny_model_helper.h"

namespace kinglet {
namespace {

using test::make_tiny_model;

constexpr int kLayers = 6;

struct Fed {
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Sequence> sequence;
  std::int32_t position = 0;

  Fed(std::shared_ptr<const Model> model, const std::string& rates)
      : engine(Engine::create(std::move(model), {.cache = CacheType::kF32, .lazy_prefill = rates}).value()),
        sequence(engine->new_sequence().value()) {}
  SequenceCache& cache() const { return dynamic_cast<SequenceCache&>(*sequence); }
  std::vector<float> feed(int count) {
    std::vector<TokenId> ids;
    for (int i = 0; i < count; ++i) ids.push_back((position + i) * 37 % 100);
    std::vector<float> logits(100);
    EXPECT_TRUE(prefill(*engine, *sequence, ids, 0, logits.data()));
    position += count;
    return logits;
  }
};

std::shared_ptr<const Model> model() { return make_tiny_model({.layers = kLayers}, 2); }

TEST(TokenPruning, RatesOfZeroChangeNoBit) {
  const auto shared = model();
  Fed plain(shared, ""), lazy(shared, "0,0,0");
  for (int count : {150, 1, 1, 5, 1}) EXPECT_EQ(plain.feed(count), lazy.feed(count));
}

TEST(TokenPruning, LaterLayersHoldFewerTokensAndEachOnce) {
  const auto shared = model();
  Fed lazy(shared, "0.3,0.3,0.3@2,3,5");
  lazy.feed(200);
  EXPECT_EQ(lazy.sequence->length(), 200);
  const std::int64_t wanted[kLayers] = {200, 200, 140, 98, 98, 69};
  for (int layer = 0; layer < kLayers; ++layer) EXPECT_EQ(lazy.cache().slots(layer), wanted[layer]) << layer;
  for (int i = 0; i < 40; ++i)
    for (float value : lazy.feed(1)) ASSERT_TRUE(std::isfinite(value));
  bool revived = false;
  for (int layer = 0; layer < kLayers; ++layer) {
    std::set<std::int64_t> seen;
    for (std::int64_t slot = 0; slot < lazy.cache().slots(layer); ++slot)
      EXPECT_TRUE(seen.insert(lazy.cache().positions(layer)[slot]).second) << "computed twice in layer " << layer;
    EXPECT_LE(lazy.cache().slots(layer), 240);
    EXPECT_TRUE(seen.contains(199)) << "the last token goes through";
    revived |= lazy.cache().slots(layer) > wanted[layer] + 40;
  }
  EXPECT_TRUE(revived);
}

TEST(TokenPruning, WhatIsCalledBackGoesOnWhereItStopped) {
  const auto shared = model();
  Fed plain(shared, ""), lazy(shared, "0.5@3");
  for (int count : {120, 1, 1, 1, 1, 1, 1}) plain.feed(count), lazy.feed(count);
  // Layer 3 is the first that a token may miss. Its keys of the prompt are those of the plain pass, whenever they came.
  const auto key = [](const SequenceCache& cache, std::int64_t slot) {
    std::vector<float> x;
    for (int d = 0; d < 32; ++d) {
      float value = 0;
      std::memcpy(&value, cache.key_group(3, 1, slot / 16) + 4 * (d * 16 + slot % 16), 4);
      x.push_back(value);
    }
    return x;
  };
  const PositionMap& positions = lazy.cache().positions(3);
  EXPECT_GT(positions.slots(), 67) << "some were called back";
  for (std::int64_t slot = 0; slot < positions.slots(); ++slot)
    if (positions[slot] < 120) {
      const auto a = key(lazy.cache(), slot), b = key(plain.cache(), positions[slot]);
      for (std::size_t d = 0; d < a.size(); ++d) ASSERT_NEAR(a[d], b[d], 1e-4) << "position " << positions[slot];
    }
}

TEST(TokenPruning, ShortPromptsAreReadWhole) {
  const auto shared = model();
  Fed plain(shared, ""), lazy(shared, "0.5@2");
  EXPECT_EQ(plain.feed(63), lazy.feed(63));
  EXPECT_EQ(lazy.cache().slots(5), 63);
}

TEST(TokenPruning, SequencesOfOneCallDoNotMeetAndForksGoOnAlike) {
  const auto shared = model();
  Fed alone(shared, "0.4@3"), both(shared, "0.4@3");
  auto second = both.engine->new_sequence().value();
  std::vector<Row> rows;
  std::vector<TokenId> ids;
  // Chains that name their parents, as the generation loop gives them.
  for (int i = 0; i < 100; ++i) {
    const auto at = static_cast<std::int32_t>(rows.size());
    rows.push_back({both.sequence.get(), i, i == 0 ? -1 : i < 81 ? at - 2 : at - 1}), ids.push_back(i * 37 % 100);
    if (i < 80) rows.push_back({second.get(), i, i == 0 ? -1 : at - 1}), ids.push_back(i * 11 % 100);
  }
  std::vector<float> logits(100);
  const std::int32_t wanted = 179;
  std::vector<std::int32_t> last = {wanted};
  ASSERT_TRUE(both.engine->step(rows, ids, last, logits.data()));
  both.position = 100;
  EXPECT_EQ(alone.feed(100), logits);
  auto fork = both.sequence->fork().value();
  const auto next = alone.feed(1);
  EXPECT_EQ(both.feed(1), next);
  both.sequence = std::move(fork);
  both.position = 100;
  EXPECT_EQ(both.feed(1), next);
  EXPECT_EQ(both.sequence->snapshot().error().code, ErrorCode::kUnsupported);
  ASSERT_TRUE(both.sequence->truncate(0));
  both.position = 0;
  EXPECT_EQ(both.feed(100), logits);
}

TEST(TokenPruning, WrongRatesAreRefused) {
  for (const char* text :
       {"", "x", "1", "-0.1", "0.3,", "0.3@", "0.3@0", "0.3@6", "0.3,0.3@3", "0.3,0.3@3,3", "0.3@3,4"})
    EXPECT_EQ(parse_token_pruning(text, kLayers).error().code, ErrorCode::kInvalidArgument) << text;
  const auto spread = parse_token_pruning("0.3,0.3,0.3:random", 30).value();
  EXPECT_TRUE(spread.random);
  EXPECT_EQ(spread.stages[0].layer, 15);
  EXPECT_EQ(spread.stages[2].layer, 27);
  const auto shared = model();
  EXPECT_EQ(Engine::create(shared, {.cache_policy = "sink", .lazy_prefill = "0.3@3"}).error().code,
            ErrorCode::kUnsupported);
  EXPECT_EQ(
      Engine::create(make_tiny_model({.architecture = "gemma3", .layers = 6, .window = 20}), {.lazy_prefill = "0.3@3"})
          .error()
          .code,
      ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace kinglet
