// OUT.partial/: what a running shrink has finished, so that the same command goes on where a killed one was.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "kinglet/pass.h"
#include "model/format/gguf.h"

namespace kinglet {

/// The tensors of a plan as the writer of the file wants them.
std::vector<GgufWriter::Plan> writer_plans(const PassPlan& plan);

/// A folder with small files that are read and replaced whole.
class Folder {
 public:
  explicit Folder(std::string path) : path_(std::move(path)) {}
  const std::string& path() const { return path_; }
  std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }
  /// "" where it is absent.
  Result<std::string> read(std::string_view name) const;
  Result<void> write(std::string_view name, std::string_view text) const;

 private:
  std::string path_;
};

class WorkFolder : public Folder {
 public:
  /// Makes or reopens `path` for this key (source, recipe, text, seed), and holds its lock. What another key left is
  /// removed. kIo where another process works on it.
  static Result<std::unique_ptr<WorkFolder>> open(const std::string& path, const std::string& key);
  bool resumed() const { return resumed_; }
  /// Gives the lock back and removes the folder.
  Result<void> remove();

 private:
  explicit WorkFolder(const std::string& path) : Folder(path) {}
  bool resumed_ = false;
  std::unique_ptr<FileLock> lock_;
};

/// The tensors of one step, each a file of the work folder named by its place in the plan.
class StepStore final : public TensorSink {
 public:
  /// Finds what an earlier run finished.
  static Result<std::unique_ptr<StepStore>> open(const Folder& folder, int step, const PassPlan& plan);

  bool finished(std::string_view name) const override;
  Result<std::vector<std::byte>> read(std::string_view name) const override;
  Result<void> begin(std::string_view name) override;
  Result<void> write(std::span<const std::byte> bytes) override;
  Result<void> end() override;

  /// Before each block: what it has to write.
  void enter(int block) { block_ = block; }
  bool block_finished(int block) const;
  std::uint64_t block_bytes(int block) const;
  /// Joins the tensors to one GGUF file under `path`; kInternal where one is missing.
  Result<void> assemble(const std::string& path, const std::function<Result<void>(std::uint64_t)>& step) const;
  Result<void> remove() { return remove_folder(folder_); }

 private:
  StepStore(std::string folder, const PassPlan& plan) : folder_(std::move(folder)), plan_(plan) {}
  int find(std::string_view name) const;
  std::string file(int index) const { return folder_ + "/" + std::to_string(index) + ".tensor"; }

  std::string folder_;
  const PassPlan& plan_;
  std::unordered_map<std::string_view, int> places_;  // of the plan's names
  std::vector<bool> finished_;
  int block_ = -1, current_ = -1;
  std::uint64_t written_ = 0;
  std::unique_ptr<AtomicFile> open_;
};

}  // namespace kinglet
