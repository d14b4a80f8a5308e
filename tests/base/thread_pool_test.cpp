#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "base/aligned_memory.h"

namespace kinglet {
namespace {

TEST(ThreadPool, EveryThreadRunsTheBodyOnceARegion) {
  for (int threads : {1, 2, 3, 4, 9}) {
    ThreadPool pool(threads);
    ASSERT_EQ(pool.size(), threads);
    std::vector<int> calls(static_cast<std::size_t>(threads));
    for (int region = 0; region < 200; ++region)
      pool.run([&](int thread) { ++calls[static_cast<std::size_t>(thread)]; });
    for (int count : calls) EXPECT_EQ(count, 200);
  }
}

TEST(ThreadPool, TheCallerIsThreadZero) {
  ThreadPool pool(2);
  const std::thread::id caller = std::this_thread::get_id();
  std::thread::id zero, one;
  pool.run([&](int thread) { (thread == 0 ? zero : one) = std::this_thread::get_id(); });
  EXPECT_EQ(zero, caller);
  EXPECT_NE(one, caller);
}

TEST(ThreadPool, WritesBeforeABarrierAreSeenAfterIt) {
  for (int threads : {2, 4, 7}) {
    ThreadPool pool(threads);
    std::vector<std::int64_t> values(static_cast<std::size_t>(threads), 1);
    std::vector<std::int64_t> next(values.size());
    std::atomic<int> wrong = 0;
    // Each round, every thread sums all values of the round before: a barrier that leaks gives another number.
    pool.run([&](int thread) {
      std::int64_t expected = 1;
      for (int round = 0; round < 300; ++round) {
        std::int64_t sum = 0;
        for (std::int64_t value : values) sum += value;
        next[static_cast<std::size_t>(thread)] = sum % 1000003;
        pool.barrier();
        values[static_cast<std::size_t>(thread)] = next[static_cast<std::size_t>(thread)];
        expected = expected * threads % 1000003;
        if (values[static_cast<std::size_t>(thread)] != expected) ++wrong;
        pool.barrier();
      }
    });
    EXPECT_EQ(wrong, 0);
  }
}

TEST(ThreadPool, ANestedRegionRunsInline) {
  ThreadPool pool(3);
  std::atomic<int> calls = 0;
  pool.run([&](int) { pool.run([&](int) { ++calls; }); });
  EXPECT_EQ(calls, 9);
}

TEST(ThreadPool, RegionsOfSeveralCallersFollowOneAnother) {
  ThreadPool pool(2);
  std::atomic<int> inside = 0, overlaps = 0, calls = 0;
  const auto caller = [&] {
    for (int i = 0; i < 100; ++i) {
      pool.run([&](int) {
        if (++inside > 2) ++overlaps;
        ++calls;
        pool.barrier();
        --inside;
        pool.barrier();
      });
    }
  };
  std::thread first(caller), second(caller);
  first.join();
  second.join();
  EXPECT_EQ(overlaps, 0);
  EXPECT_EQ(calls, 400);
}

TEST(ThreadPool, WakesAfterItSlept) {
  ThreadPool pool(2);
  for (int i = 0; i < 3; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    std::atomic<int> calls = 0;
    pool.run([&](int thread) {
      if (thread == 0)
        std::this_thread::sleep_for(std::chrono::milliseconds(5));  // the other one sleeps at the barrier
      pool.barrier();
      ++calls;
    });
    EXPECT_EQ(calls, 2);
  }
}

TEST(ThreadPool, DefaultSizeIsTheUsableCores) {
  EXPECT_GE(usable_cores(), 1);
  EXPECT_EQ(ThreadPool(0).size(), usable_cores());
}

TEST(WorkShare, SharesCoverAllItemsInOrder) {
  for (std::int64_t count : {0, 1, 5, 16, 1000003}) {
    for (int threads : {1, 2, 3, 7}) {
      std::int64_t next = 0;
      for (int thread = 0; thread < threads; ++thread) {
        const WorkShare share = work_share(count, thread, threads);
        EXPECT_EQ(share.begin, next);
        EXPECT_LE(share.end - share.begin, count / threads + 1);
        next = share.end;
      }
      EXPECT_EQ(next, count);
    }
  }
}

TEST(AlignedMemory, IsAlignedZeroedAndMovable) {
  Result<AlignedMemory> memory = AlignedMemory::allocate(5'000'001);
  ASSERT_TRUE(memory);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory->data()) % AlignedMemory::kAlignment, 0u);
  EXPECT_EQ(memory->size(), 5'000'001u);
  EXPECT_EQ(memory->data()[5'000'000], std::byte{0});
  std::byte* data = memory->data();
  AlignedMemory moved = std::move(*memory);
  EXPECT_EQ(moved.data(), data);
  EXPECT_EQ(memory->data(), nullptr);
}

#ifdef __linux__
/// Pages of [begin, end) that cost memory.
std::size_t resident(std::byte* begin, std::byte* end) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> there((static_cast<std::size_t>(end - begin) + page - 1) / page);
  if (mincore(begin, static_cast<std::size_t>(end - begin), there.data()) != 0) return ~std::size_t{0};
  return static_cast<std::size_t>(std::ranges::count_if(there, [](unsigned char each) { return (each & 1) != 0; }));
}

TEST(AlignedMemory, WhatIsNotTouchedCostsNothing) {
  const AlignedMemory small = *AlignedMemory::allocate(4 << 20, Pages::kSmall);
  small.data()[3 << 20] = std::byte{1};
  EXPECT_EQ(resident(small.data(), small.data() + small.size()), 1u);
  // The last huge page would be two thirds empty.
  const AlignedMemory memory = *AlignedMemory::allocate(2 * AlignedMemory::kAlignment + 700'000);
  std::ranges::fill(memory.bytes(), std::byte{1});
  const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  std::byte* const last = memory.data() + 2 * AlignedMemory::kAlignment;
  EXPECT_EQ(resident(last, last + AlignedMemory::kAlignment), (700'000 + page - 1) / page);
}
#endif

TEST(AlignedMemory, AnImpossibleSizeIsAnErrorThatNamesIt) {
  for (std::uint64_t bytes : {UINT64_MAX, std::uint64_t{1} << 60}) {
    Result<AlignedMemory> memory = AlignedMemory::allocate(bytes);
    ASSERT_FALSE(memory);
    EXPECT_EQ(memory.error().code, ErrorCode::kExhausted);
    EXPECT_NE(memory.error().message.find(std::to_string(bytes)), std::string::npos);
  }
}

}  // namespace
}  // namespace kinglet
