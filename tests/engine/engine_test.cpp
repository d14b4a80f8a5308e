#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

#include "engine/tiny_model_helper.h"

namespace kinglet {
namespace {

using test::make_tiny_model;
using test::TinyModelOptions;

std::vector<TokenId> random_ids(std::size_t count, int vocabulary, std::uint64_t seed = 7) {
  std::mt19937_64 random(seed);
  std::vector<TokenId> ids(count);
  for (TokenId& id : ids) id = TokenId(random() % std::uint64_t(vocabulary));
  return ids;
}

std::unique_ptr<Engine> make_engine(std::shared_ptr<const Model> model, EngineOptions options = {}) {
  auto engine = Engine::create(std::move(model), options);
  EXPECT_TRUE(engine) << engine.error().text();
  return engine ? std::move(*engine) : nullptr;
}

/// Logits of every position, the ids fed in chunks.
std::vector<float> all_logits(Engine& engine, const std::vector<TokenId>& ids, std::size_t chunk) {
  auto sequence = engine.new_sequence().value();
  const std::size_t vocabulary = std::size_t(engine.model().config().vocabulary);
  std::vector<float> logits(ids.size() * vocabulary);
  for (std::size_t begin = 0; begin < ids.size(); begin += chunk) {
    std::vector<Row> rows;
    std::vector<std::int32_t> wanted;
    const std::size_t end = std::min(ids.size(), begin + chunk);
    for (std::size_t i = begin; i < end; ++i) {
      rows.push_back({sequence.get(), std::int32_t(i)});
      wanted.push_back(std::int32_t(i - begin));
    }
    const auto done =
        engine.step(rows, std::span(ids).subspan(begin, end - begin), wanted, logits.data() + begin * vocabulary);
    EXPECT_TRUE(done) << done.error().text();
  }
  return logits;
}

class EveryArchitecture : public testing::TestWithParam<const char*> {
 protected:
  TinyModelOptions options() const {
    TinyModelOptions options{.architecture = GetParam()};
    if (options.architecture.starts_with("gemma")) options.window = 20;
    return options;
  }
};

TEST_P(EveryArchitecture, GivesTheSameBitsForAnyChunksAndThreads) {
  const std::vector<TokenId> ids = random_ids(300, 100);
  auto reference_engine = make_engine(make_tiny_model(options(), 1));
  const std::vector<float> reference = all_logits(*reference_engine, ids, 300);
  for (float value : reference) ASSERT_TRUE(std::isfinite(value));
  for (int threads : {1, 2, 4}) {
    auto engine = make_engine(make_tiny_model(options(), threads));
    for (std::size_t chunk : {1u, 3u, 64u}) {
      ASSERT_EQ(all_logits(*engine, ids, chunk), reference) << threads << " threads, chunks of " << chunk;
    }
  }
}

TEST_P(EveryArchitecture, GivesTheSameBitsAloneAndInABatch) {
  auto engine = make_engine(make_tiny_model(options(), 2));
  const std::size_t vocabulary = 100;
  std::vector<std::vector<TokenId>> ids;
  std::vector<std::vector<float>> alone;
  std::vector<std::unique_ptr<Sequence>> sequences;
  for (int i = 0; i < 7; ++i) {
    ids.push_back(random_ids(20, 100, std::uint64_t(i)));
    alone.push_back(all_logits(*engine, ids.back(), 20));
    sequences.push_back(engine->new_sequence().value());
  }
  for (int step = 0; step < 20; ++step) {
    std::vector<Row> rows;
    std::vector<TokenId> tokens;
    std::vector<std::int32_t> wanted;
    for (std::size_t i = 0; i < 7; ++i) {
      rows.push_back({sequences[i].get(), step});
      tokens.push_back(ids[i][std::size_t(step)]);
      wanted.push_back(std::int32_t(i));
    }
    std::vector<float> logits(7 * vocabulary);
    ASSERT_TRUE(engine->step(rows, tokens, wanted, logits.data()));
    for (std::size_t i = 0; i < 7; ++i) {
      for (std::size_t k = 0; k < vocabulary; ++k) {
        ASSERT_EQ(logits[i * vocabulary + k], alone[i][std::size_t(step) * vocabulary + k]);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Decoders, EveryArchitecture, testing::Values("llama", "qwen2", "qwen3", "gemma2", "gemma3"));

TEST(Engine, VerifiesATreeWithTheBitsOfPlainDecoding) {
  auto engine = make_engine(make_tiny_model({}, 2));
  const std::vector<TokenId> prompt = random_ids(37, 100);
  const std::vector<TokenId> path = {5, 9, 14}, other = {7, 2};
  std::vector<TokenId> whole = prompt;
  whole.insert(whole.end(), path.begin(), path.end());
  const std::vector<float> plain = all_logits(*engine, whole, 1);

  auto sequence = engine->new_sequence().value();
  std::vector<float> logits(6 * 100);
  ASSERT_TRUE(prefill(*engine, *sequence, prompt, 0, logits.data()));
  // 7 -> 2 is one branch, 5 -> 9 -> 14 the other; the rows are mixed.
  const std::vector<TokenId> tokens = {7, 5, 2, 9, 14};
  const std::vector<Row> rows = {{sequence.get(), 37, -1},
                                 {sequence.get(), 37, -1},
                                 {sequence.get(), 38, 0},
                                 {sequence.get(), 38, 1},
                                 {sequence.get(), 39, 3}};
  const std::vector<std::int32_t> wanted = {0, 1, 2, 3, 4};
  ASSERT_TRUE(engine->step(rows, tokens, wanted, logits.data()));
  const int place[] = {1, 3, 4};
  for (std::size_t depth = 0; depth < 3; ++depth) {
    for (std::size_t k = 0; k < 100; ++k) {
      ASSERT_EQ(logits[std::size_t(place[depth]) * 100 + k], plain[(37 + depth) * 100 + k]) << "depth " << depth;
    }
  }
  const std::vector<std::int32_t> kept = {1, 3, 4};
  ASSERT_TRUE(sequence->keep_path(37, kept));
  ASSERT_EQ(sequence->length(), 40);
  const TokenId next = 33;
  const Row row{sequence.get(), 40};
  const std::int32_t first = 0;
  ASSERT_TRUE(engine->step({&row, 1}, {&next, 1}, {&first, 1}, logits.data()));
  whole.push_back(next);
  const std::vector<float> longer = all_logits(*engine, whole, 1);
  for (std::size_t k = 0; k < 100; ++k) ASSERT_EQ(logits[k], longer[40 * 100 + k]);
}

TEST(Engine, MasksTheHeadToTheAllowedTokens) {
  auto engine = make_engine(make_tiny_model({}, 2));
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> hidden(9 * 96);
  for (float& value : hidden) value = normal(random);
  std::vector<float> all(9 * 100), some(9 * 4);
  const std::vector<TokenId> allowed = {0, 17, 18, 99};
  ASSERT_TRUE(engine->head(hidden.data(), 9, {}, all.data()));
  ASSERT_TRUE(engine->head(hidden.data(), 9, allowed, some.data()));
  for (std::size_t row = 0; row < 9; ++row) {
    for (std::size_t k = 0; k < 4; ++k) EXPECT_EQ(some[row * 4 + k], all[row * 100 + std::size_t(allowed[k])]);
  }
}

TEST(Engine, NamesTheTokenOfTheLargestLogit) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> hidden(17 * 96), logits(17 * 100);
  for (float& value : hidden) value = normal(random);
  std::fill_n(hidden.begin() + 2 * 96, 96, std::numeric_limits<float>::quiet_NaN());
  for (const char* architecture : {"llama", "gemma2"}) {  // gemma2 caps its logits
    for (int threads : {1, 2, 4}) {
      auto engine = make_engine(make_tiny_model({.architecture = architecture}, threads));
      for (int rows : {1, 2, 9, 16}) {
        ASSERT_TRUE(engine->head(hidden.data(), rows, {}, logits.data()));
        ASSERT_EQ(engine->best().size(), std::size_t(rows));
        for (std::size_t row = 0; row < std::size_t(rows); ++row) {
          const auto begin = logits.begin() + std::ptrdiff_t(row * 100);
          const auto expected = row == 2 ? -1 : TokenId(std::max_element(begin, begin + 100) - begin);
          EXPECT_EQ(engine->best()[row], expected) << architecture << ", row " << row << " of " << rows;
        }
      }
      const std::vector<TokenId> allowed = {3, 50};
      ASSERT_TRUE(engine->head(hidden.data(), 2, allowed, logits.data()));
      EXPECT_TRUE(engine->best().empty());
      ASSERT_TRUE(engine->head(hidden.data(), 17, {}, logits.data()));
      EXPECT_TRUE(engine->best().empty());
    }
  }
}

TEST(Engine, NamesTheBestTokensOfTheRowsThatAStepWants) {
  auto engine = make_engine(make_tiny_model({}, 2));
  auto sequence = engine->new_sequence().value();
  const std::vector<TokenId> ids = random_ids(5, 100);
  std::vector<Row> rows;
  for (int i = 0; i < 5; ++i) rows.push_back({sequence.get(), i});
  std::vector<float> logits(2 * 100);
  const std::vector<std::int32_t> wanted = {1, 4};
  ASSERT_TRUE(engine->step(rows, ids, wanted, logits.data()));
  ASSERT_EQ(engine->best().size(), 2u);
  for (std::size_t row = 0; row < 2; ++row)
    EXPECT_EQ(engine->best()[row], std::max_element(&logits[row * 100], &logits[row * 100] + 100) - &logits[row * 100]);
  ASSERT_TRUE(sequence->truncate(4));
  ASSERT_TRUE(engine->step(std::span(rows).last(1), std::span(ids).last(1), {}, logits.data()));
  EXPECT_TRUE(engine->best().empty());
}

TEST(Engine, RunsLayersInPartsAsInOne) {
  auto engine = make_engine(make_tiny_model({}, 2));
  const std::vector<TokenId> ids = random_ids(10, 100);
  std::vector<float> whole(10 * 96), parts(10 * 96);
  for (auto* hidden : {&whole, &parts}) ASSERT_TRUE(engine->embed(ids, {}, hidden->data()));
  auto one = engine->new_sequence().value(), two = engine->new_sequence().value();
  std::vector<Row> rows_one, rows_two;
  for (int i = 0; i < 10; ++i) rows_one.push_back({one.get(), i}), rows_two.push_back({two.get(), i});
  ASSERT_TRUE(engine->forward({.rows = rows_one, .hidden = whole.data()}));
  ASSERT_TRUE(engine->forward({.rows = rows_two, .hidden = parts.data(), .layer_begin = 0, .layer_end = 2}));
  ASSERT_TRUE(engine->forward({.rows = rows_two, .hidden = parts.data(), .layer_begin = 2, .layer_end = 3}));
  EXPECT_EQ(whole, parts);
}

TEST(Engine, HooksSeeRowsAndSkipFeedForwards) {
  auto engine = make_engine(make_tiny_model({}, 2));
  const std::vector<TokenId> ids = random_ids(6, 100);
  const auto run = [&](const ForwardHooks* hooks) {
    std::vector<float> hidden(6 * 96);
    EXPECT_TRUE(engine->embed(ids, {}, hidden.data()));
    auto sequence = engine->new_sequence().value();
    std::vector<Row> rows;
    for (int i = 0; i < 6; ++i) rows.push_back({sequence.get(), i});
    EXPECT_TRUE(engine->forward({.rows = rows, .hidden = hidden.data(), .hooks = hooks}));
    return hidden;
  };
  const std::vector<float> plain = run(nullptr);
  int layers_seen = 0;
  double weight_sum = 0;
  ForwardHooks all;
  all.after_layer = [&](int, std::span<float>) { ++layers_seen; };
  all.feed_forward = [](int, std::span<const float>, std::span<std::uint8_t>) {};
  all.attention = [&](int, int, std::span<const float> weights) {
    for (float weight : weights) weight_sum += double(weight);
  };
  EXPECT_EQ(run(&all), plain);
  EXPECT_EQ(layers_seen, 3);
  EXPECT_NEAR(weight_sum, 3 * 6, 1e-3);  // one softmax for each of 3 layers and 6 heads

  ForwardHooks skip;
  skip.feed_forward = [](int layer, std::span<const float>, std::span<std::uint8_t> run) {
    if (layer == 2) run[1] = run[4] = 0;
  };
  const std::vector<float> skipped = run(&skip);
  for (std::size_t row = 0; row < 6; ++row) {
    const bool equal = std::equal(plain.begin() + long(row) * 96, plain.begin() + long(row + 1) * 96,
                                  skipped.begin() + long(row) * 96);
    EXPECT_EQ(equal, row != 1 && row != 4) << row;
  }
}

TEST(Engine, ForksShareAndDiverge) {
  auto engine = make_engine(make_tiny_model({}, 2));
  const std::vector<TokenId> prompt = random_ids(300, 100);
  auto first = engine->new_sequence().value();
  std::vector<float> logits(100), again(100);
  ASSERT_TRUE(prefill(*engine, *first, prompt, 0, logits.data()));
  auto second = first->fork().value();
  const TokenId a = 3, b = 60;
  ASSERT_TRUE(prefill(*engine, *first, {&a, 1}, 0, logits.data()));
  ASSERT_TRUE(prefill(*engine, *second, {&b, 1}, 0, again.data()));
  EXPECT_NE(logits, again);
  ASSERT_TRUE(second->truncate(300));
  ASSERT_TRUE(prefill(*engine, *second, {&a, 1}, 0, again.data()));
  EXPECT_EQ(logits, again);
}

TEST(Engine, RefusesWhatIsOutOfRange) {
  auto engine = make_engine(make_tiny_model({}, 1), {.context = 16, .max_rows = 8});
  auto sequence = engine->new_sequence().value();
  std::vector<float> logits(100);
  const TokenId bad = 100;
  EXPECT_EQ(prefill(*engine, *sequence, {&bad, 1}, 0, logits.data()).error().code, ErrorCode::kInvalidArgument);
  const std::vector<TokenId> ids = random_ids(17, 100);
  EXPECT_EQ(prefill(*engine, *sequence, ids, 0, logits.data()).error().code, ErrorCode::kExhausted);
}

TEST(Engine, AnEncoderSeesBothWays) {
  auto engine = make_engine(make_tiny_model({.architecture = "bert", .kv_heads = 6, .context = 64}, 2));
  std::vector<TokenId> ids = random_ids(12, 100);
  const auto first_row = [&] {
    std::vector<float> hidden(12 * 96);
    std::vector<std::int32_t> positions;
    std::vector<Row> rows;
    auto sequence = engine->new_sequence().value();
    for (int i = 0; i < 12; ++i) positions.push_back(i), rows.push_back({sequence.get(), i});
    EXPECT_TRUE(engine->embed(ids, positions, hidden.data()));
    EXPECT_TRUE(engine->forward({.rows = rows, .hidden = hidden.data()}));
    return std::vector<float>(hidden.begin(), hidden.begin() + 96);
  };
  const std::vector<float> before = first_row();
  ids.back() = (ids.back() + 1) % 100;
  EXPECT_NE(first_row(), before);
}

}  // namespace
}  // namespace kinglet
