#include "model/format/native_types.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <unordered_map>

#include "base/limits.h"
#include "base/try.h"
#include "kinglet/factors.h"
#include "kinglet/layer_map.h"
#include "model/format/validate.h"

namespace kinglet {
namespace {

std::string entry_of(const GgufWriter::Plan& plan) {
  std::string text(plan.codec.empty() ? plan.type->name : std::string_view(plan.codec));
  for (std::size_t d = 0; d < plan.shape.size(); ++d) text += (d == 0 ? " " : "x") + std::to_string(plan.shape[d]);
  return text + " " + plan.name;
}

}  // namespace

bool parse_entry(std::string_view text, ShapedEntry& entry) {
  const std::size_t type_end = text.find(' ');
  if (type_end == std::string_view::npos) return false;
  const std::size_t shape_end = text.find(' ', type_end + 1);
  if (shape_end == std::string_view::npos) return false;
  entry.type = text.substr(0, type_end);
  entry.name = text.substr(shape_end + 1);
  std::string_view shape = text.substr(type_end + 1, shape_end - type_end - 1);
  while (entry.shape.size() < static_cast<std::size_t>(limits::kDimensions)) {
    std::int64_t size = 0;
    const auto [end, error] = std::from_chars(shape.data(), shape.data() + shape.size(), size);
    if (error != std::errc() || size < 1 || size > limits::kDimension) return false;
    entry.shape.push_back(size);
    shape.remove_prefix(static_cast<std::size_t>(end - shape.data()));
    if (shape.empty()) return true;
    if (shape.front() != 'x') return false;
    shape.remove_prefix(1);
  }
  return false;
}

namespace {

Result<void> apply_codec(const ShapedEntry& entry, TensorInfo& tensor) {
  const BlockType* type = find_block_type(entry.type.substr(0, entry.type.size() - 2));
  KINGLET_TRY(const std::uint64_t bytes, tensor_bytes(tensor.name, *type, entry.shape));
  if (bytes / 2 > tensor.bytes)  // each number keeps a byte of its own
    return fail(ErrorCode::kCorrupt, "tensor '" + printable(tensor.name) + "' is too short for its shape");
  tensor.codec = entry.type;
  tensor.stored_bytes = tensor.bytes;
  tensor.bytes = bytes;
  tensor.type = type;
  tensor.shape = entry.shape;
  return {};
}

Result<void> apply(const ShapedEntry& entry, TensorInfo& tensor) {
  const std::string quoted = "tensor '" + printable(tensor.name) + "'";
  if (tensor.type->is_native || !tensor.codec.empty())
    return fail(ErrorCode::kCorrupt, quoted + " stands twice in kinglet.codec");
  if (tensor.type->name != "I8" || tensor.shape.size() != 1)
    return fail(ErrorCode::kCorrupt, quoted + " has a type of Kinglet's own, but is not stored as a row of I8");
  if (entry.type == "BF16-H" || entry.type == "F16-H") return apply_codec(entry, tensor);
  const BlockType* family = find_block_type(entry.type);
  if (!family || !family->is_native)
    return fail(ErrorCode::kUnsupported, quoted + " has the type '" + printable(entry.type) + "', which is not known",
                "The file was made by a newer Kinglet, or is damaged.");
  const BlockType* type = fitting_block_type(*family, entry.shape.back());
  if (!type)
    return fail(ErrorCode::kCorrupt, quoted + " has rows of " + std::to_string(entry.shape.back()) +
                                         " values, which are not whole blocks of " + std::string(family->name));
  KINGLET_TRY(const std::uint64_t bytes, tensor_bytes(tensor.name, *type, entry.shape));
  if (bytes != tensor.bytes)
    return fail(ErrorCode::kCorrupt, quoted + " has " + std::to_string(tensor.bytes) + " bytes, but its shape in " +
                                         std::string(family->name) + " takes " + std::to_string(bytes));
  tensor.type = type;
  tensor.shape = entry.shape;
  return {};
}

/// Whether other readers have to refuse the model, whatever the types of its tensors.
bool is_kinglets_own(const Metadata& metadata) {
  return metadata.contains(kFactorsKey) || metadata.contains(kLayerMapKey);
}

void drop_prefix(Metadata& metadata) {
  const auto architecture = metadata.string_or("general.architecture", "");
  if (architecture && architecture->starts_with(kNativePrefix))
    metadata.set_string("general.architecture", architecture->substr(kNativePrefix.size()));
}

}  // namespace

const char* float_codec(const BlockType& type) {
  return type.name == "BF16" ? "BF16-H" : type.name == "F16" ? "F16-H" : nullptr;
}

namespace {

/// `use` is given the code of the tensor; errors get its name.
Result<FloatCode> with_code(const TensorInfo& tensor, std::span<const std::byte> stored,
                            const std::function<Result<void>(const FloatCode&)>& use) {
  const FloatKind kind = tensor.type->name == "BF16" ? FloatKind::kBfloat16 : FloatKind::kFloat16;
  auto code = FloatCode::open(stored, kind, static_cast<std::uint64_t>(tensor.elements()));
  const Result<void> done = code ? use(*code) : Result<void>();
  if (code && done) return code;
  Error error = code ? done.error() : std::move(code).error();
  error.message = "tensor '" + printable(tensor.name) + "': " + error.message;
  return tl::unexpected(std::move(error));
}

}  // namespace

Result<FloatCode> open_stored(const TensorInfo& tensor, std::span<const std::byte> stored) {
  return with_code(tensor, stored, [](const FloatCode& code) -> Result<void> {
    constexpr std::uint32_t kAtOnce = 2;
    std::vector<std::uint16_t> numbers(kAtOnce * kFloatBlock);
    for (std::uint32_t block = 0; block < code.blocks(); block += kAtOnce)
      KINGLET_CHECK(code.decode_blocks(block, std::min(kAtOnce, code.blocks() - block), numbers.data()));
    return {};
  });
}

Result<std::vector<std::byte>> decode_stored(const TensorInfo& tensor, std::span<const std::byte> stored) {
  std::vector<std::byte> bytes;
  KINGLET_CHECK(with_code(tensor, stored, [&](const FloatCode& code) {
    bytes.resize(tensor.bytes);
    return code.decode_all({reinterpret_cast<std::uint16_t*>(bytes.data()), bytes.size() / sizeof(std::uint16_t)});
  }));
  return bytes;
}

Metadata with_native_types(const Metadata& metadata, const std::vector<GgufWriter::Plan>& plans) {
  std::vector<std::string> entries;
  for (const GgufWriter::Plan& plan : plans)
    if (plan.type && (plan.type->is_native || !plan.codec.empty())) entries.push_back(entry_of(plan));
  if (entries.empty() && !is_kinglets_own(metadata)) return metadata;
  Metadata result = metadata;
  const auto architecture = result.string_or("general.architecture", "");
  if (architecture && !architecture->empty())
    result.set_string("general.architecture", std::string(kNativePrefix) + *architecture);
  if (!entries.empty()) result.set_strings(kCodecKey, std::move(entries));
  return result;
}

Result<void> resolve_native_types(Metadata& metadata, std::vector<TensorInfo>& tensors, std::string_view file) {
  if (!metadata.contains(kCodecKey)) {
    if (is_kinglets_own(metadata)) drop_prefix(metadata);
    return {};
  }
  const std::string place = std::string(file) + ", metadata";
  KINGLET_TRY(const auto* entries, metadata.strings(kCodecKey));
  std::unordered_map<std::string_view, TensorInfo*> by_name;
  for (TensorInfo& tensor : tensors) by_name.emplace(tensor.name, &tensor);
  for (const std::string& text : *entries) {
    ShapedEntry entry;
    if (!parse_entry(text, entry))
      return fail(ErrorCode::kCorrupt, "kinglet.codec has the entry '" + printable(text) + "'",
                  std::string(kDamagedHint), place);
    const auto found = by_name.find(entry.name);
    if (found == by_name.end())
      return fail(ErrorCode::kCorrupt, "kinglet.codec names '" + printable(entry.name) + "', which is no tensor here",
                  std::string(kDamagedHint), place);
    if (auto done = apply(entry, *found->second); !done) {
      Error error = std::move(done).error();
      error.place = place;
      if (error.hint.empty()) error.hint = kDamagedHint;
      return tl::unexpected(std::move(error));
    }
  }
  metadata.erase(kCodecKey);
  drop_prefix(metadata);
  return {};
}

}  // namespace kinglet
