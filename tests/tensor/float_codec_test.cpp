#include "tensor/codec/float_codec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "tensor/half.h"

namespace kinglet {
namespace {

std::vector<std::uint16_t> gaussian(FloatKind kind, std::size_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  const auto uniform = [&] { return (random() + 0.5) / 4294967296.0; };
  std::vector<std::uint16_t> numbers(count);
  for (std::uint16_t& number : numbers) {
    const auto value =
        static_cast<float>(0.03 * std::sqrt(-2 * std::log(uniform())) * std::cos(6.283185307 * uniform()));
    number = kind == FloatKind::kBfloat16 ? f32_to_bf16(value) : f32_to_f16(value);
  }
  return numbers;
}

std::vector<std::uint16_t> decoded(FloatKind kind, const std::vector<std::byte>& bytes, std::size_t count) {
  auto code = FloatCode::open(bytes, kind, count);
  EXPECT_TRUE(code) << code.error().text();
  std::vector<std::uint16_t> out(count, 0xABCD);
  const auto done = code->decode_all(out);
  EXPECT_TRUE(done) << done.error().text();
  return out;
}

constexpr FloatKind kKinds[] = {FloatKind::kBfloat16, FloatKind::kFloat16};

TEST(FloatCodec, EveryBitPatternSurvives) {
  for (const FloatKind kind : kKinds) {
    std::vector<std::uint16_t> numbers(65536);  // NaNs with any payload, infinities, denormals, both zeros
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<std::uint16_t>(i * 40503u);
    const auto bytes = encode_floats(kind, numbers);
    ASSERT_TRUE(bytes);
    EXPECT_EQ(bytes->size(), float_code_size(kind, numbers).bytes);
    EXPECT_EQ(decoded(kind, *bytes, numbers.size()), numbers);
  }
}

TEST(FloatCodec, OddSizesAndDegenerateContents) {
  for (const FloatKind kind : kKinds) {
    for (const std::size_t count :
         {std::size_t{0}, std::size_t{1}, std::size_t{2}, std::size_t{7}, std::size_t{kFloatBlock - 1},
          std::size_t{kFloatBlock}, std::size_t{kFloatBlock + 1}, std::size_t{3 * kFloatBlock + 5}}) {
      for (const std::vector<std::uint16_t>& numbers :
           {std::vector<std::uint16_t>(count, 0x3F80), gaussian(kind, count, 3)}) {
        const auto bytes = encode_floats(kind, numbers);
        ASSERT_TRUE(bytes);
        EXPECT_EQ(decoded(kind, *bytes, count), numbers) << count;
      }
    }
    // Counts like Fibonacci's numbers, whose tree is as deep as can be: lengths are limited to 12.
    std::vector<std::uint16_t> deep;
    std::size_t a = 1, b = 1;
    for (unsigned symbol = 0; symbol < 22; ++symbol) {
      deep.insert(deep.end(), a, static_cast<std::uint16_t>(kind == FloatKind::kBfloat16 ? symbol << 7 : symbol << 8));
      const std::size_t next = a + b;
      a = b, b = next;
    }
    const auto bytes = encode_floats(kind, deep);
    ASSERT_TRUE(bytes);
    EXPECT_EQ(decoded(kind, *bytes, deep.size()), deep);
  }
}

TEST(FloatCodec, ABlockDecodesAlone) {
  const auto numbers = gaussian(FloatKind::kBfloat16, 5 * kFloatBlock + 100, 9);
  const auto bytes = encode_floats(FloatKind::kBfloat16, numbers);
  ASSERT_TRUE(bytes);
  const auto code = FloatCode::open(*bytes, FloatKind::kBfloat16, numbers.size());
  ASSERT_TRUE(code);
  ASSERT_EQ(code->blocks(), 6u);
  for (const std::uint32_t block : {5u, 2u, 0u, 3u}) {
    const std::size_t begin = std::size_t{block} * kFloatBlock;
    std::vector<std::uint16_t> out(std::min<std::size_t>(kFloatBlock, numbers.size() - begin));
    ASSERT_TRUE(code->decode_block(block, out.data()));
    EXPECT_TRUE(std::equal(out.begin(), out.end(), numbers.begin() + static_cast<std::ptrdiff_t>(begin)));
  }
}

// 8 + entropy of the exponent: gaussian weights have 2.55 bits of it.
TEST(FloatCodec, SizeIsNearTheEntropy) {
  const auto numbers = gaussian(FloatKind::kBfloat16, 1 << 18, 1);
  const FloatCodeSize size = float_code_size(FloatKind::kBfloat16, numbers);
  const double bits = 8.0 * static_cast<double>(size.bytes) / static_cast<double>(numbers.size());
  EXPECT_NEAR(size.entropy_bits, 2.55, 0.05);
  EXPECT_GE(bits, 8 + size.entropy_bits);
  EXPECT_LE(bits, 1.01 * (8 + size.entropy_bits));
  const auto halves = gaussian(FloatKind::kFloat16, 1 << 18, 1);
  EXPECT_LE(float_code_size(FloatKind::kFloat16, halves).bytes, 0.88 * 2 * static_cast<double>(halves.size()));
}

TEST(FloatCodec, EveryDamageIsAnError) {
  const std::size_t count = 2 * kFloatBlock + 777;
  const auto numbers = gaussian(FloatKind::kBfloat16, count, 5);
  const auto good = *encode_floats(FloatKind::kBfloat16, numbers);
  const auto reads = [&](std::span<const std::byte> bytes) {
    auto code = FloatCode::open(bytes, FloatKind::kBfloat16, count);
    std::vector<std::uint16_t> out(count);
    return code && code->decode_all(out).has_value();
  };
  ASSERT_TRUE(reads(good));
  for (std::size_t size = 0; size < good.size(); size += size < 400 ? 1 : 997)
    EXPECT_FALSE(reads(std::span(good).first(size))) << size;
  std::vector<std::byte> longer = good;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(reads(longer));
  std::mt19937 random(11);
  for (int i = 0; i < 700; ++i) {
    const std::size_t at = i < 300 ? static_cast<std::size_t>(i) % 184 : random() % good.size();
    std::vector<std::byte> bad = good;
    bad[at] ^= std::byte{1} << (random() % 8);
    if (!reads(bad)) continue;
    // A changed length of a symbol that does not occur, behind all others, changes nothing.
    std::vector<std::uint16_t> out(count);
    ASSERT_TRUE(FloatCode::open(bad, FloatKind::kBfloat16, count)->decode_all(out));
    EXPECT_EQ(out, numbers) << at;
    EXPECT_TRUE(at >= 24 && at < 152) << at;
  }
  EXPECT_FALSE(FloatCode::open(good, FloatKind::kFloat16, count));
  EXPECT_FALSE(FloatCode::open(good, FloatKind::kBfloat16, count + 1));
}

// A mapped file can be changed by others.
TEST(FloatCodec, AnIndexThatChangesAfterOpeningIsAnError) {
  const std::size_t count = 3 * kFloatBlock, index = 152;
  const auto numbers = gaussian(FloatKind::kBfloat16, count, 7);
  std::vector<std::byte> bytes = *encode_floats(FloatKind::kBfloat16, numbers);
  const auto code = FloatCode::open(bytes, FloatKind::kBfloat16, count);
  ASSERT_TRUE(code);
  std::vector<std::uint16_t> out(count);
  const std::vector<std::byte> good = bytes;
  // Block 0 ends, and block 1 begins and ends, far behind the codes.
  const std::uint32_t first = 0xE0000000u, second = 0xFFFFFFFFu;
  std::memcpy(&bytes[index], &first, sizeof first);
  std::memcpy(&bytes[index + 8], &second, sizeof second);
  for (std::uint32_t block = 0; block < code->blocks(); ++block) EXPECT_FALSE(code->decode_block(block, out.data()));
  EXPECT_FALSE(code->decode_all(out));
  std::copy(good.begin(), good.end(), bytes.begin());
  ASSERT_TRUE(code->decode_all(out));
  EXPECT_EQ(out, numbers);
}

}  // namespace
}  // namespace kinglet
