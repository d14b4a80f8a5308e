#include "base/sha256.h"

#include <gtest/gtest.h>

#include "temporary_folder.h"

namespace kinglet {
namespace {

// FIPS 180-2, appendix B, and the empty message.
constexpr std::string_view kEmpty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr std::string_view kAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr std::string_view kMillion = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

TEST(Sha256, EqualsTheStandardsExamples) {
  EXPECT_EQ(sha256("").hex(), kEmpty);
  EXPECT_EQ(sha256("abc").hex(), kAbc);
  EXPECT_EQ(sha256(std::string(1'000'000, 'a')).hex(), kMillion);
}

TEST(Sha256, DoesNotDependOnThePieces) {
  Sha256 hash;
  const std::string text(1'000'000, 'a');
  for (std::size_t begin = 0, size = 1; begin < text.size(); begin += size, size = size % 997 + 1) {
    hash.update(std::string_view(text).substr(begin, size));
  }
  EXPECT_EQ(hash.finish().hex(), kMillion);
  EXPECT_EQ(hash.finish().hex(), kEmpty);  // finish() starts anew
}

TEST(Sha256, OfAFileShowsProgressAndStops) {
  const test::TemporaryFolder folder;
  const std::string path = folder.write("a", std::string(3'000'000, 'a'));
  std::uint64_t last = 0;
  const auto digest = sha256_file(path, [&](std::uint64_t done) {
    EXPECT_GT(done, last);
    last = done;
    return true;
  });
  ASSERT_TRUE(digest);
  EXPECT_EQ(last, 3'000'000u);
  EXPECT_EQ(*digest, sha256(std::string(3'000'000, 'a')));
  EXPECT_EQ(sha256_file(path, [](std::uint64_t) { return false; }).error().code, ErrorCode::kCancelled);
  EXPECT_EQ(sha256_file(folder.path()).error().code, ErrorCode::kInvalidArgument);
}

TEST(Digest, IsMadeFrom64DigitsOnly) {
  EXPECT_EQ(Digest::parse(kAbc)->hex(), kAbc);
  EXPECT_EQ(*Digest::parse("BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"), sha256("abc"));
  EXPECT_FALSE(Digest::parse(""));
  EXPECT_FALSE(Digest::parse(std::string(63, 'a')));
  EXPECT_FALSE(Digest::parse(std::string(65, 'a')));
  EXPECT_FALSE(Digest::parse("../" + std::string(61, 'a')));
  EXPECT_FALSE(Digest::parse(std::string(63, 'a') + "g"));
}

}  // namespace
}  // namespace kinglet
