// Policies that forget: which slots stay, and that engines under them compute what they should.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "engine/cache/sequence_cache.h"
#include "engine/tiny_model_helper.h"
#include "kinglet/cache_policy.h"

namespace kinglet {
namespace {

using test::make_tiny_model;
using test::TinyModelOptions;

/// What each layer holds, one token fed after another, as steps 3 and 4 of the paper's rule say: by copying.
struct PaperLadder {
  int layers, a, b, g;
  std::int64_t tail, capacity, sinks, cursor;
  std::vector<std::vector<int>> held;

  PaperLadder(int layers, int size, int sinks, int span, int overlap, int recent)
      : layers(layers), tail(std::max(layers, recent)), sinks(sinks), cursor(sinks) {
    b = 1 + (layers - span + span - overlap - 1) / (span - overlap);
    a = std::min((span + span - overlap - 1) / (span - overlap), b);
    g = b - a;
    capacity = size + g / 2;
    held.resize(static_cast<std::size_t>(layers));
  }
  void feed(int token) {
    for (auto& layer : held) layer.push_back(token);
    const std::int64_t n = std::ssize(held[0]);
    if (n <= capacity) return;
    const std::int64_t m = (n - capacity + g - 1) / g;
    if ((capacity - cursor - tail) / a < m) cursor = sinks;
    for (int i = 0; i < layers; ++i) {
      auto& layer = held[static_cast<std::size_t>(i)];
      std::vector<int> kept(layer.begin(), layer.begin() + cursor);
      for (std::int64_t j = 0; j < m; ++j)
        for (int k = 0; k < a; ++k) kept.push_back(layer[static_cast<std::size_t>(cursor + b * j + i % (g + 1) + k)]);
      kept.insert(kept.end(), layer.begin() + cursor + m * b, layer.end());
      layer = kept;
    }
    cursor += m * a;
  }
};

TEST(CachePolicy, TheLadderKeepsWhatThePaperSays) {
  const struct {
    int layers, size, span, overlap, recent;
  } cases[] = {{12, 64, 3, 1, 0},   {12, 100, 6, 0, 0}, {30, 128, 8, 4, 0},   {30, 128, 15, 0, 0},
               {32, 200, 16, 0, 0}, {30, 256, 8, 4, 0}, {30, 256, 8, 4, 128}, {12, 100, 6, 0, 40}};
  for (const auto& c : cases) {
    PaperLadder paper(c.layers, c.size, 4, c.span, c.overlap, c.recent);
    const auto policy =
        make_cache_policy("ladder:sinks=4,batch=1,size=" + std::to_string(c.size) + ",span=" + std::to_string(c.span) +
                              ",overlap=" + std::to_string(c.overlap) + ",recent=" + std::to_string(c.recent),
                          c.layers)
            .value();
    ASSERT_EQ(policy->capacity(), paper.capacity);
    std::vector<std::vector<int>> held(static_cast<std::size_t>(c.layers));
    std::vector<std::int64_t> cursors(held.size(), 0);
    for (int token = 0; token < 3000; ++token) {
      paper.feed(token);
      for (std::size_t i = 0; i < held.size(); ++i) {
        held[i].push_back(token);
        if (std::ssize(held[i]) <= policy->capacity()) continue;
        std::vector<std::int64_t> kept;
        const std::int64_t begin = policy->choose(static_cast<int>(i), std::ssize(held[i]), cursors[i], kept);
        std::vector<int> next(held[i].begin(), held[i].begin() + begin);
        for (const std::int64_t slot : kept) next.push_back(held[i][static_cast<std::size_t>(slot)]);
        held[i] = next;
      }
      ASSERT_EQ(held, paper.held) << "token " << token << " layers " << c.layers << " size " << c.size;
      ASSERT_LE(std::ssize(held[0]), policy->capacity());
    }
    for (const auto& layer : held) {
      EXPECT_TRUE(std::ranges::is_sorted(layer));
      EXPECT_EQ(layer.size(), held[0].size());
      EXPECT_EQ(layer[3], 3) << "sinks stay";
      for (int i = 0; i < paper.tail - paper.g + 1; ++i)
        EXPECT_EQ(layer[layer.size() - 1 - static_cast<std::size_t>(i)], 2999 - i) << "the latest stay";
    }
  }
}

TEST(CachePolicy, AnyChunkLeavesAllLayersEqualAndWithinTheSize) {
  for (const char* text :
       {"ladder:size=128", "ladder:size=128,batch=1", "sink:size=128", "sink:size=64,sinks=0,batch=1"}) {
    const auto policy = make_cache_policy(text, 30).value();
    std::vector<std::int64_t> cursors(30, 0);
    std::vector<std::int64_t> slots(30, 0);
    std::mt19937 random(1);
    for (int call = 0; call < 200; ++call) {
      const int rows = 1 + static_cast<int>(random() % (call % 5 == 0 ? 2000 : 30));
      for (std::size_t i = 0; i < 30; ++i) {
        slots[i] += rows;
        if (slots[i] <= policy->capacity()) continue;
        std::vector<std::int64_t> kept;
        const std::int64_t begin = policy->choose(static_cast<int>(i), slots[i], cursors[i], kept);
        ASSERT_TRUE(std::ranges::is_sorted(kept));
        ASSERT_TRUE(std::ranges::adjacent_find(kept) == kept.end());
        ASSERT_TRUE(kept.empty() || (kept.front() >= begin && kept.back() == slots[i] - 1)) << text;
        slots[i] = begin + std::ssize(kept);
        ASSERT_LE(slots[i], policy->capacity()) << text;
        ASSERT_EQ(slots[i], slots[0]) << text;
      }
    }
  }
}

TEST(CachePolicy, WrongOnesAreRefusedByName) {
  const char* wrong[] = {"",
                         "windw",
                         "sink:size",
                         "sink:size=",
                         "sink:size=abc",
                         "sink:size=1e3",
                         "sink:depth=3",
                         "sink:size=-5",
                         "full:size=9",
                         "ladder:span=30",
                         "ladder:span=4,overlap=4",
                         "sink:size=32,sinks=30",
                         "ladder:size=32",
                         "sink:size=99999999999999999999"};
  for (const char* text : wrong) {
    const auto policy = make_cache_policy(text, 30);
    ASSERT_FALSE(policy) << text;
    EXPECT_EQ(policy.error().code, ErrorCode::kInvalidArgument) << text;
    EXPECT_FALSE(policy.error().message.empty());
  }
  EXPECT_FALSE(make_cache_policy("ladder", 1)) << "one layer has no ladder";
  EXPECT_EQ(make_cache_policy("full", 30).value(), nullptr);
}

struct Fed {
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Sequence> sequence;
  std::int32_t position = 0;

  Fed(std::shared_ptr<const Model> model, const std::string& policy, CacheType cache = CacheType::kF32)
      : engine(Engine::create(std::move(model), {.cache = cache, .max_rows = 64, .cache_policy = policy}).value()),
        sequence(engine->new_sequence().value()) {}
  /// Logits of the last of `count` tokens.
  std::vector<float> feed(int count) {
    std::vector<TokenId> ids;
    for (int i = 0; i < count; ++i) ids.push_back((position + i) * 37 % 100);
    std::vector<float> logits(100);
    EXPECT_TRUE(prefill(*engine, *sequence, ids, 0, logits.data()));
    position += count;
    return logits;
  }
};

TEST(CachePolicy, UntilItIsFullNothingChanges) {
  for (const char* architecture : {"llama", "qwen2", "gemma3"})
    for (const char* policy : {"sink:size=96", "ladder:size=96,span=2,overlap=1,batch=16"}) {
      TinyModelOptions options{.architecture = architecture, .layers = 6};
      if (options.architecture == "gemma3") options.window = 20;
      if (options.architecture == "gemma3" && std::string_view(policy).starts_with("ladder")) continue;
      const auto model = make_tiny_model(options, 2);
      Fed full(model, "full"), other(model, policy);
      for (int count : {1, 30, 1, 1, 40, 20, 1})
        EXPECT_EQ(full.feed(count), other.feed(count)) << architecture << policy;
      full.feed(100), other.feed(100);
      EXPECT_NE(full.feed(1), other.feed(1)) << "and then it does";
    }
}

TEST(CachePolicy, MemoryIsConstantAndNumbersStayFinite) {
  const auto model = make_tiny_model({.layers = 6, .context = 256}, 2);
  for (const char* policy : {"sink:size=64", "ladder:size=96,span=2,overlap=1,batch=16"})
    for (CacheType type : {CacheType::kF16, CacheType::kInt4}) {
      Fed fed(model, policy, type);
      fed.feed(300);
      const std::uint64_t bytes = fed.sequence->bytes();
      for (int i = 0; i < 300; ++i)
        for (float value : fed.feed(i % 30 == 0 ? 25 : 1)) ASSERT_TRUE(std::isfinite(value));
      EXPECT_LE(fed.sequence->bytes(), bytes) << policy;
      EXPECT_GT(fed.sequence->length(), 600);
    }
}

TEST(CachePolicy, ForksSnapshotsAndRollbacksGoOnAlike) {
  for (const char* architecture : {"llama", "gemma3"})
    for (const char* policy : {"sink:size=64,sinks=3,batch=5", "ladder:size=96,span=2,overlap=1,batch=16"}) {
      TinyModelOptions options{.architecture = architecture, .layers = 6};
      if (options.architecture == "gemma3") options.window = 20;
      if (options.architecture == "gemma3" && std::string_view(policy).starts_with("ladder")) continue;
      const auto model = make_tiny_model(options, 2);
      Fed plain(model, policy), other(model, policy), restored(model, policy);
      plain.feed(200), other.feed(200);
      ASSERT_TRUE(restored.sequence->restore(other.sequence->snapshot().value()));
      restored.position = 200;
      auto fork = other.sequence->fork().value();
      const auto wanted = plain.feed(1);
      EXPECT_EQ(restored.feed(1), wanted);
      // Drafts that are refused, in each call: the sequence goes on as if they had never been.
      other.feed(1);
      for (int i = 0; i < 40; ++i) {
        const std::int64_t length = other.sequence->length();
        other.feed(6);
        ASSERT_TRUE(other.sequence->truncate(length + 1));
        other.position = static_cast<std::int32_t>(length) + 1;
        plain.feed(1);
      }
      EXPECT_EQ(other.feed(1), plain.feed(1)) << policy;
      other.sequence = std::move(fork);
      other.position = 200;
      EXPECT_EQ(other.feed(1), wanted);
      EXPECT_EQ(other.sequence->truncate(20).error().code, ErrorCode::kUnsupported);
      EXPECT_TRUE(other.sequence->truncate(0));
      other.position = 0;
      Fed fresh(model, policy);
      EXPECT_EQ(other.feed(150), fresh.feed(150));
      Fed full(model, "full");
      EXPECT_EQ(full.sequence->restore(plain.sequence->snapshot().value()).error().code, ErrorCode::kUnsupported);
    }
}

TEST(CachePolicy, ATreeGivesTheBitsOfPlainDecoding) {
  const auto model = make_tiny_model({.layers = 6}, 2);
  for (CacheType type : {CacheType::kF16, CacheType::kInt4})
    for (const char* policy : {"sink:size=64", "ladder:size=96,span=2,overlap=1,batch=16"}) {
      Fed plain(model, policy, type), tree(model, policy, type);
      // Drafts move the moment at which slots are dropped: this is about the calls between two such moments.
      const auto slots = [&] { return dynamic_cast<SequenceCache&>(*plain.sequence).slots(0); };
      for (int count : {149, 1, 1}) plain.feed(count), tree.feed(count);
      for (std::int64_t before = 0; slots() + 8 > before;) before = slots(), plain.feed(1), tree.feed(1);
      const int base = plain.position;
      const auto at = [](int position) { return position * 37 % 100; };
      Sequence* sequence = tree.sequence.get();
      const std::vector<Row> rows = {
          {sequence, base, -1}, {sequence, base + 1, 0}, {sequence, base + 1, 0}, {sequence, base + 2, 2}};
      const std::vector<TokenId> ids = {at(base), 3, at(base + 1), at(base + 2)};
      const std::vector<std::int32_t> wanted = {0, 2, 3};
      std::vector<float> logits(300);
      ASSERT_TRUE(tree.engine->step(rows, ids, wanted, logits.data()));
      for (std::size_t i = 0; i < 3; ++i)
        EXPECT_EQ(plain.feed(1), std::vector<float>(logits.begin() + static_cast<long>(100 * i),
                                                    logits.begin() + static_cast<long>(100 * i + 100)))
            << policy << i;
      ASSERT_TRUE(sequence->keep_path(base, std::vector<std::int32_t>{0, 2, 3}));
      tree.position = base + 3;
      for (int i = 0; i < 30; ++i) ASSERT_EQ(plain.feed(1), tree.feed(1)) << policy;
    }
}

TEST(CachePolicy, ModelsWithoutRotaryPositionsHaveNone) {
  const auto model = make_tiny_model({.architecture = "bert", .kv_heads = 6, .context = 64}, 1);
  EXPECT_EQ(Engine::create(model, {.cache_policy = "sink"}).error().code, ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace kinglet
