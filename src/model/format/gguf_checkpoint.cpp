// GGUF as a Checkpoint: one file or a split set.
#include <charconv>
#include <unordered_set>

#include "base/file.h"
#include "base/limits.h"
#include "base/try.h"
#include "model/format/gguf.h"
#include "model/format/native_types.h"
#include "model/format/validate.h"

namespace kinglet {
namespace {

struct Source {
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
  std::shared_ptr<const MappedFile> file;  // null where the bytes are not a mapping of ours
};

struct Location {
  std::size_t source;
  std::uint64_t offset;
};

class GgufCheckpoint final : public Checkpoint {
 public:
  GgufCheckpoint(std::string path, Source source, GgufDirectory directory)
      : path_(std::move(path)), metadata_(std::move(directory.metadata)) {
    append(std::move(source), directory);
  }

  const Metadata& metadata() const override { return metadata_; }
  std::span<const TensorInfo> tensors() const override { return tensors_; }
  std::string_view format() const override { return "gguf"; }
  std::string_view path() const override { return path_; }
  std::uint64_t file_bytes() const override {
    std::uint64_t sum = 0;
    for (const Source& source : sources_) sum += source.bytes.size();
    return sum;
  }

  Result<TensorData> stored(const TensorInfo& tensor) const override {
    KINGLET_TRY(const Location* location, locate(tensor));
    const Source& source = sources_[location->source];
    return TensorData{source.bytes.subspan(location->offset, tensor.file_bytes()), source.owner};
  }
  Result<TensorData> data(const TensorInfo& tensor) const override {
    KINGLET_TRY(TensorData bytes, stored(tensor));
    if (!tensor.codec.empty()) {
      auto decoded = decode_stored(tensor, bytes.bytes);
      if (!decoded) {
        Error error = std::move(decoded).error();
        error.place = path_;
        return tl::unexpected(std::move(error));
      }
      const auto owner = std::make_shared<const std::vector<std::byte>>(std::move(*decoded));
      return TensorData{*owner, owner};
    }
    return bytes;
  }
  void release(const TensorInfo& tensor, std::uint64_t begin, std::uint64_t end) const override {
    auto location = locate(tensor);
    if (!location || begin >= std::min(end, tensor.bytes)) return;
    const Source& source = sources_[(*location)->source];
    if (!source.file) return;
    if (tensor.codec.empty()) {
      source.file->release((*location)->offset + begin, std::min(end, tensor.bytes) - begin);
    } else if (end >= tensor.bytes) {  // what is coded goes as a whole, with its end
      source.file->release((*location)->offset, tensor.stored_bytes);
    }
  }

  void append(Source source, GgufDirectory& directory) {
    for (std::size_t i = 0; i < directory.tensors.size(); ++i) {
      tensors_.push_back(std::move(directory.tensors[i]));
      locations_.push_back({sources_.size(), directory.offsets[i]});
    }
    sources_.push_back(std::move(source));
  }
  Metadata& mutable_metadata() { return metadata_; }

 private:
  Result<const Location*> locate(const TensorInfo& tensor) const {
    const TensorInfo* mine = &tensor;
    if (mine < tensors_.data() || mine >= tensors_.data() + tensors_.size()) mine = find(tensor.name);
    if (!mine || mine->bytes != tensor.bytes || mine->stored_bytes != tensor.stored_bytes)
      return fail(ErrorCode::kNotFound, "there is no tensor '" + printable(tensor.name) + "'", "", path_);
    return &locations_[static_cast<std::size_t>(mine - tensors_.data())];
  }

  std::string path_;
  Metadata metadata_;
  std::vector<TensorInfo> tensors_;
  std::vector<Location> locations_;
  std::vector<Source> sources_;
};

// "model-00001-of-00003.gguf" as its parts; count 0 where the name is not of that form.
struct SplitName {
  std::string prefix;
  std::int64_t number = 0, count = 0;

  std::string of(std::int64_t shard) const {
    const auto padded = [](std::int64_t value) {
      std::string digits = std::to_string(value);
      return std::string(digits.size() < 5 ? 5 - digits.size() : 0, '0') + digits;
    };
    return prefix + "-" + padded(shard) + "-of-" + padded(count) + ".gguf";
  }
};

SplitName parse_split_name(std::string_view path) {
  constexpr std::string_view kForm = "-00001-of-00001.gguf";
  SplitName name;
  if (path.size() <= kForm.size()) return name;
  const std::string_view tail = path.substr(path.size() - kForm.size());
  if (tail[0] != '-' || tail.substr(6, 4) != "-of-" || tail.substr(15) != ".gguf") return name;
  std::int64_t number = 0, count = 0;
  const auto read = [](std::string_view digits, std::int64_t& value) {
    const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return result.ec == std::errc() && result.ptr == digits.data() + digits.size() && value > 0;
  };
  if (!read(tail.substr(1, 5), number) || !read(tail.substr(10, 5), count)) return name;
  name.prefix = path.substr(0, path.size() - kForm.size());
  name.number = number;
  name.count = count;
  return name;
}

tl::unexpected<Error> shard_error(const std::string& path, std::string message, std::string_view hint = {}) {
  return fail(ErrorCode::kCorrupt, std::move(message),
              hint.empty() ? "The files of a split model must come from one conversion: fetch all of them again."
                           : std::string(hint),
              path);
}

// split.count of a file, 1 where it is not split; its split.no must be `number`.
Result<std::int64_t> split_count(const Metadata& metadata, std::int64_t number, const std::string& path) {
  if (!metadata.contains("split.count")) return 1;
  auto count = metadata.integer("split.count", 0, limits::kShards);
  if (!count) return shard_error(path, std::move(count).error().message);
  if (*count <= 1) return 1;
  auto no = metadata.integer("split.no", 0, *count - 1);
  if (!no) return shard_error(path, std::move(no).error().message);
  if (*no != number)
    return shard_error(path,
                       "this is file " + std::to_string(*no + 1) + " of a model split in " + std::to_string(*count) +
                           ", expected file " + std::to_string(number + 1),
                       number == 0 ? "Give the first file of the set; the others are found beside it." : "");
  return *count;
}

Result<Source> open_source(const std::string& path) {
  KINGLET_TRY(auto file, MappedFile::open(path));
  return Source{file->bytes(), file, file};
}

Result<void> append_shard(GgufCheckpoint& checkpoint, const std::string& path, std::int64_t number,
                          std::int64_t count) {
  auto source = open_source(path);
  if (!source) {
    Error error = std::move(source).error();
    if (error.code == ErrorCode::kNotFound)
      error.hint = "The model is split in " + std::to_string(count) + " files, all of which must lie in one folder.";
    return tl::unexpected(std::move(error));
  }
  KINGLET_TRY(auto directory, parse_gguf(source->bytes, path));
  KINGLET_TRY(const std::int64_t its_count, split_count(directory.metadata, number, path));
  if (its_count != count)
    return shard_error(path, "this file belongs to a model split in " + std::to_string(its_count) + ", expected " +
                                 std::to_string(count));
  for (const auto& [key, value] : directory.metadata.entries()) {
    if (key.starts_with("split.") || key == "general.alignment") continue;
    const MetadataValue* first = checkpoint.metadata().find(key);
    if (first && !(*first == value))
      return shard_error(path, "the metadata key '" + printable(key) + "' differs from the first file's");
  }
  checkpoint.append(std::move(*source), directory);
  return {};
}

Result<void> append_shards(GgufCheckpoint& checkpoint, const std::string& path, std::int64_t count) {
  const SplitName name = parse_split_name(path);
  if (name.count == 0)
    return shard_error(path, "this is the first of " + std::to_string(count) + " files, but its name does not say so",
                       "Rename the files to MODEL-00001-of-0000N.gguf, as they were.");
  if (name.number != 1 || name.count != count)
    return shard_error(path, "the name says file " + std::to_string(name.number) + " of " + std::to_string(name.count) +
                                 ", the content file 1 of " + std::to_string(count));
  for (std::int64_t shard = 1; shard < count; ++shard)
    KINGLET_CHECK(append_shard(checkpoint, name.of(shard + 1), shard, count));
  std::unordered_set<std::string_view> seen;
  for (const TensorInfo& tensor : checkpoint.tensors())
    if (!seen.insert(tensor.name).second)
      return shard_error(path, "the tensor '" + printable(tensor.name) + "' stands in two files of the set");
  const auto most = static_cast<std::int64_t>(limits::kTensors);
  auto total = checkpoint.metadata().integer_or("split.tensors.count", -1, 0, most);
  if (!total) return shard_error(path, std::move(total).error().message);
  if (*total >= 0 && *total != static_cast<std::int64_t>(checkpoint.tensors().size()))
    return shard_error(path, "the set has " + std::to_string(checkpoint.tensors().size()) +
                                 " tensors, its first file promises " + std::to_string(*total));
  return {};
}

}  // namespace

Result<std::unique_ptr<Checkpoint>> open_gguf_bytes(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                                                    std::string path) {
  KINGLET_TRY(auto directory, parse_gguf(bytes, path));
  return std::make_unique<GgufCheckpoint>(std::move(path), Source{bytes, std::move(owner), nullptr},
                                          std::move(directory));
}

Result<std::unique_ptr<Checkpoint>> open_gguf(const std::string& path) {
  KINGLET_TRY(auto source, open_source(path));
  KINGLET_TRY(auto directory, parse_gguf(source.bytes, path));
  KINGLET_TRY(const std::int64_t count, split_count(directory.metadata, 0, path));
  auto checkpoint = std::make_unique<GgufCheckpoint>(path, std::move(source), std::move(directory));
  if (count > 1) KINGLET_CHECK(append_shards(*checkpoint, path, count));
  for (std::string_view key : {"split.no", "split.count", "split.tensors.count"})
    checkpoint->mutable_metadata().erase(key);
  return checkpoint;
}

}  // namespace kinglet
