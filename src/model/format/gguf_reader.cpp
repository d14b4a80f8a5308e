// Phase one of GGUF: the directory. Nothing is handed out before all of it was checked.
#include <unordered_set>

#include "base/limits.h"
#include "base/reader.h"
#include "base/try.h"
#include "model/format/gguf.h"
#include "model/format/native_types.h"
#include "model/format/validate.h"

namespace kinglet {
namespace {

constexpr std::string_view kReconvertHint = "Convert the original model again with a current converter.";

// Smallest encodings: a key of one byte with a one-byte value; a tensor with a name of one byte and one dimension.
constexpr std::uint64_t kMinKeyBytes = 8 + 1 + 4 + 1;
constexpr std::uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

template <typename T>
Result<T> take(Reader& reader, std::string_view what) {
  KINGLET_TRY(auto value, reader.number<T>(what));
  return value.as_data();
}

Error at(const Reader& reader, Error error, std::uint64_t offset) {
  if (error.hint.empty()) error.hint = kDamagedHint;
  return reader.located(std::move(error), offset);
}

template <typename T>
Result<T> at(const Reader& reader, Result<T> result, std::uint64_t offset) {
  if (!result) return tl::unexpected(at(reader, std::move(result).error(), offset));
  return result;
}

// A number of an integer type (or bool), widened.
Result<std::int64_t> read_integer(Reader& reader, MetadataType type, std::string_view what) {
  const std::uint64_t start = reader.position();
  switch (type) {
    case MetadataType::kUint8:
      return take<std::uint8_t>(reader, what);
    case MetadataType::kInt8:
      return take<std::int8_t>(reader, what);
    case MetadataType::kUint16:
      return take<std::uint16_t>(reader, what);
    case MetadataType::kInt16:
      return take<std::int16_t>(reader, what);
    case MetadataType::kUint32:
      return take<std::uint32_t>(reader, what);
    case MetadataType::kInt32:
      return take<std::int32_t>(reader, what);
    case MetadataType::kInt64:
      return take<std::int64_t>(reader, what);
    case MetadataType::kUint64: {
      KINGLET_TRY(auto value, reader.number<std::uint64_t>(what));
      return at(reader, value.between(0, INT64_MAX, what), start);
    }
    default: {  // bool
      KINGLET_TRY(auto value, reader.number<std::uint8_t>(what));
      return at(reader, value.between(0, 1, std::string(what) + " (a yes-or-no value)"), start);
    }
  }
}

Result<double> read_float(Reader& reader, MetadataType type, std::string_view what) {
  if (type == MetadataType::kFloat64) return take<double>(reader, what);
  return take<float>(reader, what);
}

bool is_float(MetadataType type) { return type == MetadataType::kFloat32 || type == MetadataType::kFloat64; }

Result<MetadataType> read_type(Reader& reader, std::string_view what) {
  const std::uint64_t start = reader.position();
  KINGLET_TRY(auto raw, reader.number<std::uint32_t>(what));
  KINGLET_TRY(auto type, at(reader, raw.between(0, 12, std::string(what) + "'s type"), start));
  return static_cast<MetadataType>(type);
}

Result<MetadataValue> read_array(Reader& reader, std::string_view what) {
  const std::uint64_t start = reader.position();
  KINGLET_TRY(auto type, read_type(reader, what));
  if (type == MetadataType::kArray)
    return fail(ErrorCode::kUnsupported, std::string(what) + " is an array of arrays", std::string(kReconvertHint),
                reader.place(start));
  KINGLET_TRY(auto raw, reader.number<std::uint64_t>(what));
  // An element takes at least its own bytes (a string its length), so the count is bounded by what is left.
  const std::uint64_t element = type == MetadataType::kString ? 8 : gguf_value_bytes(type);
  const std::uint64_t most = std::min(limits::kMetadataArray, reader.remaining() / element);
  KINGLET_TRY(auto count, at(reader, raw.between(0, most, std::string(what) + "'s number of elements"), start));
  if (type == MetadataType::kString) {
    std::vector<std::string> values;
    values.reserve(count);
    for (std::uint64_t i = 0; i < count; ++i) {
      KINGLET_TRY(auto text, reader.string(limits::kMetadataStringBytes, what));
      values.emplace_back(text);
    }
    return MetadataValue{type, true, std::move(values)};
  }
  if (is_float(type)) {
    std::vector<double> values;
    values.reserve(count);
    for (std::uint64_t i = 0; i < count; ++i) {
      KINGLET_TRY(auto value, read_float(reader, type, what));
      values.push_back(value);
    }
    return MetadataValue{type, true, std::move(values)};
  }
  std::vector<std::int64_t> values;
  values.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) {
    KINGLET_TRY(auto value, read_integer(reader, type, what));
    values.push_back(value);
  }
  return MetadataValue{type, true, std::move(values)};
}

Result<MetadataValue> read_value(Reader& reader, std::string_view what) {
  KINGLET_TRY(auto type, read_type(reader, what));
  if (type == MetadataType::kArray) return read_array(reader, what);
  if (type == MetadataType::kString) {
    KINGLET_TRY(auto text, reader.string(limits::kMetadataStringBytes, what));
    return MetadataValue{type, false, std::string(text)};
  }
  if (is_float(type)) {
    KINGLET_TRY(auto value, read_float(reader, type, what));
    return MetadataValue{type, false, value};
  }
  KINGLET_TRY(auto value, read_integer(reader, type, what));
  return MetadataValue{type, false, value};
}

Result<void> read_metadata(Reader& reader, std::uint64_t count, Metadata& metadata) {
  std::unordered_set<std::string_view> seen;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t start = reader.position();
    KINGLET_TRY(auto key, reader.string(limits::kMetadataKeyBytes, "metadata key " + std::to_string(i + 1)));
    KINGLET_CHECK(at(reader, check_name(key, limits::kMetadataKeyBytes, "metadata key"), start));
    if (!seen.insert(key).second)
      return fail(ErrorCode::kCorrupt, "the metadata key '" + printable(key) + "' stands twice",
                  std::string(kReconvertHint), reader.place(start));
    KINGLET_TRY(auto value, read_value(reader, "metadata key '" + printable(key) + "'"));
    metadata.append(std::string(key), std::move(value));
  }
  return {};
}

Result<const BlockType*> read_tensor_type(Reader& reader, const std::string& quoted) {
  const std::uint64_t start = reader.position();
  KINGLET_TRY(auto raw, reader.number<std::uint32_t>(quoted + "'s type"));
  if (const BlockType* type = find_block_type(raw.as_data())) return type;
  const std::string_view foreign = gguf_foreign_type(raw.as_data());
  if (!foreign.empty())
    return fail(ErrorCode::kUnsupported,
                quoted + " has the type " + std::string(foreign) + ", which Kinglet does not read",
                "Take another quantization of the model (Q4_K_M, Q5_K_M, Q8_0 and others work).", reader.place(start));
  return fail(ErrorCode::kCorrupt, quoted + " has the unknown type number " + std::to_string(raw.as_data()),
              "The file is damaged, or newer than this Kinglet.", reader.place(start));
}

Result<TensorInfo> read_tensor(Reader& reader, std::uint64_t index, std::uint64_t& offset) {
  const std::uint64_t start = reader.position();
  const std::string what = "the name of tensor " + std::to_string(index + 1);
  KINGLET_TRY(auto name, reader.string(limits::kTensorNameBytes, what));
  KINGLET_CHECK(at(reader, check_name(name, limits::kTensorNameBytes, "tensor name"), start));
  const std::string quoted = "tensor '" + printable(name) + "'";
  const std::uint64_t shape_start = reader.position();
  KINGLET_TRY(auto raw_count, reader.number<std::uint32_t>(quoted + "'s number of dimensions"));
  KINGLET_TRY(auto count,
              at(reader, raw_count.between(1, limits::kDimensions, quoted + "'s number of dimensions"), shape_start));
  TensorInfo tensor;
  tensor.name = name;
  tensor.shape.resize(count);
  for (std::uint32_t d = 0; d < count; ++d) {  // GGUF gives the innermost dimension first
    const std::uint64_t dimension_start = reader.position();
    KINGLET_TRY(auto raw, reader.number<std::uint64_t>(quoted + "'s dimensions"));
    KINGLET_TRY(auto size, at(reader, raw.between(1, limits::kDimension, quoted + "'s dimension"), dimension_start));
    tensor.shape[count - 1 - d] = static_cast<std::int64_t>(size);
  }
  KINGLET_TRY(tensor.type, read_tensor_type(reader, quoted));
  KINGLET_TRY(tensor.bytes, at(reader, tensor_bytes(name, *tensor.type, tensor.shape), shape_start));
  KINGLET_TRY(auto raw_offset, reader.number<std::uint64_t>(quoted + "'s offset"));
  offset = raw_offset.as_data();  // compared with its neighbours and the file's length by check_tiling
  return tensor;
}

Result<std::uint32_t> read_version(Reader& reader, std::span<const std::byte> bytes, std::string_view file) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!text.starts_with(kGgufMagic)) {
    if (!text.empty() && kGgufMagic.starts_with(text))
      return fail(ErrorCode::kCorrupt, "the file ends inside GGUF's magic", std::string(kDamagedHint),
                  reader.place(bytes.size()));
    return not_a_model(bytes, "GGUF's magic", file);
  }
  KINGLET_CHECK(reader.bytes(kGgufMagic.size(), "GGUF's magic"));
  const std::uint64_t start = reader.position();
  KINGLET_TRY(auto raw, reader.number<std::uint32_t>("GGUF's version"));
  const std::uint32_t version = raw.as_data();
  if (version == 2 || version == 3) return version;
  if (version != 0 && (version & 0xffff) == 0)
    return fail(ErrorCode::kUnsupported, "this is a big-endian GGUF file",
                "Take the model's ordinary (little-endian) file.", reader.place(start));
  if (version == 1)
    return fail(ErrorCode::kUnsupported, "this is a GGUF file of version 1, which was replaced in August 2023",
                std::string(kReconvertHint), reader.place(start));
  return fail(ErrorCode::kUnsupported, "GGUF version " + std::to_string(version) + ", expected 2 or 3",
              "The file is damaged, or newer than this Kinglet.", reader.place(start));
}

}  // namespace

Result<std::uint64_t> gguf_alignment(const Metadata& metadata, std::string_view file) {
  const MetadataValue* value = metadata.find("general.alignment");
  if (!value) return kGgufAlignment;
  const auto* number = std::get_if<std::int64_t>(&value->value);
  if (value->is_array || value->type != MetadataType::kUint32 || !number)
    return fail(ErrorCode::kCorrupt, "general.alignment is not an unsigned 32-bit integer", std::string(kReconvertHint),
                std::string(file) + ", metadata");
  const auto alignment = static_cast<std::uint64_t>(*number);
  if (alignment == 0 || (alignment & (alignment - 1)) != 0 || alignment > limits::kAlignment)
    return fail(ErrorCode::kCorrupt,
                "general.alignment is " + std::to_string(alignment) + ", expected a power of two up to " +
                    std::to_string(limits::kAlignment),
                std::string(kReconvertHint), std::string(file) + ", metadata");
  return alignment;
}

std::uint64_t gguf_value_bytes(MetadataType type) {
  constexpr std::uint8_t kBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return kBytes[static_cast<std::size_t>(type)];
}

std::string_view gguf_foreign_type(std::uint32_t id) {
  constexpr std::string_view kNames[] = {
      "F32",      "F16",      "Q4_0",    "Q4_1",  "Q4_2",       "Q4_3",       "Q5_0",       "Q5_1",
      "Q8_0",     "Q8_1",     "Q2_K",    "Q3_K",  "Q4_K",       "Q5_K",       "Q6_K",       "Q8_K",
      "IQ2_XXS",  "IQ2_XS",   "IQ3_XXS", "IQ1_S", "IQ4_NL",     "IQ3_S",      "IQ2_S",      "IQ4_XS",
      "I8",       "I16",      "I32",     "I64",   "F64",        "IQ1_M",      "BF16",       "Q4_0_4_4",
      "Q4_0_4_8", "Q4_0_8_8", "TQ1_0",   "TQ2_0", "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4"};
  return id < std::size(kNames) ? kNames[id] : std::string_view();
}

namespace {

Result<GgufDirectory> parse(Reader& reader, std::span<const std::byte> bytes, std::string_view file) {
  GgufDirectory directory;
  KINGLET_TRY(directory.version, read_version(reader, bytes, file));
  const std::uint64_t counts = reader.position();
  KINGLET_TRY(auto raw_tensors, reader.number<std::uint64_t>("the number of tensors"));
  KINGLET_TRY(auto raw_keys, reader.number<std::uint64_t>("the number of metadata keys"));
  const std::uint64_t most_tensors = std::min(limits::kTensors, reader.remaining() / kMinTensorBytes);
  const std::uint64_t most_keys = std::min(limits::kMetadataKeys, reader.remaining() / kMinKeyBytes);
  KINGLET_TRY(auto tensors, at(reader, raw_tensors.between(0, most_tensors, "the number of tensors"), counts));
  KINGLET_TRY(auto keys, at(reader, raw_keys.between(0, most_keys, "the number of metadata keys"), counts + 8));
  KINGLET_CHECK(read_metadata(reader, keys, directory.metadata));
  KINGLET_TRY(const std::uint64_t alignment, gguf_alignment(directory.metadata, file));

  std::unordered_set<std::string> seen;
  std::vector<Extent> extents;
  directory.tensors.reserve(tensors);
  extents.reserve(tensors);
  for (std::uint64_t i = 0; i < tensors; ++i) {
    const std::uint64_t start = reader.position();
    std::uint64_t offset = 0;
    KINGLET_TRY(auto tensor, read_tensor(reader, i, offset));
    if (!seen.insert(tensor.name).second)
      return fail(ErrorCode::kCorrupt, "the tensor '" + printable(tensor.name) + "' stands twice",
                  std::string(kReconvertHint), reader.place(start));
    directory.tensors.push_back(std::move(tensor));
    extents.push_back({offset, directory.tensors.back().bytes, &directory.tensors.back().name});
  }
  KINGLET_TRY(const std::uint64_t data, checked_align(reader.position(), alignment, "the data's begin"));
  if (data > bytes.size() && tensors > 0)
    return fail(ErrorCode::kCorrupt, "the file ends before its first tensor", std::string(kDamagedHint),
                reader.place(bytes.size()));
  const std::uint64_t section = data > bytes.size() ? 0 : bytes.size() - data;
  KINGLET_CHECK(check_tiling(extents, alignment, section, file, data));
  for (const Extent& extent : extents) directory.offsets.push_back(data + extent.begin);
  KINGLET_CHECK(resolve_native_types(directory.metadata, directory.tensors, file));
  return directory;
}

}  // namespace

Result<GgufDirectory> parse_gguf(std::span<const std::byte> bytes, std::string_view file) {
  Reader reader(bytes, file);
  auto directory = parse(reader, bytes, file);
  if (!directory) return tl::unexpected(at(reader, std::move(directory).error(), reader.position()));
  return directory;
}

}  // namespace kinglet
