#include "store/zip.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <cstdint>
#include <string>
#include <vector>

namespace kinglet {
namespace {

std::string little(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
  return text;
}

std::uint32_t crc_of(const std::string& text) {
  return static_cast<std::uint32_t>(
      crc32(0, reinterpret_cast<const Bytef*>(text.data()), static_cast<uInt>(text.size())));
}

std::string deflated(const std::string& text) {
  z_stream stream = {};
  deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 9, Z_DEFAULT_STRATEGY);
  std::string out(text.size() + 1000, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

// An entry whose every field may be wrong.
struct Entry {
  std::string name, packed;
  std::uint64_t bytes = 0;
  std::uint32_t crc = 0;
  int method = 0, flags = 0;
  std::string local_name = "\1";  // "\1": as `name`
  std::int64_t offset = -1;       // -1: where it is
};

Entry stored(const std::string& name, const std::string& text) {
  return {.name = name, .packed = text, .bytes = text.size(), .crc = crc_of(text)};
}

Entry compressed(const std::string& name, const std::string& text) {
  Entry entry = stored(name, text);
  entry.packed = deflated(text);
  entry.method = 8;
  return entry;
}

std::string archive(const std::vector<Entry>& entries, const std::string& comment = "") {
  std::string data, directory;
  for (const Entry& e : entries) {
    const std::string local = e.local_name == "\1" ? e.name : e.local_name;
    const std::string fields = little(e.flags, 2) + little(e.method, 2) + little(0, 4) + little(e.crc, 4) +
                               little(e.packed.size(), 4) + little(e.bytes, 4);
    directory += "PK\1\2" + little(20, 2) + little(20, 2) + fields + little(e.name.size(), 2) + little(0, 2) +
                 little(0, 2) + little(0, 2) + little(0, 2) + little(0, 4) +
                 little(e.offset < 0 ? data.size() : static_cast<std::uint64_t>(e.offset), 4) + e.name;
    data += "PK\3\4" + little(20, 2) + fields + little(local.size(), 2) + little(0, 2) + local + e.packed;
  }
  return data + directory + "PK\5\6" + little(0, 4) + little(entries.size(), 2) + little(entries.size(), 2) +
         little(directory.size(), 4) + little(data.size(), 4) + little(comment.size(), 2) + comment;
}

Result<ZipReader> open(const std::string& bytes) { return ZipReader::open(std::as_bytes(std::span(bytes)), "x.whl"); }

Result<std::string> content(const ZipReader& zip, std::string_view name, std::uint64_t max_bytes = 1 << 20) {
  std::string text;
  const ZipEntry* const entry = zip.find(name);
  if (!entry) return fail(ErrorCode::kNotFound, "no such entry");
  auto result = zip.read(*entry, max_bytes, [&](std::span<const std::byte> piece) -> Result<void> {
    text.append(reinterpret_cast<const char*>(piece.data()), piece.size());
    return {};
  });
  if (!result) return tl::unexpected(result.error());
  return text;
}

TEST(ZipReader, ReadsStoredAndDeflatedEntries) {
  const std::string long_text(700'000, 'x');
  const std::string bytes =
      archive({stored("a/b.txt", "hello"), compressed("c", long_text), stored("empty", "")}, "note");
  const auto zip = open(bytes);
  ASSERT_TRUE(zip) << zip.error().text();
  EXPECT_EQ(zip->entries().size(), 3u);
  EXPECT_EQ(*content(*zip, "a/b.txt"), "hello");
  EXPECT_EQ(*content(*zip, "c"), long_text);
  EXPECT_EQ(*content(*zip, "empty"), "");
  EXPECT_EQ(zip->find("b.txt"), nullptr);
}

TEST(ZipReader, LeavesFoldersOut) {
  const std::string bytes = archive({stored("a/", ""), stored("a/b", "x")});
  const auto zip = open(bytes);
  ASSERT_TRUE(zip);
  EXPECT_EQ(zip->entries().size(), 1u);
}

TEST(ZipReader, RefusesEveryTruncation) {
  const std::string bytes = archive({stored("a", "hello"), compressed("b", "hello hello hello")});
  ASSERT_TRUE(open(bytes));
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const std::string part = bytes.substr(0, size);
    const auto zip = open(part);
    ASSERT_FALSE(zip) << size;
    EXPECT_EQ(zip.error().code, ErrorCode::kCorrupt);
    EXPECT_EQ(zip.error().place.substr(0, 5), "x.whl");
  }
}

TEST(ZipReader, NeverReadsOutsideWhateverByteIsChanged) {
  const std::string good = archive({stored("a", "hello"), compressed("b", std::string(300, 'z'))});
  for (std::size_t at = 0; at < good.size(); ++at) {
    for (const int change : {0x01, 0x80, 0xff}) {
      // In memory of exactly its size, so that a sanitizer sees a step too far.
      std::vector<char> bytes(good.begin(), good.end());
      bytes[at] = static_cast<char>(bytes[at] ^ change);
      const auto zip = ZipReader::open(std::as_bytes(std::span(bytes)), "x");
      if (!zip) continue;
      for (const ZipEntry& entry : zip->entries()) {
        std::uint64_t bytes_out = 0;
        const auto result = zip->read(entry, 1000, [&](std::span<const std::byte> piece) -> Result<void> {
          bytes_out += piece.size();
          return {};
        });
        EXPECT_LE(bytes_out, 1000u);
        if (result) EXPECT_EQ(bytes_out, entry.bytes);
      }
    }
  }
}

TEST(ZipReader, RefusesNamesThatLeaveTheirFolder) {
  for (const std::string& name :
       {std::string("../x"), std::string("/etc/passwd"), std::string("a/../../x"), std::string("a//b"),
        std::string("."), std::string("a\\..\\x"), std::string(""), std::string("a\0b", 3), std::string("a\n")}) {
    const std::string bytes = archive({stored(name, "x")});
    EXPECT_FALSE(open(bytes)) << name;
  }
}

TEST(ZipReader, RefusesTwoEntriesOfOneName) {
  const std::string bytes = archive({stored("a", "x"), stored("a", "y")});
  EXPECT_EQ(open(bytes).error().code, ErrorCode::kCorrupt);
}

TEST(ZipReader, RefusesAnotherNameInTheLocalHeader) {
  Entry entry = stored("model.gguf", "x");
  entry.local_name = "other.gguf";
  const std::string bytes = archive({entry});
  EXPECT_FALSE(open(bytes));
}

TEST(ZipReader, RefusesOverlappingEntries) {
  // The second directory entry points at the first one's data.
  // (its local header is made to have this name, so that nothing else is wrong).
  Entry first = stored("a", "x"), second = stored("b", "x");
  first.local_name = "b";
  second.offset = 0;
  std::string bytes = archive({first, second});
  EXPECT_FALSE(open(bytes));
  // One inside the other's data.
  const std::string inner = archive({stored("b", "y")});
  Entry outer = stored("a", inner);
  second = stored("b", "y");
  second.offset = 31;
  bytes = archive({outer, second});
  const auto zip = open(bytes);
  ASSERT_FALSE(zip);
  EXPECT_NE(zip.error().message.find("overlap"), std::string::npos) << zip.error().message;
}

TEST(ZipReader, RefusesDataPastTheDirectory) {
  Entry entry = stored("a", "x");
  entry.offset = 1000;
  EXPECT_FALSE(open(archive({entry})));
  entry.offset = 0xfffffff0;
  EXPECT_FALSE(open(archive({entry})));
}

TEST(ZipReader, RefusesEncryptionAndUnknownMethods) {
  Entry entry = stored("a", "x");
  entry.flags = 1;
  EXPECT_EQ(open(archive({entry})).error().code, ErrorCode::kUnsupported);
  entry.flags = 0;
  entry.method = 14;
  EXPECT_EQ(open(archive({entry})).error().code, ErrorCode::kUnsupported);
}

TEST(ZipReader, RefusesMoreThanTheCallerExpects) {
  const std::string bytes = archive({compressed("bomb", std::string(10'000'000, '\0'))});
  EXPECT_LT(bytes.size(), 20'000u);
  const auto zip = open(bytes);
  ASSERT_TRUE(zip);
  EXPECT_EQ(content(*zip, "bomb", 1000).error().code, ErrorCode::kExhausted);
}

TEST(ZipReader, StopsWhenDataGoesOnPastItsDeclaredSize) {
  Entry entry = compressed("bomb", std::string(10'000'000, '\0'));
  entry.bytes = 100;
  const std::string bytes = archive({entry});
  const auto zip = open(bytes);
  ASSERT_TRUE(zip);
  std::uint64_t out = 0;
  const auto result = zip->read(*zip->find("bomb"), 1000, [&](std::span<const std::byte> piece) -> Result<void> {
    out += piece.size();
    return {};
  });
  EXPECT_EQ(result.error().code, ErrorCode::kCorrupt);
  EXPECT_LE(out, 100u);
}

TEST(ZipReader, FindsDamageByCrcAndLength) {
  Entry entry = stored("a", "hello");
  entry.crc ^= 1;
  std::string bytes = archive({entry});
  EXPECT_EQ(content(*open(bytes), "a").error().code, ErrorCode::kCorrupt);
  entry = compressed("a", "hello hello hello");
  entry.bytes += 1;
  bytes = archive({entry});
  EXPECT_EQ(content(*open(bytes), "a").error().code, ErrorCode::kCorrupt);
  entry = compressed("a", "hello hello hello");
  entry.packed += "rest";
  bytes = archive({entry});
  EXPECT_EQ(content(*open(bytes), "a").error().code, ErrorCode::kCorrupt);
  entry = compressed("a", std::string(5000, 'q'));
  entry.packed.resize(entry.packed.size() - 2);
  bytes = archive({entry});
  EXPECT_EQ(content(*open(bytes), "a").error().code, ErrorCode::kCorrupt);
}

TEST(ZipReader, PassesTheSinksErrorOn) {
  const std::string bytes = archive({stored("a", "hello")});
  const auto zip = open(bytes);
  const auto result = zip->read(*zip->find("a"), 100, [](std::span<const std::byte>) -> Result<void> {
    return fail(ErrorCode::kExhausted, "full");
  });
  EXPECT_EQ(result.error().message, "full");
}

}  // namespace
}  // namespace kinglet
