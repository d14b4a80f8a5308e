// Conversion through the library, on small checkpoints made here.
#include "kinglet/convert.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "model/format/gguf.h"
#include "temporary_folder.h"

namespace kinglet {
namespace {

using Plan = GgufWriter::Plan;

// A GGUF file with these tensors, values from a normal distribution rounded to the type.
std::unique_ptr<Checkpoint> make(const std::string& path, const std::vector<Plan>& plans, Metadata metadata = {},
                                 float special = 0) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  auto writer = GgufWriter::create(path, metadata, plans);
  EXPECT_TRUE(writer) << writer.error().text();
  for (const Plan& plan : plans) {
    std::size_t size = 1;
    for (std::int64_t d : plan.shape) size *= static_cast<std::size_t>(d);
    std::vector<float> values(size);
    for (float& value : values) value = normal(random);
    if (special != 0) values[size / 2] = special;
    const std::size_t blocks = size / static_cast<std::size_t>(plan.type->block_values);
    std::vector<std::byte> bytes(blocks * static_cast<std::size_t>(plan.type->block_bytes));
    plan.type->encode(values.data(), blocks, nullptr, bytes.data());
    EXPECT_TRUE((*writer)->write(bytes));
  }
  EXPECT_TRUE((*writer)->finish());
  auto opened = open_checkpoint(path);
  EXPECT_TRUE(opened) << opened.error().text();
  return std::move(*opened);
}

std::vector<float> values_of(const Checkpoint& checkpoint, std::string_view name) {
  const TensorInfo* tensor = checkpoint.find(name);
  EXPECT_NE(tensor, nullptr) << name;
  std::vector<float> values(static_cast<std::size_t>(tensor->elements()));
  const auto data = checkpoint.data(*tensor);
  tensor->type->decode(data->bytes.data(), values.size() / static_cast<std::size_t>(tensor->type->block_values),
                       values.data());
  return values;
}

std::unique_ptr<Checkpoint> convert(const Checkpoint& from, const std::string& to, std::string_view type,
                                    ConvertReport* report = nullptr) {
  ConvertOptions options;
  options.type = type;
  options.threads = 2;
  const auto result = convert_checkpoint(from, to, options);
  EXPECT_TRUE(result) << result.error().text();
  if (report) *report = *result;
  auto opened = open_checkpoint(to);
  EXPECT_TRUE(opened) << opened.error().text();
  EXPECT_EQ(result->bytes, std::filesystem::file_size(to));
  return std::move(*opened);
}

// Every type that can be written: its values in f32, rounded to the type again, are the same values.
TEST(Convert, RoundingBackFromF32GivesEqualValues) {
  test::TemporaryFolder folder;
  int types = 0;
  for (const BlockType* type : block_types()) {
    const bool whole_numbers = type->name[0] == 'I' && type->name[1] != 'Q';
    if (!type->encode || whole_numbers || type->name == "F64") continue;
    SCOPED_TRACE(type->name);
    ++types;
    const std::string name(type->name);
    const auto original = make(folder.path(name), {{"blk.0.w.weight", type, {5, 512}}});
    ConvertReport wide, back_report;
    const auto floats = convert(*original, folder.path(name + ".f32"), "f32", &wide);
    const auto back = convert(*floats, folder.path(name + ".back"), type->name, &back_report);
    EXPECT_TRUE(wide.lossless);
    EXPECT_TRUE(back_report.lossless);
    EXPECT_EQ(values_of(*original, "blk.0.w.weight"), values_of(*floats, "blk.0.w.weight"));
    EXPECT_EQ(values_of(*original, "blk.0.w.weight"), values_of(*back, "blk.0.w.weight"));
    EXPECT_EQ(back->find("blk.0.w.weight")->type, type);
  }
  EXPECT_GE(types, 15);
}

TEST(Convert, VectorsStayF32AndOddRowsFallBack) {
  test::TemporaryFolder folder;
  const BlockType *f32 = find_block_type("F32"), *f16 = find_block_type("F16");
  const auto from = make(folder.path("a"), {{"blk.0.a.weight", f32, {4, 256}},
                                            {"blk.0.odd.weight", f32, {4, 96}},
                                            {"blk.0.odder.weight", f32, {4, 20}},
                                            {"norm.weight", f16, {20}},
                                            {"position_embd.weight", f32, {4, 256}}});
  ConvertReport report;
  const auto to = convert(*from, folder.path("b"), "q4_k", &report);
  EXPECT_EQ(to->find("blk.0.a.weight")->type->name, "Q4_K");
  EXPECT_EQ(to->find("blk.0.odd.weight")->type->bits_per_weight(), 4.5);
  EXPECT_EQ(to->find("blk.0.odder.weight")->type->name, "F16");
  EXPECT_EQ(to->find("norm.weight")->type->name, "F32");
  EXPECT_EQ(to->find("position_embd.weight")->type->name, "F32");
  EXPECT_EQ(values_of(*from, "norm.weight"), values_of(*to, "norm.weight"));
  EXPECT_FALSE(report.lossless);
  EXPECT_EQ(report.notes.size(), 2u);
  EXPECT_NE(report.notes[0].find("not whole blocks of Q4_K"), std::string::npos);
  EXPECT_EQ(*to->metadata().integer("general.file_type", 0, 99), 15);
}

TEST(Convert, WithoutATypeBytesAreCopied) {
  test::TemporaryFolder folder;
  Metadata metadata;
  metadata.set_string("general.architecture", "llama");
  metadata.set_strings("list", {"a", "b"});
  const auto from = make(folder.path("a"), {{"blk.0.a.weight", find_block_type("Q5_0"), {7, 64}}}, metadata);
  ConvertReport report;
  const auto to = convert(*from, folder.path("b"), "", &report);
  EXPECT_TRUE(report.lossless);
  EXPECT_EQ(*from->metadata().find("list"), *to->metadata().find("list"));
  const auto a = *from->data(from->tensors()[0]), b = *to->data(to->tensors()[0]);
  EXPECT_EQ(0, std::memcmp(a.bytes.data(), b.bytes.data(), a.bytes.size()));
}

TEST(Convert, TheThreadCountDoesNotChangeTheBytes) {
  test::TemporaryFolder folder;
  const auto from = make(folder.path("a"), {{"blk.0.a.weight", find_block_type("F32"), {700, 1024}}});
  for (int threads : {1, 3}) {
    ConvertOptions options;
    options.type = "q6_k";
    options.threads = threads;
    ASSERT_TRUE(convert_checkpoint(*from, folder.path(std::to_string(threads)), options));
  }
  EXPECT_EQ(folder.read("1"), folder.read("3"));
}

TEST(Convert, ValuesThatAreNotFiniteAreRefused) {
  test::TemporaryFolder folder;
  for (float bad : {NAN, INFINITY}) {
    const auto from = make(folder.path("a"), {{"blk.0.a.weight", find_block_type("F32"), {4, 256}}}, {}, bad);
    ConvertOptions options;
    options.type = "q4_0";
    const auto result = convert_checkpoint(*from, folder.path("b"), options);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::kCorrupt);
    EXPECT_NE(result.error().message.find("'blk.0.a.weight' holds values that are not finite"), std::string::npos);
    EXPECT_FALSE(std::filesystem::exists(folder.path("b")));
  }
  const auto large = make(folder.path("a"), {{"blk.0.a.weight", find_block_type("F32"), {4, 256}}}, {}, 1e9f);
  ConvertReport report;
  convert(*large, folder.path("c"), "f16", &report);
  ASSERT_EQ(report.notes.size(), 1u);
  EXPECT_NE(report.notes[0].find("too large for F16"), std::string::npos);
}

TEST(Convert, WrongAsks) {
  test::TemporaryFolder folder;
  const auto from = make(folder.path("a"), {{"blk.0.a.weight", find_block_type("F32"), {4, 256}}});
  const auto code = [&](std::string_view type, std::string_view format, const std::string& to) {
    ConvertOptions options;
    options.type = type;
    options.format = format;
    const auto result = convert_checkpoint(*from, to, options);
    EXPECT_FALSE(result);
    if (!result) {
      EXPECT_FALSE(result.error().hint.empty()) << result.error().message;
      return result.error().code;
    }
    return ErrorCode::kInternal;
  };
  EXPECT_EQ(code("q9_9", "gguf", folder.path("b")), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code("i32", "gguf", folder.path("b")), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code("f16", "onnx", folder.path("b")), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code("f16", "gguf", ""), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code("f16", "safetensors", folder.path("b")), ErrorCode::kUnsupported);  // no architecture
  EXPECT_EQ(code("f16", "gguf", folder.path("absent/b")), ErrorCode::kNotFound);
}

TEST(Convert, Cancelled) {
  test::TemporaryFolder folder;
  const auto from = make(folder.path("a"), {{"blk.0.a.weight", find_block_type("F32"), {4, 256}}});
  ConvertOptions options;
  options.type = "q8_0";
  options.cancelled = [] { return true; };
  const auto result = convert_checkpoint(*from, folder.path("b"), options);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kCancelled);
  std::filesystem::remove(folder.path("a"));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace kinglet
