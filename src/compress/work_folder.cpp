#include "compress/work_folder.h"

#include "base/try.h"
#include "model/format/validate.h"

namespace kinglet {
namespace {

constexpr std::uint64_t kSmallFile = 64 << 20;

}  // namespace

std::vector<GgufWriter::Plan> writer_plans(const PassPlan& plan) {
  std::vector<GgufWriter::Plan> plans;
  for (const PassPlan::Tensor& tensor : plan.tensors)
    plans.push_back({tensor.name, tensor.type, tensor.shape, tensor.codec, tensor.stored_bytes});
  return plans;
}

Result<std::unique_ptr<WorkFolder>> WorkFolder::open(const std::string& path, const std::string& key) {
  std::unique_ptr<WorkFolder> folder(new WorkFolder(path));
  if (path_exists(path) && !folder_exists(path))
    return fail(ErrorCode::kInvalidArgument, "expected a folder for unfinished work, found a file", "Move it away.",
                path);
  KINGLET_CHECK(make_folders(path));
  auto lock = FileLock::acquire(folder->file("lock"), [] { return false; });
  if (!lock) {
    Error error = std::move(lock).error();
    if (error.code == ErrorCode::kCancelled)
      return fail(ErrorCode::kIo, "another shrink is writing the same output", "Wait for it, or name another output.",
                  path);
    return tl::unexpected(std::move(error));
  }
  folder->lock_ = std::move(*lock);
  KINGLET_TRY(const std::string found, folder->read("key"));
  folder->resumed_ = found == key;
  if (folder->resumed_) return folder;
  KINGLET_TRY(const std::vector<std::string> names, list_folder(path));
  for (const std::string& name : names) {
    if (name == "lock") continue;
    const std::string file = folder->file(name);
    KINGLET_CHECK(folder_exists(file) ? remove_folder(file) : remove_file(file));
  }
  KINGLET_CHECK(folder->write("key", key));
  return folder;
}

Result<std::string> Folder::read(std::string_view name) const {
  if (!file_exists(file(name))) return std::string();
  return read_file(file(name), kSmallFile);
}

Result<void> Folder::write(std::string_view name, std::string_view text) const {
  KINGLET_TRY(auto out, AtomicFile::create(file(name)));
  KINGLET_CHECK(out->write(text));
  return out->commit();
}

Result<void> WorkFolder::remove() {
  lock_.reset();
  return remove_folder(path());
}

Result<std::unique_ptr<StepStore>> StepStore::open(const Folder& folder, int step, const PassPlan& plan) {
  std::unique_ptr<StepStore> store(new StepStore(folder.file("step" + std::to_string(step)), plan));
  KINGLET_CHECK(make_folders(store->folder_));
  for (int i = 0; i < static_cast<int>(plan.tensors.size()); ++i) {
    store->places_.emplace(plan.tensors[static_cast<std::size_t>(i)].name, i);
    const std::string file = store->file(i);
    bool whole = false;
    if (file_exists(file)) {
      KINGLET_TRY(const std::uint64_t size, file_size(file));
      whole = size == plan.tensors[static_cast<std::size_t>(i)].bytes();
    }
    store->finished_.push_back(whole);
  }
  return store;
}

int StepStore::find(std::string_view name) const {
  const auto found = places_.find(name);
  return found == places_.end() ? -1 : found->second;
}

bool StepStore::finished(std::string_view name) const {
  const int index = find(name);
  return index >= 0 && finished_[static_cast<std::size_t>(index)];
}

Result<std::vector<std::byte>> StepStore::read(std::string_view name) const {
  const int index = find(name);
  if (index < 0 || !finished_[static_cast<std::size_t>(index)])
    return fail(ErrorCode::kInternal, "'" + printable(name) + "' is not finished");
  KINGLET_TRY(const RegularFile input, RegularFile::open(file(index)));
  std::vector<std::byte> bytes(plan_.tensors[static_cast<std::size_t>(index)].bytes());
  KINGLET_CHECK(input.read_at(0, bytes));
  return bytes;
}

Result<void> StepStore::begin(std::string_view name) {
  const int index = find(name);
  if (index < 0 || plan_.tensors[static_cast<std::size_t>(index)].block != block_ || open_)
    return fail(ErrorCode::kInternal, "'" + printable(name) + "' is not planned for this block");
  KINGLET_TRY(open_, AtomicFile::create(file(index)));
  current_ = index;
  written_ = 0;
  return {};
}

Result<void> StepStore::write(std::span<const std::byte> bytes) {
  if (!open_) return fail(ErrorCode::kInternal, "no tensor was begun");
  written_ += bytes.size();
  return open_->write(bytes);
}

Result<void> StepStore::end() {
  if (!open_) return fail(ErrorCode::kInternal, "no tensor was begun");
  const PassPlan::Tensor& tensor = plan_.tensors[static_cast<std::size_t>(current_)];
  if (written_ != tensor.bytes())
    return fail(ErrorCode::kInternal, "'" + printable(tensor.name) + "' has " + std::to_string(written_) +
                                          " bytes; planned were " + std::to_string(tensor.bytes()));
  KINGLET_CHECK(open_->commit());
  open_.reset();
  finished_[static_cast<std::size_t>(current_)] = true;
  return {};
}

bool StepStore::block_finished(int block) const {
  for (std::size_t i = 0; i < plan_.tensors.size(); ++i)
    if (plan_.tensors[i].block == block && !finished_[i]) return false;
  return true;
}

std::uint64_t StepStore::block_bytes(int block) const {
  std::uint64_t bytes = 0;
  for (const PassPlan::Tensor& tensor : plan_.tensors)
    if (tensor.block == block) bytes += tensor.bytes();
  return bytes;
}

Result<void> StepStore::assemble(const std::string& path,
                                 const std::function<Result<void>(std::uint64_t)>& step) const {
  KINGLET_TRY(const auto writer, GgufWriter::create(path, plan_.metadata, writer_plans(plan_)));
  std::vector<std::byte> buffer(4 << 20);
  std::uint64_t done = 0;
  for (std::size_t i = 0; i < plan_.tensors.size(); ++i) {
    if (!finished_[i])
      return fail(ErrorCode::kInternal, "the pass did not make '" + printable(plan_.tensors[i].name) + "'");
    KINGLET_TRY(RegularFile input, RegularFile::open(file(static_cast<int>(i))));
    for (std::uint64_t left = plan_.tensors[i].bytes(); left > 0;) {
      const std::span<std::byte> piece(buffer.data(), std::min<std::uint64_t>(left, buffer.size()));
      KINGLET_TRY(const std::size_t count, input.read(piece));
      if (count == 0) return fail(ErrorCode::kIo, "the file became shorter", "", file(static_cast<int>(i)));
      KINGLET_CHECK(writer->write(piece.first(count)));
      left -= count;
      KINGLET_CHECK(step(done += count));
    }
  }
  return writer->finish();
}

}  // namespace kinglet
