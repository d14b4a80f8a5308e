// Pages of a model's file go back, and come again when they are read.
#include "cli/file_pages.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <string>
#include <vector>

#include "engine/tiny_model_helper.h"
#include "kinglet/convert.h"

namespace kinglet {
namespace {

/// Kilobytes of the file that are mapped into this process's memory; -1 where the system does not say.
long resident_kilobytes(const std::string& path) {
  std::ifstream maps("/proc/self/smaps");
  if (!maps) return -1;
  long sum = 0;
  bool ours = false;
  for (std::string line; std::getline(maps, line);) {
    const auto first = line.substr(0, line.find(' '));
    if (first.find('-') != first.npos) ours = line.ends_with(path);
    if (ours && first == "Rss:") sum += std::stol(line.substr(4));
  }
  return sum;
}

TEST(FilePages, GoBackAndComeAgain) {
  const std::string path =
      std::filesystem::canonical(::testing::TempDir()) / ("file_pages_" + std::to_string(getpid()) + ".gguf");
  const auto checkpoint = test::make_tiny_checkpoint({.type = "Q8_0", .vocabulary = 5000});
  ASSERT_TRUE(convert_checkpoint(*checkpoint, path, {}).has_value());
  auto model = Model::load(path, {.threads = 1, .with_tokenizer = false, .pack = false});
  ASSERT_TRUE(model.has_value()) << model.error().text();
  const Linear& embedding = *(*model)->embedding;
  std::vector<std::int32_t> ids(5000);
  std::iota(ids.begin(), ids.end(), 0);
  std::vector<float> before(ids.size() * static_cast<std::size_t>(embedding.inputs())), after(before.size());
  embedding.gather(ids, before.data());
  ASSERT_GE(resident_kilobytes(path), 0) << "no /proc/self/smaps";
  EXPECT_GE(resident_kilobytes(path), 5000 * 102 / 1024);  // 96 values with three scales a row
  drop_file_pages(**model);
  EXPECT_EQ(resident_kilobytes(path), 0);
  embedding.gather(ids, after.data());
  EXPECT_EQ(before, after);
  std::remove(path.c_str());
}

}  // namespace
}  // namespace kinglet
