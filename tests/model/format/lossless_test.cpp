// Entropy-coded tensors in GGUF files: the same bits, and damage is an error.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "kinglet/convert.h"
#include "model/format/gguf.h"
#include "temporary_folder.h"

namespace kinglet {
namespace {

std::string bytes_of(const Checkpoint& checkpoint, std::string_view name) {
  const auto data = checkpoint.data(*checkpoint.find(name));
  if (!data) return "error: " + data.error().text();
  return {reinterpret_cast<const char*>(data->bytes.data()), data->bytes.size()};
}

std::string half_like(std::size_t count, std::uint16_t first, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::string bytes;
  for (std::size_t i = 0; i < count; ++i) {  // few exponents, any fraction and sign
    const auto number = static_cast<std::uint16_t>((first ^ random() % 0x200) | (random() & 1) << 15);
    bytes.append(reinterpret_cast<const char*>(&number), 2);
  }
  return bytes;
}

class Lossless : public testing::Test {
 protected:
  void SetUp() override {
    Metadata metadata;
    metadata.set_string("general.architecture", "llama");
    const std::vector<GgufWriter::Plan> plans = {{"blk.0.a.weight", find_block_type("BF16"), {300, 64}},
                                                 {"blk.0.b.weight", find_block_type("F16"), {7, 3000}},
                                                 {"norm", find_block_type("F32"), {5}}};
    data_ = {half_like(300 * 64, 0x3C80, 1), half_like(7 * 3000, 0x2800, 2), std::string(20, '\1')};
    auto writer = GgufWriter::create(plain_, metadata, plans);
    ASSERT_TRUE(writer);
    for (const std::string& bytes : data_) ASSERT_TRUE((*writer)->write(std::as_bytes(std::span(bytes))));
    ASSERT_TRUE((*writer)->finish());
    ConvertOptions options;
    options.lossless = true;
    options.threads = 2;
    const auto from = open_checkpoint(plain_);
    ASSERT_TRUE(from);
    const auto report = convert_checkpoint(**from, coded_, options);
    ASSERT_TRUE(report) << report.error().text();
    EXPECT_TRUE(report->lossless);
    EXPECT_EQ(report->bytes, std::filesystem::file_size(coded_));
  }

  test::TemporaryFolder folder_;
  std::string plain_ = folder_.path("plain.gguf"), coded_ = folder_.path("coded.gguf");
  std::vector<std::string> data_;
};

TEST_F(Lossless, GivesTheSameBitsInFewerBytes) {
  EXPECT_LT(std::filesystem::file_size(coded_), 0.85 * static_cast<double>(std::filesystem::file_size(plain_)));
  const auto coded = open_checkpoint(coded_);
  ASSERT_TRUE(coded) << coded.error().text();
  EXPECT_EQ((*coded)->tensors()[0].codec, "BF16-H");
  EXPECT_EQ((*coded)->tensors()[1].codec, "F16-H");
  EXPECT_EQ((*coded)->tensors()[2].codec, "");
  EXPECT_EQ((*coded)->architecture(), "llama");
  EXPECT_EQ(bytes_of(**coded, "blk.0.a.weight"), data_[0]);
  EXPECT_EQ(bytes_of(**coded, "blk.0.b.weight"), data_[1]);
  // And back to the file it was.
  const std::string back = folder_.path("back.gguf");
  ASSERT_TRUE(convert_checkpoint(**coded, back, {}));
  std::ifstream first(plain_, std::ios::binary), second(back, std::ios::binary);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(first), {}),
            std::string(std::istreambuf_iterator<char>(second), {}));
}

TEST_F(Lossless, DamageIsAnErrorThatNamesTheTensor) {
  std::string bytes;
  {
    std::ifstream file(coded_, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(file), {});
  }
  const std::size_t begin = bytes.find("KFC1");
  ASSERT_NE(begin, std::string::npos);
  for (const std::size_t at : {begin, begin + 9, begin + 160, begin + 1000, begin + 20000}) {
    std::string bad = bytes;
    bad[at] = static_cast<char>(bad[at] ^ 0x10);
    const std::string path = folder_.path("bad.gguf");
    std::ofstream(path, std::ios::binary) << bad;
    const auto checkpoint = open_checkpoint(path);
    ASSERT_TRUE(checkpoint);
    const auto data = (*checkpoint)->data((*checkpoint)->tensors()[0]);
    ASSERT_FALSE(data) << at;
    EXPECT_EQ(data.error().code, ErrorCode::kCorrupt);
    EXPECT_NE(data.error().message.find("blk.0.a.weight"), std::string::npos);
  }
}

}  // namespace
}  // namespace kinglet
