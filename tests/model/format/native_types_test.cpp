// Kinglet's own types in GGUF: written, read, refused by others, and every lie about them refused.
#include "model/format/native_types.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "expect_error.h"
#include "gguf_builder.h"
#include "model/format/gguf.h"

namespace kinglet {
namespace {

Result<GgufDirectory> parsed(const std::string& bytes) { return parse_gguf(std::as_bytes(std::span(bytes)), "x.gguf"); }

// As another reader sees it: the bytes of the header without the step that gives the tensors their types back.
std::string written(const std::vector<GgufWriter::Plan>& plans, const Metadata& metadata) {
  std::string bytes = gguf_header(metadata, plans, kGgufAlignment);
  bytes.resize(GgufWriter::predicted_bytes(metadata, plans), '\1');
  return bytes;
}

Metadata llama() {
  Metadata metadata;
  metadata.set_string("general.architecture", "llama");
  metadata.set_integer("llama.block_count", 1);
  return metadata;
}

TEST(NativeTypes, ComeBackWithTheirTypesAndShapesAndWithoutTheirKeys) {
  const BlockType& k3 = *find_block_type("K3");
  const std::vector<GgufWriter::Plan> plans = {{"blk.0.ffn_up.weight", fitting_block_type(k3, 576), {4, 576}},
                                               {"a name with spaces", fitting_block_type(k3, 640), {2, 3, 640}},
                                               {"norm", find_block_type("F32"), {576}}};
  const std::string bytes = written(plans, llama());
  const auto directory = parsed(bytes);
  ASSERT_TRUE(directory) << directory.error().text();
  EXPECT_EQ(directory->metadata.entries(), llama().entries());
  for (std::size_t i = 0; i < plans.size(); ++i) {
    EXPECT_EQ(directory->tensors[i].type, plans[i].type);
    EXPECT_EQ(directory->tensors[i].shape, plans[i].shape);
  }
  EXPECT_NE(bytes.find("kinglet-llama"), std::string::npos) << "other readers must refuse the file by name";
  EXPECT_NE(bytes.find("K3 4x576 blk.0.ffn_up.weight"), std::string::npos);
  // Without native types nothing is added.
  const std::string plain = written({{"norm", find_block_type("F32"), {576}}}, llama());
  EXPECT_EQ(plain.find("kinglet"), std::string::npos);
}

TEST(NativeTypes, TheWriterRefusesAnotherBlockLengthThanTheReaderWouldTake) {
  const BlockType& k3 = *find_block_type("K3");
  EXPECT_FALSE(GgufWriter::create("/dev/null/x", {}, {{"w", fitting_block_type(k3, 32), {1, 64}}}));
}

std::string entries(const std::vector<std::string>& texts) {
  std::string value = GgufBuilder::number<std::uint32_t>(8) + GgufBuilder::number<std::uint64_t>(texts.size());
  for (const std::string& text : texts) value += GgufBuilder::text(text);
  return value;
}

std::string file_with(const std::vector<std::string>& texts, std::uint64_t bytes = 2 * 76, std::uint32_t type = 24) {
  GgufBuilder builder;
  builder.string("general.architecture", "kinglet-llama").key("kinglet.codec", 9, entries(texts));
  builder.tensor(
      {.name = "w", .dimensions = {bytes}, .type = type, .data = std::string(bytes * (type == 24 ? 1 : 4), '\3')});
  return builder.build();
}

TEST(NativeTypes, LiesAreRefused) {
  const auto good = parsed(file_with({"K3 2x192 w"}));
  ASSERT_TRUE(good) << good.error().text();
  EXPECT_EQ(good->tensors[0].type->name, "K3");
  EXPECT_EQ(good->metadata.string_or("general.architecture", "").value(), "llama");

  const std::string place = "metadata";
  for (const char* text : {"", "K3", "K3 2x192", "K3 2x192x w", "K3 x192 w", "K3 2,192 w", "K3 -2x192 w", "K3 0x192 w",
                           "K3 2x99999999999999999999 w", "K3 1x1x1x2x192 w", " 2x192 w", "K3  w", "K3 2 x192 w"}) {
    SCOPED_TRACE(text);
    EXPECT_FALSE(parsed(file_with({text})).has_value());
  }
  expect_error(parsed(file_with({"K3 2x192"})), ErrorCode::kCorrupt, "has the entry", place);
  expect_error(parsed(file_with({"K3 2x192 v"})), ErrorCode::kCorrupt, "no tensor here", place);
  expect_error(parsed(file_with({"K3 2x192 w", "K3 2x192 w"})), ErrorCode::kCorrupt, "twice", place);
  expect_error(parsed(file_with({"K9 2x192 w"})), ErrorCode::kUnsupported, "not known", place);
  expect_error(parsed(file_with({"Q4_0 2x192 w"})), ErrorCode::kUnsupported, "not known", place);
  expect_error(parsed(file_with({"K3 2x190 w"})), ErrorCode::kCorrupt, "not whole blocks", place);
  expect_error(parsed(file_with({"K3 3x192 w"})), ErrorCode::kCorrupt, "has 152 bytes", place);
  expect_error(parsed(file_with({"K3 2x224 w"})), ErrorCode::kCorrupt, "has 152 bytes", place);
  expect_error(parsed(file_with({"K3 1099511627776x1099511627776 w"})), ErrorCode::kCorrupt, "", place);
  expect_error(parsed(file_with({"K3 2x192 w"}, 152, 0)), ErrorCode::kCorrupt, "row of I8", place);
  GgufBuilder number;
  number.uint32("kinglet.codec", 3);
  EXPECT_FALSE(parsed(number.build()).has_value());
}

}  // namespace
}  // namespace kinglet
