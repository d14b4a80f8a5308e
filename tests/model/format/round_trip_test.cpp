// What is written reads back equal.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "gguf_builder.h"
#include "kinglet/checkpoint.h"
#include "model/format/gguf.h"
#include "model/format/hf.h"
#include "model/format/safetensors.h"
#include "temporary_folder.h"

namespace kinglet {
namespace {

Metadata every_kind() {
  Metadata m;
  m.set_string("general.architecture", "llama");
  for (std::uint32_t type = 0; type < 13; ++type) {
    const auto t = static_cast<MetadataType>(type);
    const std::string key = "k." + std::to_string(type);
    if (t == MetadataType::kString || t == MetadataType::kArray) continue;
    if (t == MetadataType::kFloat32 || t == MetadataType::kFloat64) {
      m.set_number(key, 0.1, t);
      m.set_numbers(key + "s", {1e-30, -2.5, 0}, t);
    } else {
      m.set(key, MetadataValue{t, false, std::int64_t{1}});
      m.set(key + "s", MetadataValue{t, true, std::vector<std::int64_t>{0, 1, 1}});
    }
  }
  m.set_integer("least", INT64_MIN, MetadataType::kInt64);
  m.set_integer("most", INT64_MAX, MetadataType::kUint64);
  m.set_integer("byte", -128, MetadataType::kInt8);
  m.set_strings("texts", {"", "a", std::string(1000, 'x'), std::string("nul\0", 4), "\xff not UTF-8"});
  m.set_string("empty", "");
  m.set(std::string("none"), MetadataValue{MetadataType::kInt32, true, std::vector<std::int64_t>{}});
  return m;
}

TEST(RoundTrip, GgufOfEveryMetadataAndTensorType) {
  test::TemporaryFolder folder;
  const std::string path = folder.path("model.gguf");
  const Metadata metadata = every_kind();
  std::vector<GgufWriter::Plan> plans;
  std::vector<std::string> data;
  std::mt19937 random(1);
  for (const BlockType* type : block_types())
    for (std::int64_t rows : {1, 3}) {
      plans.push_back({"t." + std::string(type->name) + std::to_string(rows), type, {rows, 256}});
      std::string bytes(type->row_bytes(256) * static_cast<std::uint64_t>(rows), '\0');
      for (char& byte : bytes) byte = static_cast<char>(random());
      data.push_back(bytes);
    }
  plans.push_back({"scalar", find_block_type("F32"), {1}});
  data.push_back("abcd");
  plans.push_back({"four", find_block_type("F16"), {2, 1, 3, 5}});
  data.push_back(std::string(60, 'z'));
  {
    auto writer = GgufWriter::create(path, metadata, plans);
    ASSERT_TRUE(writer) << writer.error().text();
    for (const std::string& bytes : data) {  // in uneven pieces
      const auto all = std::as_bytes(std::span(bytes));
      ASSERT_TRUE((*writer)->write(all.first(all.size() / 3)));
      ASSERT_TRUE((*writer)->write(all.subspan(all.size() / 3)));
    }
    EXPECT_FALSE(std::filesystem::exists(path));  // not before it is whole
    ASSERT_TRUE((*writer)->finish());
  }
  EXPECT_EQ(std::filesystem::file_size(path), GgufWriter::predicted_bytes(metadata, plans));
  auto read = open_checkpoint(path);
  ASSERT_TRUE(read) << read.error().text();
  EXPECT_EQ((*read)->metadata().entries(), metadata.entries());
  ASSERT_EQ((*read)->tensors().size(), plans.size());
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const TensorInfo& tensor = (*read)->tensors()[i];
    EXPECT_EQ(tensor.name, plans[i].name);
    EXPECT_EQ(tensor.type, plans[i].type);
    EXPECT_EQ(tensor.shape, plans[i].shape);
    const auto bytes = (*read)->data(tensor);
    ASSERT_TRUE(bytes);
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes->bytes.data()), bytes->bytes.size()), data[i]);
  }
}

TEST(RoundTrip, AGgufThatIsNotFinishedLeavesNothing) {
  test::TemporaryFolder folder;
  {
    auto writer = GgufWriter::create(folder.path("a.gguf"), {}, {{"w", find_block_type("F32"), {8}}});
    ASSERT_TRUE(writer);
    ASSERT_TRUE((*writer)->write(std::vector<std::byte>(16)));
    EXPECT_FALSE((*writer)->finish());  // half of it is missing
    EXPECT_FALSE((*writer)->write(std::vector<std::byte>(17)));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(RoundTrip, TheWriterRefusesWhatTheReaderWould) {
  test::TemporaryFolder folder;
  const BlockType* f32 = find_block_type("F32");
  const auto create = [&](std::vector<GgufWriter::Plan> plans, Metadata metadata = {}) {
    return GgufWriter::create(folder.path("a.gguf"), metadata, std::move(plans)).has_value();
  };
  EXPECT_FALSE(create({{"", f32, {1}}}));
  EXPECT_FALSE(create({{"../x", f32, {1}}}));
  EXPECT_FALSE(create({{"a", f32, {1}}, {"a", f32, {1}}}));
  EXPECT_FALSE(create({{"a", f32, {}}}));
  EXPECT_FALSE(create({{"a", f32, {0}}}));
  EXPECT_FALSE(create({{"a", f32, {1, 1, 1, 1, 1}}}));
  EXPECT_FALSE(create({{"a", find_block_type("Q4_0"), {33}}}));
  EXPECT_FALSE(create({{"a", nullptr, {1}}}));
  Metadata odd;
  odd.set_integer("general.alignment", 3);
  EXPECT_FALSE(create({{"a", f32, {1}}}, odd));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

// Random metadata and shapes: accepted by the parser, and written again to the same bytes.
TEST(RoundTrip, AcceptedWrittenReadIsEqual) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    Metadata metadata;
    for (unsigned k = random() % 6; k-- > 0;) {
      const std::string key = "key" + std::to_string(k);
      switch (random() % 4) {
        case 0:
          metadata.set_string(key, std::string(random() % 40, static_cast<char>('a' + random() % 26)));
          break;
        case 1:
          metadata.set_integer(key, random(), MetadataType::kUint32);
          break;
        case 2:
          metadata.set_number(key, static_cast<double>(random()), MetadataType::kFloat64);
          break;
        default:
          metadata.set_strings(key, std::vector<std::string>(random() % 5, "v"));
      }
    }
    if (random() % 3 == 0) metadata.set_integer("general.alignment", 1 << random() % 10);
    std::vector<GgufWriter::Plan> plans;
    for (unsigned t = random() % 5; t-- > 0;) {
      const BlockType* type = block_types()[random() % block_types().size()];
      std::vector<std::int64_t> shape(random() % 3, 1 + random() % 3);
      shape.push_back(type->block_values * (1 + random() % 3));
      plans.push_back({"t" + std::to_string(t), type, shape});
    }
    const std::uint64_t alignment = *gguf_alignment(metadata, "");
    std::string bytes = gguf_header(metadata, plans, alignment);
    bytes.resize(GgufWriter::predicted_bytes(metadata, plans), '\5');
    const auto directory = parse_gguf(std::as_bytes(std::span(bytes)), "x");
    ASSERT_TRUE(directory) << directory.error().text();
    EXPECT_EQ(directory->metadata.entries(), metadata.entries());
    ASSERT_EQ(directory->tensors.size(), plans.size());
    std::vector<GgufWriter::Plan> again;
    for (const TensorInfo& tensor : directory->tensors) again.push_back({tensor.name, tensor.type, tensor.shape});
    const std::string header = gguf_header(directory->metadata, again, alignment);
    EXPECT_EQ(header, bytes.substr(0, header.size()));
  }
}

TEST(RoundTrip, SafetensorsHeader) {
  std::vector<SafetensorsTensor> tensors = {{"a \"quoted\" \xc3\xa9", "BF16", find_block_type("BF16"), {2, 3}, 0, 12},
                                            {"scalar", "F32", find_block_type("F32"), {}, 0, 4},
                                            {"mask", "BOOL", nullptr, {5}, 0, 5}};
  std::string bytes = safetensors_header(tensors, {{"format", "pt"}, {"note", "line\nbreak"}});
  EXPECT_EQ(bytes.size() % 8, 0u);
  std::uint64_t at = bytes.size();
  for (SafetensorsTensor& tensor : tensors) tensor.offset = at, at += tensor.bytes;
  bytes.resize(at, 'x');
  const auto directory = parse_safetensors(std::as_bytes(std::span(bytes)), "x");
  ASSERT_TRUE(directory) << directory.error().text();
  EXPECT_EQ(directory->tensors, tensors);
  EXPECT_EQ(directory->metadata.size(), 2u);
  EXPECT_EQ(directory->metadata[1].second, "line\nbreak");
}

TEST(RoundTrip, PermutedHeadsComeBack) {
  std::string rows, there(24, 0), back(24, 0);
  for (int i = 0; i < 24; ++i) rows += static_cast<char>('a' + i);
  const auto bytes = [](std::string& s) { return std::as_writable_bytes(std::span(s)); };
  permute_heads(bytes(rows), bytes(there), 12, 2, false);  // 2 heads of 6 rows of 2 bytes
  EXPECT_EQ(there, "abghcdijefklmnstopuvqrwx");
  permute_heads(bytes(there), bytes(back), 12, 2, true);
  EXPECT_EQ(back, rows);
}

}  // namespace
}  // namespace kinglet
