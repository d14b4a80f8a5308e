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

#include "engine/tiny_model_helper.h"
#include "kinglet/convert.h"
#include "temporary_folder.h"

namespace {
std::atomic<long> allocations{0};
}

// Counts every allocation of the process, so that a test can assert that a step makes none.
void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace kinglet {
namespace {

void expect_no_allocations(std::shared_ptr<const Model> model) {
  auto engine = Engine::create(std::move(model)).value();
  auto sequence = engine->new_sequence().value();
  std::vector<float> logits(100);
  ASSERT_TRUE(prefill(*engine, *sequence, std::vector<TokenId>(10, 5), 0, logits.data()));
  const std::int32_t wanted = 0;
  const auto step = [&](int position) {
    const Row row{sequence.get(), position};
    const TokenId id = TokenId(position);
    return engine->step({&row, 1}, {&id, 1}, {&wanted, 1}, logits.data()).has_value();
  };
  ASSERT_TRUE(step(10));
  const long before = allocations;
  for (int position = 11; position < 60; ++position) ASSERT_TRUE(step(position));
  EXPECT_EQ(allocations - before, 0);
}

TEST(Engine, ADecodeStepAllocatesNothing) { expect_no_allocations(test::make_tiny_model({}, 2)); }

TEST(Engine, NorDoesOneThatDecodesItsMatrices) {
  test::TemporaryFolder folder;
  ConvertOptions options;
  options.lossless = true;
  ASSERT_TRUE(convert_checkpoint(*test::make_tiny_checkpoint({.type = "BF16"}), folder.path("m.gguf"), options));
  const LoadOptions load{.threads = 2, .with_tokenizer = false, .keep_coded = true};
  expect_no_allocations(Model::load(folder.path("m.gguf"), load).value());
}

}  // namespace
}  // namespace kinglet
#endif
