#include "base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>

#include "temporary_folder.h"

namespace kinglet {
namespace {

using test::TemporaryFolder;

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST(MappedFile, ShowsTheBytesOfAFile) {
  const TemporaryFolder folder;
  const auto file = MappedFile::open(folder.write("a", "hello"));
  ASSERT_TRUE(file);
  EXPECT_EQ(text_of((*file)->bytes()), "hello");
  EXPECT_TRUE((*file)->check());
}

TEST(MappedFile, MayBeEmpty) {
  const TemporaryFolder folder;
  const auto file = MappedFile::open(folder.write("a", ""));
  ASSERT_TRUE(file);
  EXPECT_TRUE((*file)->bytes().empty());
  (*file)->release(0, 10);
}

TEST(MappedFile, RefusesWhatIsNoFile) {
  const TemporaryFolder folder;
  EXPECT_EQ(MappedFile::open(folder.path()).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(MappedFile::open("/dev/zero").error().code, ErrorCode::kInvalidArgument);
  ASSERT_EQ(mkfifo(folder.path("pipe").c_str(), 0600), 0);
  EXPECT_EQ(MappedFile::open(folder.path("pipe")).error().code, ErrorCode::kInvalidArgument);  // and does not wait
}

TEST(MappedFile, NamesTheFileThatIsAbsent) {
  const auto file = MappedFile::open("/nowhere/model.gguf");
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(file.error().place, "/nowhere/model.gguf");
}

TEST(MappedFile, IsIoWithoutPermission) {
  const TemporaryFolder folder;
  const std::string path = folder.write("secret", "x");
  chmod(path.c_str(), 0);
  if (geteuid() == 0) {  // root reads everything: look as nobody, in a process of its own
    chmod(folder.path().c_str(), 0755);
    const pid_t child = fork();
    if (child == 0) {
      if (setuid(65534) != 0) _exit(2);
      const auto file = MappedFile::open(path);
      _exit(!file && file.error().code == ErrorCode::kIo && file.error().place == path ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  } else {
    EXPECT_EQ(MappedFile::open(path).error().code, ErrorCode::kIo);
  }
}

TEST(MappedFile, GivesZerosAndSaysSoWhenTheFileShrinks) {
  const TemporaryFolder folder;
  const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::string path = folder.write("model", std::string(64 * page, 'x'));
  const auto file = MappedFile::open(path);
  ASSERT_TRUE(file);
  const auto other = MappedFile::open(folder.write("other", std::string(page, 'y')));
  ASSERT_EQ(truncate(path.c_str(), static_cast<off_t>(page)), 0);
  std::uint64_t sum = 0;
  std::thread reader([&] {  // any thread may be the one that meets it
    for (const std::byte b : (*file)->bytes()) sum += static_cast<unsigned char>(b);
  });
  reader.join();
  EXPECT_EQ(sum, page * 'x');
  const auto state = (*file)->check();
  ASSERT_FALSE(state);
  EXPECT_EQ(state.error().code, ErrorCode::kIo);
  EXPECT_EQ(state.error().place, path);
  EXPECT_TRUE((*other)->check());
}

TEST(MappedFileDeathTest, LeavesOtherBusErrorsAlone) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const TemporaryFolder folder;
  const std::string path = folder.write("foreign", std::string(8192, 'x'));
  EXPECT_EXIT(
      {
        const auto ours = MappedFile::open(path);
        const int file = open(path.c_str(), O_RDWR);
        const auto* bytes = static_cast<const volatile char*>(mmap(nullptr, 8192, PROT_READ, MAP_SHARED, file, 0));
        if (ftruncate(file, 0) != 0) _exit(103);
        signal(SIGALRM, SIG_DFL);
        alarm(20);
        const char byte = bytes[0];
        _exit(byte ? 101 : 102);
      },
      // Killed by the signal, or ended by the handler of a sanitizer, with its status.
      [](int status) {
        return !(WIFEXITED(status) && WEXITSTATUS(status) > 100) &&
               !(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
      },
      "");
}

TEST(MappedFile, StillReadsAfterRelease) {
  const TemporaryFolder folder;
  const auto file = MappedFile::open(folder.write("a", std::string(100'000, 'z')));
  ASSERT_TRUE(file);
  (*file)->release(1, 90'000);
  (*file)->release(0, 1'000'000);
  (*file)->release(200'000, 1);
  EXPECT_EQ(text_of((*file)->bytes()), std::string(100'000, 'z'));
}

TEST(RegularFile, ReadsInPiecesAndAtOffsets) {
  const TemporaryFolder folder;
  auto file = RegularFile::open(folder.write("a", "0123456789"));
  ASSERT_TRUE(file);
  EXPECT_EQ(file->size(), 10u);
  std::byte buffer[6];
  EXPECT_EQ(*file->read(buffer), 6u);
  EXPECT_EQ(text_of(buffer), "012345");
  EXPECT_EQ(*file->read(buffer), 4u);
  EXPECT_EQ(*file->read(buffer), 0u);
  ASSERT_TRUE(file->read_at(4, buffer));
  EXPECT_EQ(text_of(buffer), "456789");
  EXPECT_EQ(file->read_at(5, buffer).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(file->read_at(~0ull, buffer).error().code, ErrorCode::kCorrupt);
}

TEST(ReadFile, StopsAtItsLimit) {
  const TemporaryFolder folder;
  const std::string path = folder.write("a", "12345");
  EXPECT_EQ(*read_file(path, 5), "12345");
  EXPECT_EQ(read_file(path, 4).error().code, ErrorCode::kExhausted);
  EXPECT_EQ(read_file("/proc/self/maps", 10).error().code, ErrorCode::kExhausted);  // a file whose size is said to be 0
}

// Both ways of writing: without a name until the end, and under a temporary one.
class AtomicFileWays : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Nameless, AtomicFileWays, testing::Bool());

TEST_P(AtomicFileWays, AppearsWhenItIsWhole) {
  for (const bool replaces : {true, false}) {
    const TemporaryFolder folder;
    if (replaces) folder.write("out", "old");
    {
      auto file = AtomicFile::create(folder.path("out"), GetParam());
      ASSERT_TRUE(file);
      ASSERT_TRUE((*file)->write("new"));
      EXPECT_EQ(file_exists(folder.path("out")), replaces);
      if (replaces) EXPECT_EQ(folder.read("out"), "old");
      ASSERT_TRUE((*file)->commit());
      EXPECT_FALSE((*file)->commit());
    }
    EXPECT_EQ(folder.read("out"), "new");
    EXPECT_EQ(list_folder(folder.path())->size(), 1u);
  }
}

TEST_P(AtomicFileWays, LeavesNothingWithoutCommit) {
  const TemporaryFolder folder;
  {
    auto file = AtomicFile::create(folder.path("out"), GetParam());
    ASSERT_TRUE((*file)->write("half"));
  }
  EXPECT_TRUE(list_folder(folder.path())->empty());
}

TEST_P(AtomicFileWays, TwoWritersOfOneFileDoNotMeet) {
  const TemporaryFolder folder;
  auto first = AtomicFile::create(folder.path("out"), GetParam());
  auto second = AtomicFile::create(folder.path("out"), GetParam());
  ASSERT_TRUE((*first)->write("first"));
  ASSERT_TRUE((*second)->write("second"));
  ASSERT_TRUE((*first)->commit());
  EXPECT_EQ(folder.read("out"), "first");
  ASSERT_TRUE((*second)->commit());
  EXPECT_EQ(folder.read("out"), "second");
  EXPECT_EQ(list_folder(folder.path())->size(), 1u);
}

// Runs `work` in a process that it kills before it returns.
template <typename Work>
void killed(const Work& work) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    work();
    _exit(1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

TEST_P(AtomicFileWays, WhatAKilledWriterLeftGoesWithTheNextOne) {
  const TemporaryFolder folder;
  folder.write(".out.x-1.tmp", "mine");     // no name of ours
  folder.write(".other.12-1.tmp", "mine");  // of another file
  killed([&] {
    auto file = AtomicFile::create(folder.path("out"), GetParam());
    (void)(*file)->write("half");
    kill(getpid(), SIGKILL);
  });
  // Where files can be nameless, nothing is left to begin with.
  const std::size_t left = list_folder(folder.path())->size();
  if (!GetParam()) EXPECT_EQ(left, 3u);
  auto living = AtomicFile::create(folder.path("out"), false);
  ASSERT_TRUE(living);
  EXPECT_EQ(list_folder(folder.path())->size(), 3u);
  auto another = AtomicFile::create(folder.path("out"), false);  // leaves the living writer's alone
  EXPECT_EQ(list_folder(folder.path())->size(), 4u);
  ASSERT_TRUE((*living)->commit());
  another->reset();
  EXPECT_EQ(*list_folder(folder.path()), (std::vector<std::string>{".other.12-1.tmp", ".out.x-1.tmp", "out"}));
}

TEST(AtomicFile, IsNamelessWhereTheFileSystemHasThat) {
  const TemporaryFolder folder;
  const int file = open(folder.path().c_str(), O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);
  if (file < 0) GTEST_SKIP() << "no O_TMPFILE here";
  close(file);
  const auto atomic = AtomicFile::create(folder.path("out"));
  ASSERT_TRUE(atomic);
  EXPECT_TRUE(list_folder(folder.path())->empty());
}

TEST(AtomicFolder, AppearsWhenItIsWhole) {
  const TemporaryFolder folder;
  {
    auto written = AtomicFolder::create(folder.path("a/out/"));
    ASSERT_TRUE(written);
    auto file = AtomicFile::create(written->path() + "/x");
    ASSERT_TRUE((*file)->write("new"));
    ASSERT_TRUE((*file)->commit());
    EXPECT_FALSE(folder_exists(folder.path("a/out")));
    ASSERT_TRUE(written->commit());
  }
  EXPECT_EQ(folder.read("a/out/x"), "new");
  EXPECT_EQ(*list_folder(folder.path("a")), std::vector<std::string>{"out"});
  EXPECT_EQ(AtomicFolder::create(folder.path("a/out")).error().code, ErrorCode::kInvalidArgument);
}

TEST(AtomicFolder, LeavesNothingWithoutCommitAndAfterAKill) {
  const TemporaryFolder folder;
  {
    auto written = AtomicFolder::create(folder.path("out"));
    ASSERT_TRUE(AtomicFile::create(written->path() + "/x"));
  }
  EXPECT_TRUE(list_folder(folder.path())->empty());
  killed([&] {
    auto written = AtomicFolder::create(folder.path("out"));
    auto file = AtomicFile::create(written->path() + "/x");
    (void)(*file)->commit();
    kill(getpid(), SIGKILL);
  });
  EXPECT_EQ(list_folder(folder.path())->size(), 1u);
  {
    auto living = AtomicFolder::create(folder.path("out"));
    EXPECT_EQ(list_folder(folder.path())->size(), 1u);
    auto another = AtomicFolder::create(folder.path("out"));
    EXPECT_EQ(list_folder(folder.path())->size(), 2u);
    ASSERT_TRUE(another->commit());
    EXPECT_TRUE(folder_exists(living->path()));
  }
  EXPECT_EQ(*list_folder(folder.path()), std::vector<std::string>{"out"});
}

TEST(AtomicFile, RefusesAFolderAndAnAbsentFolder) {
  const TemporaryFolder folder;
  EXPECT_EQ(AtomicFile::create(folder.path()).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(AtomicFile::create(folder.path("no/out")).error().code, ErrorCode::kNotFound);
}

TEST(AtomicFile, IsExhaustedOnAFullDisk) {
  // A limit on file sizes stands in for the disk.
  const TemporaryFolder folder;
  const pid_t child = fork();
  if (child == 0) {
    auto file = AtomicFile::create(folder.path("out"));
    const rlimit limit = {4096, 4096};
    if (!file || setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(2);
    const auto result = (*file)->write(std::string(10'000, 'x'));
    file->reset();
    _exit(!result && result.error().code == ErrorCode::kExhausted && list_folder(folder.path())->empty() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(AppendFile, GoesOnWhereItIsTold) {
  const TemporaryFolder folder;
  folder.write("part", "12345");
  auto file = AppendFile::open(folder.path("part"), 3);
  ASSERT_TRUE(file);
  ASSERT_TRUE((*file)->write(std::as_bytes(std::span("abc", 3))));
  ASSERT_TRUE((*file)->close());
  EXPECT_EQ(folder.read("part"), "123abc");
  EXPECT_EQ(AppendFile::open(folder.path("part"), 7).error().code, ErrorCode::kCorrupt);
}

TEST(FileLock, IsHeldByOneAtATime) {
  const TemporaryFolder folder;
  auto lock = FileLock::acquire(folder.path("lock"));
  ASSERT_TRUE(lock);
  const auto refused = FileLock::acquire(folder.path("lock"), [] { return false; });
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kCancelled);
  lock->reset();
  EXPECT_TRUE(FileLock::acquire(folder.path("lock"), [] { return false; }));
}

TEST(FileLock, NeverLetsTwoInAtOnce) {
  const TemporaryFolder folder;
  std::atomic<int> inside = 0, entered = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 3; ++i) {
        const auto lock = FileLock::acquire(folder.path("lock"));
        ASSERT_TRUE(lock);
        ASSERT_EQ(++inside, 1);
        ++entered;
        usleep(1000);
        --inside;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(entered, 12);
}

TEST(Folders, AreMadeListedAndRemoved) {
  const TemporaryFolder folder;
  ASSERT_TRUE(make_folders(folder.path("a/b/c")));
  ASSERT_TRUE(make_folders(folder.path("a/b/c")));
  folder.write("a/file", "x");
  const TemporaryFolder outside;
  outside.write("kept", "x");
  ASSERT_EQ(symlink(outside.path().c_str(), folder.path("a/link").c_str()), 0);
  EXPECT_EQ(*list_folder(folder.path("a")), (std::vector<std::string>{"b", "file", "link"}));
  EXPECT_EQ(make_folders(folder.path("a/file/x")).error().code, ErrorCode::kNotFound);
  ASSERT_TRUE(remove_folder(folder.path("a")));
  EXPECT_FALSE(folder_exists(folder.path("a")));
  EXPECT_TRUE(file_exists(outside.path("kept")));
  EXPECT_TRUE(remove_folder(folder.path("a")));
}

}  // namespace
}  // namespace kinglet
