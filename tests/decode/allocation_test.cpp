// A program counts its allocations by defining operator new, which ThreadSanitizer's runtime does too.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KINGLET_TEST_COUNTS_ALLOCATIONS 0
#endif
#endif
#ifndef KINGLET_TEST_COUNTS_ALLOCATIONS
#define KINGLET_TEST_COUNTS_ALLOCATIONS 1
#endif

#if KINGLET_TEST_COUNTS_ALLOCATIONS
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "decode/fake_engine.h"
#include "decode/loop.h"
#include "engine/tiny_model_helper.h"

namespace {
std::atomic<long> allocations{0};

void* counted(void* memory) {
  ++allocations;
  if (memory) return memory;
  throw std::bad_alloc();
}
}  // namespace

// Counts every allocation of the process, so that a test can assert that a token costs none.
void* operator new(std::size_t size) { return counted(std::malloc(size)); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  const auto unit = static_cast<std::size_t>(alignment);
  return counted(std::aligned_alloc(unit, (size + unit - 1) / unit * unit));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

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
      if (i == 0 && before < 0 && shown >= kWarmUp) before = allocations;
      if (i == 0 && after < 0 && shown >= kWarmUp + kCounted) after = allocations;
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
