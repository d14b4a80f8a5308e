// The types U1..U4: what other types' tests do not reach (tests/tensor/types/encode_test.cpp runs for all).
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kinglet/block_type.h"
#include "tensor/half.h"

namespace kinglet {
namespace {

const BlockType& uniform(int bits) { return *find_block_type("U" + std::to_string(bits)); }

std::vector<float> gaussian(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& value : values) {  // twelve uniform numbers: the same with every standard library
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += (random() + 0.5) / 4294967296.0;
    value = static_cast<float>(sum);
  }
  return values;
}

std::vector<float> round_trip(const BlockType& type, const std::vector<float>& values) {
  std::vector<std::byte> data(values.size() / 32 * type.block_bytes);
  type.encode(values.data(), values.size() / 32, nullptr, data.data());
  std::vector<float> back(values.size());
  type.decode(data.data(), values.size() / 32, back.data());
  return back;
}

TEST(Uniform, FormAndSize) {
  for (int bits = 1; bits <= 4; ++bits) {
    const BlockType& type = uniform(bits);
    EXPECT_TRUE(type.is_native);
    EXPECT_EQ(type.bits_per_weight(), bits + 0.5);
    EXPECT_EQ(type.form.bits, bits);
    for (int code = 0; code < 1 << bits; ++code) EXPECT_EQ(type.form.codebook[code], 2 * code + 1 - (1 << bits));
    EXPECT_EQ(fitting_block_type(type, 576), &type);
    EXPECT_EQ(fitting_block_type(type, 48), nullptr);
    EXPECT_EQ(find_block_type(type.gguf_id), nullptr);  // GGUF has no such number
  }
}

TEST(Uniform, BitsOfABlockAreWhereThePageSays) {
  std::uint8_t block[2 + 4 * 3] = {};
  const std::uint16_t one = f32_to_f16(1.0f);
  std::memcpy(block, &one, 2);
  block[2 + 4 * 0 + 1] = 0x20;  // bit 0 of value 4 * 5 + 1
  block[2 + 4 * 2 + 1] = 0x20;  // bit 2 of the same: code 5, level 3
  float values[32];
  uniform(3).decode(reinterpret_cast<const std::byte*>(block), 1, values);
  for (int i = 0; i < 32; ++i) EXPECT_EQ(values[i], i == 21 ? 3.0f : -7.0f) << i;
}

TEST(Uniform, KeepsWhatWasDecoded) {
  std::mt19937 random(3);
  for (int bits = 1; bits <= 4; ++bits) {
    const BlockType& type = uniform(bits);
    std::vector<std::byte> data(500 * type.block_bytes);
    for (std::byte& byte : data) byte = static_cast<std::byte>(random());
    for (std::size_t at = 0; at < data.size(); at += type.block_bytes) {
      const std::uint16_t scale =
          f32_to_f16(std::ldexp(1 + random() / 4294967296.0f, static_cast<int>(random() % 12) - 9));
      std::memcpy(&data[at], &scale, 2);
    }
    std::vector<float> values(500 * 32);
    type.decode(data.data(), 500, values.data());
    EXPECT_EQ(round_trip(type, values), values) << type.name;
    EXPECT_EQ(round_trip(type, std::vector<float>(64, 0.0f)), std::vector<float>(64, 0.0f)) << type.name;
  }
}

// The best fixed steps for gaussian values reach 0.363, 0.1188, 0.0374 and 0.0115 (Max 1960); a scale for each 32 does
// better.
TEST(Uniform, ErrorOnGaussianValues) {
  const std::vector<float> values = gaussian(65536, 7);
  const double most[] = {0.36, 0.11, 0.030, 0.0085};
  for (int bits = 1; bits <= 4; ++bits) {
    const std::vector<float> back = round_trip(uniform(bits), values);
    double error = 0, total = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      error += (values[i] - back[i]) * (values[i] - back[i]);
      total += values[i] * values[i];
    }
    std::printf("U%d %.3f bits: %.3e\n", bits, uniform(bits).bits_per_weight(), error / total);
    EXPECT_LT(error / total, most[bits - 1]);
  }
}

}  // namespace
}  // namespace kinglet
