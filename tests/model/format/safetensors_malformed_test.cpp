// Broken safetensors files and shard indexes, each made here: all are refused with a code, a place and a way out.
#include <gtest/gtest.h>

#include "expect_error.h"
#include "model/format/safetensors.h"

namespace kinglet {
namespace {

std::string file(std::string_view header, std::string_view data, std::uint64_t length) {
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + std::string(header) + std::string(data);
}
std::string file(std::string_view header, std::string_view data = std::string_view("\0\0\0\0\0\0\0\0", 8)) {
  return file(header, data, header.size());
}
Result<SafetensorsDirectory> parse(const std::string& bytes) {
  return parse_safetensors(std::as_bytes(std::span(bytes)), "test.safetensors");
}
void refused(const std::string& bytes, std::string_view part, ErrorCode code = ErrorCode::kCorrupt) {
  SCOPED_TRACE(std::string(part));
  expect_error(parse(bytes), code, part, "test.safetensors, ");
}
// One tensor "w" of 8 bytes whose entry has these members.
std::string entry(std::string_view members, std::string_view name = "w") {
  return file("{\"" + std::string(name) + "\":{" + std::string(members) + "}}");
}

constexpr std::string_view kGood = R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";

TEST(SafetensorsMalformed, TheSmallFileItselfIsAccepted) {
  const auto directory = parse(file(kGood));
  ASSERT_TRUE(directory) << directory.error().text();
  EXPECT_EQ(directory->tensors.size(), 1u);
  EXPECT_EQ(directory->tensors[0].offset, 8 + kGood.size());
  EXPECT_TRUE(parse(file(std::string(kGood) + "    ")));
  EXPECT_TRUE(parse(entry(R"("dtype":"F64","shape":[],"data_offsets":[0,8])")));  // one value without dimensions
  EXPECT_TRUE(parse(file("{}", "")));
}

TEST(SafetensorsMalformed, CutAtEveryByte) {
  const std::string whole = file(kGood);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    SCOPED_TRACE(size);
    expect_error(parse(whole.substr(0, size)), ErrorCode::kCorrupt, size == 0 ? "empty" : "",
                 "test.safetensors, byte ");
  }
}

TEST(SafetensorsMalformed, HeaderLength) {
  for (std::uint64_t length : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1} << 31, std::uint64_t{1} << 32,
                               std::uint64_t{1} << 63, UINT64_MAX})
    refused(file(kGood, "12345678", length), "the header's length is " + std::to_string(length));
  refused(file(kGood, "12345678", kGood.size() - 1), "not valid JSON");
  refused(file(kGood, "12345678", kGood.size() + 1), "not valid JSON");
  refused(file(kGood, "123456789"), "1 bytes after the last tensor");
  refused(file(kGood, "1234567"), "lies at bytes 0 to 8");
}

TEST(SafetensorsMalformed, Json) {
  refused(file("{\"w\":"), "not valid JSON");
  refused(file("[1,2,3]"), "found '");
  refused(file("{\"w\":1}"), "not described by an object");
  refused(file("{\"w\":null}"), "not described by an object");
  refused(file("{\xff}"), "not valid JSON");
  refused(file("{\"w\":{\"dtype\":\"\xff\"}}"), "not valid JSON");
  refused(file("{\"a\":" + std::string(100000, '[') + "}"), "nested deeper than", ErrorCode::kExhausted);
  std::string objects = "{\"a\":";
  for (int i = 0; i < 1000; ++i) objects += "{\"a\":";
  refused(file(objects), "nested deeper than", ErrorCode::kExhausted);
  refused(
      file(
          R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})"),
      "stands twice");
  refused(file(R"({"w":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})"), "stands twice");
  refused(file(R"({"__metadata__":1})", ""), "__metadata__ is not an object of texts");
  refused(file(R"({"__metadata__":{"a":1}})", ""), "something else than texts");
  refused(file(R"({"__metadata__":{"a":{}}})", ""), "something else than texts");
}

TEST(SafetensorsMalformed, Entries) {
  refused(entry(R"("shape":[2],"data_offsets":[0,8])"), "needs dtype, shape and data_offsets");
  refused(entry(R"("dtype":"F32","data_offsets":[0,8])"), "needs dtype, shape and data_offsets");
  refused(entry(R"("dtype":"F32","shape":[2])"), "needs dtype, shape and data_offsets");
  refused(entry(R"("dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1)"), "and nothing else");
  refused(entry(R"("dtype":7,"shape":[2],"data_offsets":[0,8])"), "dtype that is not a text");
  refused(entry(R"("dtype":"Q4","shape":[2],"data_offsets":[0,8])"), "has the dtype 'Q4'", ErrorCode::kUnsupported);
  refused(entry(R"("dtype":"F4","shape":[16],"data_offsets":[0,8])"), "has the dtype 'F4'", ErrorCode::kUnsupported);
  refused(entry(R"("dtype":"","shape":[2],"data_offsets":[0,8])"), "has the dtype ''", ErrorCode::kUnsupported);
}

TEST(SafetensorsMalformed, Shapes) {
  const auto shape = [](std::string_view text) {
    return entry("\"dtype\":\"F32\",\"shape\":" + std::string(text) + ",\"data_offsets\":[0,8]");
  };
  for (std::string_view text : {"2", "\"2\"", "{}", "null", "[1,1,1,1,1,1,1,1,2]"})
    refused(shape(text), "shape that is not a list");
  for (std::string_view text : {"[-2]", "[2.0]", "[1e1]", "[\"2\"]", "[null]", "[0]", "[2,0]", "[[2]]",
                                "[1099511627777]", "[18446744073709551615]", "[18446744073709551616]"})
    refused(shape(text), "has a dimension that is not a whole number");
  refused(shape("[1e400]"), "");
  refused(shape("[1099511627776,1099511627776]"), "does not fit 64 bits");
  refused(shape("[1099511627776,1048576]"), "more values than any file can hold");
  refused(shape("[3]"), "has 8 bytes, its shape and dtype ask for 12");
  refused(shape("[1]"), "has 8 bytes, its shape and dtype ask for 4");
}

TEST(SafetensorsMalformed, Offsets) {
  const auto offsets = [](std::string_view text) {
    return entry("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" + std::string(text));
  };
  for (std::string_view text : {"8", "[0]", "[0,8,8]", "[-8,0]", "[0,8.0]", "[1.5,9.5]", "[0,1e30]", "[\"0\",\"8\"]",
                                "[null,8]", "[0,18446744073709551616]"})
    refused(offsets(text), "data_offsets that are not two whole numbers");
  for (std::string_view text :
       {"[8,0]", "[0,16]", "[8,16]", "[0,18446744073709551615]", "[18446744073709551608,18446744073709551615]"})
    refused(offsets(text), "of a data section of 8 bytes");
  const auto two = [](std::string_view first, std::string_view second) {
    return file("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":" + std::string(first) +
                    "},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":" + std::string(second) + "}}",
                "12345678");
  };
  EXPECT_TRUE(parse(two("[0,4]", "[4,8]")));
  EXPECT_TRUE(parse(two("[4,8]", "[0,4]")));
  refused(two("[0,4]", "[0,4]"), "overlaps the one before it");
  refused(two("[0,4]", "[2,6]"), "overlaps the one before it");
  refused(
      file(
          R"({"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})"),
      "leaves a gap before it");
  refused(file(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})"), "leaves a gap before it");
  refused(file(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})"), "4 bytes after the last tensor");
}

TEST(SafetensorsMalformed, Names) {
  const auto named = [](std::string_view name) {
    return entry(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])", name);
  };
  EXPECT_TRUE(parse(named("model.layers.0.weight")));
  refused(named(""), "a tensor name is empty");
  refused(named(std::string(1 << 20, 'n')), "has 1048576 bytes");
  refused(named("a\\u0000b"), "'a\\x00b' holds control characters");
  refused(named("\\u001b[31m"), "'\\x1b[31m' holds control characters");
  refused(named("../x"), "leads out of a folder");
  refused(named("/etc/passwd"), "leads out of a folder");
}

TEST(SafetensorsMalformed, OtherKindsOfFiles) {
  const auto other = [](std::string_view start, std::string_view what, ErrorCode code = ErrorCode::kCorrupt) {
    refused(std::string(start) + std::string(64, 'x'), what, code);
  };
  other("PK\x03\x04", "found a zip archive");
  other("\x1f\x8b\x08", "found a gzip archive");
  other("<!DOCTYPE html>", "found an HTML page");
  other("version https://git-lfs.github.com/spec/v1\n", "found a Git LFS pointer");
  other("\x80\x02}q", "found a pickle", ErrorCode::kUnsupported);
  other("{\"a\":1}", "found JSON");
  other("\x89PNG\r\n\x1a\n", "found a PNG image");
  other("GGUF\x03", "expected a safetensors file");
  refused(std::string(100, '\0'), "expected a safetensors file");
}

void index_refused(std::string_view text, std::string_view part, ErrorCode code = ErrorCode::kCorrupt) {
  SCOPED_TRACE(std::string(text));
  expect_error(parse_shard_index(text, "index.json"), code, part, "index.json");
}

TEST(ShardIndex, NamesFilesOfTheFolderOnly) {
  const auto index = parse_shard_index(
      R"({"metadata":{"total_size":8},"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors","c":"m-1.safetensors"}})",
      "index.json");
  ASSERT_TRUE(index) << index.error().text();
  EXPECT_EQ(index->files, (std::vector<std::string>{"m-1.safetensors", "m-2.safetensors"}));
  EXPECT_EQ(index->tensors.size(), 3u);
  const auto with_file = [](std::string_view name) { return "{\"weight_map\":{\"a\":\"" + std::string(name) + "\"}}"; };
  index_refused(with_file("../../etc/passwd"), "leads out");
  index_refused(with_file("/etc/passwd.safetensors"), "leads out");
  index_refused(with_file("sub/m.safetensors"), "leads out");
  index_refused(with_file("..\\\\m.safetensors"), "leads out");
  index_refused(with_file(".hidden.safetensors"), "leads out");
  index_refused(with_file("m\\u0000.safetensors"), "holds control characters");
  index_refused(with_file("m\\u001b.safetensors"), "holds control characters");
  index_refused(with_file(""), "is empty");
  index_refused(with_file(std::string(300, 'm') + ".safetensors"), "has 312 bytes");
  index_refused(with_file("pytorch_model.bin"), "which is not safetensors", ErrorCode::kUnsupported);
}

TEST(ShardIndex, Malformed) {
  index_refused("", "not valid JSON");
  index_refused("[]", "no weight_map");
  index_refused("{}", "no weight_map");
  index_refused(R"({"weight_map":[]})", "no weight_map");
  index_refused(R"({"weight_map":{}})", "names no tensors");
  index_refused(R"({"weight_map":{"a":1}})", "has no file name");
  index_refused(R"({"weight_map":{"":"m.safetensors"}})", "is empty");
  index_refused(R"({"weight_map":{"a":"m.safetensors","a":"n.safetensors"}})", "stands twice");
  index_refused(std::string(1000, '{'), "");
  index_refused(std::string(1000, '['), "nested deeper", ErrorCode::kExhausted);
}

}  // namespace
}  // namespace kinglet
