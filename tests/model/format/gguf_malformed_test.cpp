// Broken GGUF files, each made here: all are refused with a code, a place and a way out.
#include <gtest/gtest.h>

#include <random>

#include "expect_error.h"
#include "gguf_builder.h"
#include "model/format/gguf.h"

namespace kinglet {
namespace {

using B = GgufBuilder;

Result<GgufDirectory> parse(const std::string& bytes) {
  return parse_gguf(std::as_bytes(std::span(bytes)), "test.gguf");
}
void refused(const std::string& bytes, std::string_view part, ErrorCode code = ErrorCode::kCorrupt,
             std::string_view place = "test.gguf, byte ") {
  SCOPED_TRACE(std::string(part));
  expect_error(parse(bytes), code, part, place);
}
void refused(const B& builder, std::string_view part, ErrorCode code = ErrorCode::kCorrupt,
             std::string_view place = "test.gguf, byte ") {
  refused(builder.build(), part, code, place);
}

std::string array(std::uint32_t type, std::uint64_t count, const std::string& content = "") {
  return B::number(type) + B::number(count) + content;
}

constexpr std::uint64_t kHuge[] = {1ull << 31, 1ull << 32, 1ull << 63, UINT64_MAX};

TEST(GgufMalformed, TheSmallFileItselfIsAccepted) {
  const auto directory = parse(small_gguf().build());
  ASSERT_TRUE(directory) << directory.error().text();
  EXPECT_EQ(directory->tensors.size(), 2u);
  EXPECT_EQ(directory->metadata.entries().size(), 14u);
  EXPECT_EQ(directory->tensors[0].shape, (std::vector<std::int64_t>{2, 32}));
  EXPECT_EQ(*directory->metadata.integer("a.u64", 0, INT64_MAX), INT64_MAX);
  EXPECT_EQ(*directory->metadata.integer("a.i64", INT64_MIN, 0), INT64_MIN);
}

TEST(GgufMalformed, CutAtEveryByteBeforeTheEndOfTheData) {
  B builder = small_gguf();
  builder.pad_last = false;
  const std::string whole = builder.build();
  ASSERT_TRUE(parse(whole));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    SCOPED_TRACE(size);
    const std::string cut = whole.substr(0, size);
    expect_error(parse(cut), ErrorCode::kCorrupt, size == 0 ? "empty" : "", "test.gguf, byte ");
  }
}

TEST(GgufMalformed, BytesAfterTheLastTensor) {
  refused(small_gguf().build() + "x", "1 bytes after the last tensor belong to nothing");
  refused(small_gguf().build() + std::string(4096, '\0'), "belong to nothing");
  refused(small_gguf().build() + "PK\x03\x04 a second file", "belong to nothing");
}

TEST(GgufMalformed, Counts) {
  for (std::uint64_t count : kHuge) {
    B tensors = small_gguf(), keys = small_gguf();
    tensors.tensor_count = count;
    refused(tensors, "the number of tensors is " + std::to_string(count));
    keys.key_count = count;
    refused(keys, "the number of metadata keys is " + std::to_string(count));
    B name = small_gguf();
    name.tensors[0].name_length = count;
    refused(name, "the name of tensor 1's length is " + std::to_string(count));
    refused(B().key("k", 8, B::number(count)), count > (256u << 20) ? "length" : "ends inside");
    refused(B().key("k", 9, array(4, count)), "number of elements");
    refused(B().key("k", 9, array(8, count)), "number of elements");
    refused(B().tensor({.dimensions = {count, count}, .data = ""}), "");
    refused(B().tensor({.dimensions = {count}, .data = ""}), "");
    B dimensions = small_gguf();
    dimensions.tensors[0].dimension_count = static_cast<std::uint32_t>(count >> 1 | 7);
    refused(dimensions, "number of dimensions");
  }
  B one_more = small_gguf();
  one_more.tensor_count = 3;
  refused(one_more, "");
  one_more.tensor_count = 2;
  one_more.key_count = 15;
  refused(one_more, "");
}

TEST(GgufMalformed, Dimensions) {
  refused(B().tensor({.dimensions = {0}, .data = ""}), "dimension is 0");
  refused(B().tensor({.dimensions = {32, 0}, .data = ""}), "dimension is 0");
  refused(B().tensor({.dimensions = {1, 1, 1, 1, 32}}), "number of dimensions is 5");
  refused(B().tensor({.dimensions = {}}), "number of dimensions is 0");
  refused(B().tensor({.dimensions = {1ull << 40, 1ull << 20}}), "more values than any file can hold");
  refused(B().tensor({.dimensions = {1ull << 40, 1ull << 40, 1ull << 40}}), "");
  refused(B().tensor({.dimensions = {(1ull << 40) + 1}}), "dimension is 1099511627777");
}

TEST(GgufMalformed, ManyTensorsWithoutData) {
  B builder;
  for (int i = 0; i < 100000; ++i) builder.tensor({.name = "t" + std::to_string(i), .dimensions = {0}, .data = ""});
  builder.tensor_count = 1'000'000;
  refused(builder, "the number of tensors is 1000000");
  builder.tensor_count.reset();
  refused(builder, "dimension is 0");
}

TEST(GgufMalformed, Strings) {
  refused(B().string(std::string(65536, 'k'), "v"), "length is 65536");
  refused(B().string(std::string(100 << 20, 'k'), "v"), "length is 104857600");
  refused(B().string("", "v"), "a metadata key is empty");
  refused(B().string("a\0b", "v").string(std::string_view("x\0y", 3), "v"), "holds control characters");
  refused(B().string("\xff\xfe", "v"), "'\\xff\\xfe' holds control characters or is not UTF-8");
  refused(B().string("k\x1b[31m", "v"), "'k\\x1b[31m'");
  refused(B().string("k", "1").string("k", "2"), "'k' stands twice");
  refused(B().key("k", 9, array(8, 1, B::number<std::uint64_t>(1ull << 40))), "");
}

TEST(GgufMalformed, ValueTypes) {
  refused(B().key("k", 13, "abcdefgh"), "type is 13");
  refused(B().key("k", UINT32_MAX, "abcdefgh"), "type is 4294967295");
  refused(B().key("k", 9, array(13, 1, "abcdefgh")), "type is 13");
  refused(B().key("k", 9, array(9, 1, array(4, 1, "abcd"))), "array of arrays", ErrorCode::kUnsupported);
  std::string deep;
  for (int i = 0; i < 10000; ++i) deep += array(9, 1);
  refused(B().key("k", 9, deep), "array of arrays", ErrorCode::kUnsupported);
  refused(B().key("k", 7, "\x02"), "yes-or-no");
  refused(B().key("k", 9, array(7, 2, "\x01\x09")), "yes-or-no");
  refused(B().key("k", 10, B::number<std::uint64_t>(1ull << 63)), "k' is 9223372036854775808");
}

TEST(GgufMalformed, Alignment) {
  const std::string_view place = "test.gguf, metadata";
  refused(small_gguf().uint32("general.alignment", 0), "alignment is 0", ErrorCode::kCorrupt, place);
  refused(small_gguf().uint32("general.alignment", 3), "alignment is 3", ErrorCode::kCorrupt, place);
  refused(small_gguf().uint32("general.alignment", 1u << 31), "alignment is 2147483648", ErrorCode::kCorrupt, place);
  refused(small_gguf().string("general.alignment", "32"), "is not an unsigned", ErrorCode::kCorrupt, place);
  refused(small_gguf().key("general.alignment", 10, B::number<std::uint64_t>(32)), "is not an unsigned",
          ErrorCode::kCorrupt, place);
  refused(small_gguf().key("general.alignment", 9, array(4, 1, B::number<std::uint32_t>(32))), "is not an unsigned",
          ErrorCode::kCorrupt, place);
  B other = small_gguf().uint32("general.alignment", 64);
  other.alignment = 64;
  EXPECT_TRUE(parse(other.build()));
}

B two_tensors(std::uint64_t second) {
  B builder;
  builder.tensor({.name = "a"}).tensor({.name = "b", .offset = second});
  return builder;
}

TEST(GgufMalformed, Offsets) {
  EXPECT_TRUE(parse(two_tensors(128).build()));
  refused(two_tensors(0), "overlaps the one before it");
  refused(two_tensors(96), "overlaps the one before it");
  refused(two_tensors(160), "leaves a gap before it");
  refused(two_tensors(130), "not a multiple of the alignment");
  refused(two_tensors(1 << 20), "leaves a gap");
  refused(two_tensors(1ull << 63), "leaves a gap");
  refused(two_tensors(UINT64_MAX), "not a multiple");
  refused(two_tensors(UINT64_MAX - 31), "leaves a gap");
  refused(B().tensor({.offset = 32}), "leaves a gap");
  B swapped;  // order in the table need not be the order in the data
  swapped.tensor({.name = "a", .offset = 128}).tensor({.name = "b", .offset = 0});
  EXPECT_TRUE(parse(swapped.build()));
}

TEST(GgufMalformed, TensorTypes) {
  refused(B().tensor({.type = 4}), "has the type Q4_2", ErrorCode::kUnsupported);
  refused(B().tensor({.type = 16}), "has the type IQ2_XXS", ErrorCode::kUnsupported);
  refused(B().tensor({.type = 1000}), "unknown type number 1000");
  refused(B().tensor({.type = UINT32_MAX}), "unknown type number 4294967295");
  refused(B().tensor({.dimensions = {33}, .type = 2}), "not whole blocks of Q4_0");
  refused(B().tensor({.dimensions = {128}, .type = 12}), "not whole blocks of Q4_K");
  refused(B().tensor({.dimensions = {64}, .type = 0}), "the file ends inside tensor 'w'");
  refused(B().tensor({.dimensions = {16}, .type = 0, .data = std::string(128, 'x')}), "belong to nothing");
}

TEST(GgufMalformed, TensorNames) {
  refused(B().tensor({.name = ""}), "a tensor name is empty");
  refused(B().tensor({.name = std::string(1 << 20, 'n')}), "length is 1048576");
  refused(B().tensor({.name = std::string("a\0b", 3)}), "'a\\x00b' holds control characters");
  refused(B().tensor({.name = "\xc3("}), "not UTF-8");
  refused(B().tensor({.name = "../x"}), "leads out of a folder");
  refused(B().tensor({.name = "a/../../x"}), "leads out of a folder");
  refused(B().tensor({.name = "/etc/passwd"}), "leads out of a folder");
  refused(B().tensor({.name = "\x1b]0;owned\x07"}), "\\x1b]0;owned\\x07");
  refused(B().tensor({.name = "a\xe2\x80\xae"}), "holds control characters");  // right-to-left override
  refused(B().tensor({.name = "a"}).tensor({.name = "a"}), "'a' stands twice");
}

TEST(GgufMalformed, Versions) {
  const auto version = [](std::uint32_t number) {
    B builder = small_gguf();
    builder.version = number;
    return builder;
  };
  EXPECT_TRUE(parse(version(2).build()));
  refused(version(1), "version 1, which was replaced", ErrorCode::kUnsupported);
  refused(version(99), "GGUF version 99", ErrorCode::kUnsupported);
  refused(version(0), "GGUF version 0", ErrorCode::kUnsupported);
  refused(version(0x03000000), "big-endian", ErrorCode::kUnsupported);
  refused(version(0x02000000), "big-endian", ErrorCode::kUnsupported);
}

TEST(GgufMalformed, OtherKindsOfFiles) {
  const auto other = [](std::string_view start, std::string_view what, ErrorCode code = ErrorCode::kCorrupt) {
    refused(std::string(start) + std::string(64, 'x'), what, code);
  };
  other("PK\x03\x04", "found a zip archive");
  other("\x1f\x8b\x08", "found a gzip archive");
  other("BZh9", "found a bzip2 archive");
  other(
      "\xfd"
      "7zXZ",
      "found an xz archive");
  other("\x28\xb5\x2f\xfd", "found a zstd archive");
  other("<!DOCTYPE html><html>", "found an HTML page");
  other("<html><body>404", "found an HTML page");
  other("version https://git-lfs.github.com/spec/v1\noid sha256:", "found a Git LFS pointer");
  other("\x80\x02}q\x00", "found a pickle", ErrorCode::kUnsupported);
  other("\x80\x04\x95", "found a pickle", ErrorCode::kUnsupported);
  other("\x08\x07\x12\x07pytorch", "found an ONNX model");
  other("{\"a\":1}", "found JSON");
  other("\x89PNG\r\n\x1a\n", "found a PNG image");
  other(
      "\x7f"
      "ELF",
      "found a program");
  other("lmgg", "GGUF's forerunner");
  other("tjgg", "GGUF's forerunner");
  other("\x1b[2J", "found '\\x1b[2J");
  refused(std::string(4096, '\0'), "found '\\x00\\x00");
  refused("GGUG" + small_gguf().build().substr(4), "expected GGUF's magic");
}

// Every byte of the header set to a few bad values: refused, or accepted with everything inside the file.
TEST(GgufMalformed, AnyByteChanged) {
  const std::string good = small_gguf().build();
  std::size_t header = small_gguf().header().size();
  for (std::size_t i = 0; i < header; ++i) {
    for (int value : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
      std::string bytes = good;
      bytes[i] = static_cast<char>(value);
      const auto directory = parse(bytes);
      if (!directory) {
        EXPECT_FALSE(directory.error().place.empty());
        EXPECT_FALSE(directory.error().hint.empty());
        continue;
      }
      for (std::size_t t = 0; t < directory->tensors.size(); ++t)
        EXPECT_LE(directory->offsets[t] + directory->tensors[t].bytes, bytes.size());
    }
  }
}

}  // namespace
}  // namespace kinglet
