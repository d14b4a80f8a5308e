// The header of a safetensors file, and the index of a sharded set.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "base/checked.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/reader.h"
#include "base/try.h"
#include "model/format/safetensors.h"
#include "model/format/validate.h"

namespace kinglet {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kMetadataName = "__metadata__";
constexpr std::size_t kMaxDimensions = 8;  // convolution weights have 5

struct Dtype {
  std::string_view name;
  int bytes;                   // an element
  std::string_view type_name;  // of the BlockType, "" if there is none
};
constexpr Dtype kDtypes[] = {
    {"F64", 8, "F64"}, {"F32", 4, "F32"}, {"F16", 2, "F16"}, {"BF16", 2, "BF16"}, {"I64", 8, "I64"},
    {"I32", 4, "I32"}, {"I16", 2, "I16"}, {"I8", 1, "I8"},   {"U64", 8, ""},      {"U32", 4, ""},
    {"U16", 2, ""},    {"U8", 1, ""},     {"BOOL", 1, ""},   {"F8_E4M3", 1, ""},  {"F8_E5M2", 1, ""},
};

const Dtype* find_dtype(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kDtypes), std::end(kDtypes), [&](const Dtype& d) { return d.name == name; });
  return found == std::end(kDtypes) ? nullptr : found;
}

// What one entry of the header says; errors have no place yet.
class EntryReader {
 public:
  EntryReader(std::string_view name, const Json& entry) : quoted_("tensor '" + printable(name) + "'"), entry_(entry) {}

  Result<SafetensorsTensor> read(std::string_view name, std::uint64_t section, std::uint64_t section_start) {
    KINGLET_CHECK(check_name(name, limits::kTensorNameBytes, "tensor name"));
    if (!entry_.is_object()) return damaged("is not described by an object");
    if (entry_.size() != 3 || !entry_.contains("dtype") || !entry_.contains("shape") ||
        !entry_.contains("data_offsets"))
      return damaged("needs dtype, shape and data_offsets and nothing else");
    SafetensorsTensor tensor;
    tensor.name = name;
    KINGLET_CHECK(read_dtype(tensor));
    KINGLET_CHECK(read_shape(tensor));
    const Json& offsets = entry_["data_offsets"];
    if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
        !offsets[1].is_number_unsigned())
      return damaged("has data_offsets that are not two whole numbers from 0 on");
    const auto begin = offsets[0].get<std::uint64_t>(), end = offsets[1].get<std::uint64_t>();
    if (begin > end || end > section)
      return damaged("lies at bytes " + std::to_string(begin) + " to " + std::to_string(end) +
                     " of a data section of " + std::to_string(section) + " bytes");
    if (end - begin != tensor.bytes)
      return damaged("has " + std::to_string(end - begin) + " bytes, its shape and dtype ask for " +
                     std::to_string(tensor.bytes));
    tensor.offset = section_start + begin;
    return tensor;
  }

 private:
  tl::unexpected<Error> damaged(const std::string& what) const {
    return fail(ErrorCode::kCorrupt, quoted_ + " " + what, std::string(kDamagedHint));
  }

  Result<void> read_dtype(SafetensorsTensor& tensor) {
    const Json& dtype = entry_["dtype"];
    if (!dtype.is_string()) return damaged("has a dtype that is not a text");
    tensor.dtype = dtype.get<std::string>();
    dtype_ = find_dtype(tensor.dtype);
    if (!dtype_)
      return fail(ErrorCode::kUnsupported, quoted_ + " has the dtype '" + printable(tensor.dtype) + "'",
                  "Kinglet reads F32, F16 and BF16 weights: take the model's unquantized version.");
    tensor.type = dtype_->type_name.empty() ? nullptr : find_block_type(dtype_->type_name);
    return {};
  }

  Result<void> read_shape(SafetensorsTensor& tensor) {
    const Json& shape = entry_["shape"];
    if (!shape.is_array() || shape.size() > kMaxDimensions)
      return damaged("has a shape that is not a list of at most " + std::to_string(kMaxDimensions) + " numbers");
    std::uint64_t values = 1;
    for (const Json& size : shape) {
      if (!size.is_number_unsigned() || size.get<std::uint64_t>() < 1 ||
          size.get<std::uint64_t>() > static_cast<std::uint64_t>(limits::kDimension))
        return damaged("has a dimension that is not a whole number from 1 to " + std::to_string(limits::kDimension));
      KINGLET_TRY(values, checked_multiply(values, size.get<std::uint64_t>(), quoted_ + "'s size"));
      if (values > limits::kTensorValues) return damaged("has more values than any file can hold");
      tensor.shape.push_back(size.get<std::int64_t>());
    }
    tensor.bytes = values * static_cast<std::uint64_t>(dtype_->bytes);
    return {};
  }

  std::string quoted_;
  const Json& entry_;
  const Dtype* dtype_ = nullptr;
};

Result<void> read_file_metadata(const Json& entry, SafetensorsDirectory& directory) {
  if (!entry.is_object())
    return fail(ErrorCode::kCorrupt, "__metadata__ is not an object of texts", std::string(kDamagedHint));
  for (const auto& [key, value] : entry.items()) {
    if (!value.is_string())
      return fail(ErrorCode::kCorrupt, "__metadata__ holds something else than texts under '" + printable(key) + "'",
                  std::string(kDamagedHint));
    directory.metadata.emplace_back(key, value.get<std::string>());
  }
  return {};
}

// The header's text; what stands in its place in files of other kinds is named.
Result<std::string_view> read_header(Reader& reader, std::span<const std::byte> bytes, std::string_view file) {
  if (bytes.empty()) return not_a_model(bytes, "a safetensors file", file);
  KINGLET_TRY(auto raw, reader.number<std::uint64_t>("the header's length"));
  const std::uint64_t most = std::min(limits::kSafetensorsHeaderBytes, reader.remaining());
  auto length = raw.between(2, most, "the header's length");
  const bool is_object = reader.remaining() > 0 && bytes[8] == std::byte{'{'};
  if (!length) {
    if (!is_object) return not_a_model(bytes, "a safetensors file", file);
    Error error = std::move(length).error();
    error.hint = kDamagedHint;
    return tl::unexpected(reader.located(std::move(error), 0));
  }
  if (!is_object) return not_a_model(bytes, "a safetensors file", file);
  KINGLET_TRY(auto part, reader.bytes(*length, "the header"));
  return std::string_view(reinterpret_cast<const char*>(part.data()), part.size());
}

}  // namespace

const BlockType* safetensors_type(std::string_view dtype) {
  const Dtype* found = find_dtype(dtype);
  return found && !found->type_name.empty() ? find_block_type(found->type_name) : nullptr;
}

std::string_view safetensors_dtype(const BlockType& type) {
  for (const Dtype& dtype : kDtypes)
    if (dtype.type_name == type.name) return dtype.name;
  return "";
}

Result<SafetensorsDirectory> parse_safetensors(std::span<const std::byte> bytes, std::string_view file) {
  Reader reader(bytes, file);
  KINGLET_TRY(const std::string_view text, read_header(reader, bytes, file));
  const std::string place = std::string(file) + ", byte 8 (the header)";
  KINGLET_TRY(const Json header,
              parse_json(text, place,
                         {.max_bytes = limits::kSafetensorsHeaderBytes, .max_depth = 8, .refuse_duplicates = true}));
  if (header.size() > limits::kTensors)
    return fail(ErrorCode::kExhausted,
                "the header names " + std::to_string(header.size()) + " tensors, at most " +
                    std::to_string(limits::kTensors) + " are read",
                "Check that this is a model.", place);
  SafetensorsDirectory directory;
  directory.tensors.reserve(header.size());
  for (const auto& [name, entry] : header.items()) {
    if (name == kMetadataName) {
      if (auto ok = read_file_metadata(entry, directory); !ok)
        return tl::unexpected(reader.located(std::move(ok).error(), 8));
      continue;
    }
    auto tensor = EntryReader(name, entry).read(name, reader.remaining(), reader.position());
    if (!tensor) {
      Error error = std::move(tensor).error();
      if (error.hint.empty()) error.hint = kDamagedHint;
      if (error.place.empty()) error.place = place;
      return tl::unexpected(std::move(error));
    }
    directory.tensors.push_back(std::move(*tensor));
  }
  std::vector<Extent> extents;
  for (const SafetensorsTensor& tensor : directory.tensors)
    extents.push_back({tensor.offset - reader.position(), tensor.bytes, &tensor.name});
  KINGLET_CHECK(check_tiling(std::move(extents), 1, reader.remaining(), file, reader.position()));
  return directory;
}

Result<ShardIndex> parse_shard_index(std::string_view text, std::string_view place) {
  KINGLET_TRY(
      const Json index,
      parse_json(text, place, {.max_bytes = limits::kShardIndexBytes, .max_depth = 8, .refuse_duplicates = true}));
  const auto damaged = [&](const std::string& what) {
    return fail(ErrorCode::kCorrupt, what, "Fetch the model's index file again.", std::string(place));
  };
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object())
    return damaged("the index has no weight_map");
  const Json& map = index["weight_map"];
  if (map.empty()) return damaged("the index names no tensors");
  if (map.size() > limits::kTensors) return damaged("the index names more tensors than any model has");
  ShardIndex result;
  std::map<std::string, std::size_t, std::less<>> numbers;
  for (const auto& [name, file] : map.items()) {
    if (auto ok = check_name(name, limits::kTensorNameBytes, "tensor name"); !ok) return damaged(ok.error().message);
    if (!file.is_string()) return damaged("tensor '" + printable(name) + "' has no file name");
    const std::string& file_name = file.get_ref<const std::string&>();
    if (auto ok = check_name(file_name, 255, "file name"); !ok) return damaged(ok.error().message);
    if (file_name.find_first_of("/\\") != std::string::npos || file_name.front() == '.')
      return damaged("the file name '" + printable(file_name) + "' leads out of the model's folder");
    if (!file_name.ends_with(".safetensors"))
      return fail(ErrorCode::kUnsupported, "the index names '" + printable(file_name) + "', which is not safetensors",
                  "Take the model's safetensors version.", std::string(place));
    auto [entry, is_new] = numbers.try_emplace(file_name, result.files.size());
    if (is_new) result.files.push_back(file_name);
    if (result.files.size() > static_cast<std::size_t>(limits::kShards))
      return damaged("the index names more files than any model has");
    result.tensors.emplace_back(name, entry->second);
  }
  return result;
}

}  // namespace kinglet
