// What open_checkpoint does with paths: split GGUF files, special files, files that cannot be read.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "expect_error.h"
#include "gguf_builder.h"
#include "kinglet/checkpoint.h"
#include "temporary_folder.h"

namespace kinglet {
namespace {

class SplitGguf : public ::testing::Test {
 protected:
  static GgufBuilder part(int number, int count = 2) {
    GgufBuilder b;
    if (number == 0) b.string("general.architecture", "llama");
    b.key("split.no", 2, GgufBuilder::number<std::uint16_t>(static_cast<std::uint16_t>(number)));
    b.key("split.count", 2, GgufBuilder::number<std::uint16_t>(static_cast<std::uint16_t>(count)));
    b.key("split.tensors.count", 5, GgufBuilder::number<std::int32_t>(2));
    b.tensor({.name = "t" + std::to_string(number), .data = std::string(128, static_cast<char>('a' + number))});
    return b;
  }
  std::string name(int number) const { return "m-0000" + std::to_string(number + 1) + "-of-00002.gguf"; }
  void SetUp() override {
    folder.write(name(0), part(0).build());
    folder.write(name(1), part(1).build());
  }
  void refused(ErrorCode code, std::string_view text, int opened = 0) {
    expect_error(open_checkpoint(folder.path(name(opened))), code, text, folder.path());
  }
  test::TemporaryFolder folder;
};

TEST_F(SplitGguf, IsOneModel) {
  const auto model = open_checkpoint(folder.path(name(0)));
  ASSERT_TRUE(model) << model.error().text();
  ASSERT_EQ((*model)->tensors().size(), 2u);
  const auto data = (*model)->data((*model)->tensors()[1]);
  ASSERT_TRUE(data);
  EXPECT_EQ(static_cast<char>(data->bytes[127]), 'b');
  EXPECT_FALSE((*model)->metadata().contains("split.count"));
  EXPECT_EQ((*model)->file_bytes(),
            std::filesystem::file_size(folder.path(name(0))) + std::filesystem::file_size(folder.path(name(1))));
}
TEST_F(SplitGguf, OpenedByAnotherFile) { refused(ErrorCode::kCorrupt, "this is file 2 of a model split in 2", 1); }
TEST_F(SplitGguf, Missing) {
  std::filesystem::remove(folder.path(name(1)));
  refused(ErrorCode::kNotFound, "");
}
TEST_F(SplitGguf, Repeated) {
  folder.write(name(1), part(0).build());
  refused(ErrorCode::kCorrupt, "this is file 1 of a model split in 2, expected file 2");
}
TEST_F(SplitGguf, OfAnotherSet) {
  folder.write(name(1), part(1, 3).build());
  refused(ErrorCode::kCorrupt, "split in 3, expected 2");
}
TEST_F(SplitGguf, NotSplitAtAll) {
  folder.write(name(1), small_gguf().build());
  refused(ErrorCode::kCorrupt, "split in 1, expected 2");
}
TEST_F(SplitGguf, DifferingMetadata) {
  folder.write(name(1), part(1).string("general.architecture", "qwen2").build());
  refused(ErrorCode::kCorrupt, "'general.architecture' differs");
}
TEST_F(SplitGguf, SameTensorTwice) {
  GgufBuilder second = part(1);
  second.tensors[0].name = "t0";
  folder.write(name(1), second.build());
  refused(ErrorCode::kCorrupt, "stands in two files");
}
TEST_F(SplitGguf, ExtraTensor) {
  folder.write(name(1), part(1).tensor({.name = "more"}).build());
  refused(ErrorCode::kCorrupt, "the set has 3 tensors, its first file promises 2");
}
TEST_F(SplitGguf, NameWithoutNumbers) {
  std::filesystem::rename(folder.path(name(0)), folder.path("m.gguf"));
  expect_error(open_checkpoint(folder.path("m.gguf")), ErrorCode::kCorrupt, "its name does not say so", "m.gguf");
}
TEST_F(SplitGguf, HugeCount) {
  GgufBuilder b;
  b.key("split.no", 2, GgufBuilder::number<std::uint16_t>(0));
  b.key("split.count", 2, GgufBuilder::number<std::uint16_t>(65535));
  folder.write(name(0), b.build());
  refused(ErrorCode::kCorrupt, "'split.count' is 65535");
}
TEST_F(SplitGguf, Truncated) {
  std::filesystem::resize_file(folder.path(name(1)), 60);
  refused(ErrorCode::kCorrupt, "");
}

TEST(Open, SpecialFilesAreRefusedAtOnce) {
  test::TemporaryFolder folder;
  ASSERT_EQ(mkfifo(folder.path("fifo.gguf").c_str(), 0600), 0);
  for (const std::string& path : {folder.path("fifo.gguf"), std::string("/dev/zero"), std::string("/dev/null")}) {
    const auto opened = open_checkpoint(path);
    ASSERT_FALSE(opened) << path;
    EXPECT_FALSE(opened.error().place.empty());
    EXPECT_FALSE(opened.error().hint.empty());
  }
  EXPECT_FALSE(open_checkpoint(""));
  EXPECT_FALSE(open_checkpoint(std::string("a\0b", 3)));
}

TEST(Open, WithoutPermission) {
  test::TemporaryFolder folder;
  const std::string path = folder.write("secret.gguf", small_gguf().build());
  ASSERT_EQ(chmod(folder.path().c_str(), 0755), 0);
  ASSERT_EQ(chmod(path.c_str(), 0), 0);
  // Root may read everything: the check runs in a child that gives its rights up.
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (geteuid() == 0 && setuid(65534) != 0) _exit(10);
    const auto opened = open_checkpoint(path);
    _exit(opened ? 1 : opened.error().code == ErrorCode::kUnsupported && !opened.error().hint.empty() ? 0 : 2);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace kinglet
