#include "decode/counted_memory.h"

#if KINGLET_TEST_COUNTS_ALLOCATIONS
#include <gtest/gtest.h>

#include "decode/fake_engine.h"
#include "decode/loop.h"
#include "engine/tiny_model_helper.h"

namespace kinglet {
namespace {

constexpr int kVocabulary = 100;
// Tokens. All within the cache's first 256 positions: a page for each 256 is what a longer text does allocate.
constexpr int kWarmUp = 40, kCounted = 200;

// Allocations of the loop and the engine from the kWarmUp-th token of every stream on, for kCounted tokens more.
long allocations_of(const GenerateOptions& options, int streams) {
  auto engine = Engine::create(test::make_tiny_model({.vocabulary = kVocabulary}, 2)).value();
  const fake::FakeTokenizer tokenizer = fake::letters(kVocabulary);
  GenerationLoop loop(
      {.engine = engine.get(), .tokenizer = &tokenizer, .vocabulary = kVocabulary, .width = 96, .context = 1024},
      streams);
  long before = -1, after = -1;
  std::size_t shown = 0;
  for (int i = 0; i < streams; ++i) {
    GenerateRequest request;
    request.prompt = std::vector<TokenId>(static_cast<std::size_t>(5 + i), 7);
    request.options = options;
    request.options.max_tokens = kWarmUp + kCounted + 20;
    request.options.ignore_eos = true;
    request.options.stop = {"no such text"};
    request.on_text = [&, i](std::string_view text) {
      if (i == 0) shown += text.size();
      if (i == 0 && before < 0 && shown >= kWarmUp) before = test::allocations();
      if (i == 0 && after < 0 && shown >= kWarmUp + kCounted) after = test::allocations();
      return true;
    };
    loop.add(static_cast<std::size_t>(i), std::move(request));
  }
  while (!loop.idle()) {
    if (auto done = loop.step(); !done) {
      ADD_FAILURE() << done.error().text();
      return -1;
    }
  }
  EXPECT_GE(after, before);
  EXPECT_GT(before, 0);
  return after - before;
}

TEST(GenerationLoopMemory, AGreedyTokenAllocatesNothing) {
  EXPECT_EQ(allocations_of({}, 1), 0);
  EXPECT_EQ(allocations_of({}, 3), 0);
}

TEST(GenerationLoopMemory, ASampledTokenAllocatesNothing) {
  GenerateOptions options;
  options.seed = 3;
  options.logit_bias = {{5, -1.0f}};
  for (const SamplerValues& values :
       {SamplerValues{{"temperature", 0.8}, {"top-k", 20}, {"top-p", 0.9}, {"min-p", 0.01}},
        SamplerValues{{"temperature", 1.2}, {"typical", 0.9}},
        SamplerValues{{"temperature", 1.0}, {"repetition-penalty", 1.1}, {"frequency-penalty", 0.1}}}) {
    options.sampling = values;
    EXPECT_EQ(allocations_of(options, 1), 0);
    EXPECT_EQ(allocations_of(options, 3), 0);
  }
}

}  // namespace
}  // namespace kinglet
#endif
