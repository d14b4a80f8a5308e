// GGUF v3, written front to back.
#include <cstring>
#include <unordered_set>

#include "base/checked.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/try.h"
#include "model/format/gguf.h"
#include "model/format/native_types.h"
#include "model/format/validate.h"

namespace kinglet {
namespace {

template <typename T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_string(std::string& out, std::string_view text) {
  put<std::uint64_t>(out, text.size());
  out += text;
}

void put_integer(std::string& out, MetadataType type, std::int64_t value) {
  out.append(reinterpret_cast<const char*>(&value), gguf_value_bytes(type));  // the low bytes: both are little-endian
}

void put_float(std::string& out, MetadataType type, double value) {
  if (type == MetadataType::kFloat64)
    put(out, value);
  else
    put(out, static_cast<float>(value));
}

void put_value(std::string& out, const MetadataValue& value) {
  if (value.is_array) put(out, MetadataType::kArray);
  put(out, value.type);
  if (const auto* integer = std::get_if<std::int64_t>(&value.value)) {
    put_integer(out, value.type, *integer);
  } else if (const auto* number = std::get_if<double>(&value.value)) {
    put_float(out, value.type, *number);
  } else if (const auto* text = std::get_if<std::string>(&value.value)) {
    put_string(out, *text);
  } else if (const auto* integers = std::get_if<std::vector<std::int64_t>>(&value.value)) {
    put<std::uint64_t>(out, integers->size());
    for (std::int64_t item : *integers) put_integer(out, value.type, item);
  } else if (const auto* numbers = std::get_if<std::vector<double>>(&value.value)) {
    put<std::uint64_t>(out, numbers->size());
    for (double item : *numbers) put_float(out, value.type, item);
  } else {
    const auto& texts = std::get<std::vector<std::string>>(value.value);
    put<std::uint64_t>(out, texts.size());
    for (const std::string& item : texts) put_string(out, item);
  }
}

// Plans are made by our own code, but from names and shapes of files: what could not be read back is refused.
Result<std::vector<std::uint64_t>> sizes_of(const std::vector<GgufWriter::Plan>& plans) {
  std::vector<std::uint64_t> sizes;
  std::unordered_set<std::string_view> seen;
  for (const GgufWriter::Plan& plan : plans) {
    KINGLET_CHECK(check_name(plan.name, limits::kTensorNameBytes, "tensor name"));
    const std::string quoted = "tensor '" + printable(plan.name) + "'";
    if (!seen.insert(plan.name).second) return fail(ErrorCode::kInvalidArgument, quoted + " would stand twice");
    if (!plan.type) return fail(ErrorCode::kInvalidArgument, quoted + " has no type");
    if (plan.shape.empty() || plan.shape.size() > static_cast<std::size_t>(limits::kDimensions))
      return fail(ErrorCode::kUnsupported,
                  quoted + " has " + std::to_string(plan.shape.size()) + " dimensions; GGUF holds 1 to 4");
    if (plan.type->is_native && fitting_block_type(*plan.type, plan.shape.back()) != plan.type)
      return fail(ErrorCode::kInvalidArgument, quoted + " has another block length than its rows ask for");
    KINGLET_TRY(const std::uint64_t size, tensor_bytes(plan.name, *plan.type, plan.shape));
    sizes.push_back(plan.codec.empty() ? size : plan.stored_bytes);
  }
  return sizes;
}

std::uint64_t padded(std::uint64_t size, std::uint64_t alignment) { return (size + alignment - 1) & ~(alignment - 1); }

class Writer final : public GgufWriter {
 public:
  Writer(std::unique_ptr<AtomicFile> file, std::vector<std::uint64_t> sizes, std::uint64_t alignment)
      : file_(std::move(file)), sizes_(std::move(sizes)), alignment_(alignment) {}

  Result<void> write(std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      if (tensor_ == sizes_.size()) return fail(ErrorCode::kInternal, "more bytes were written than the tensors have");
      const std::uint64_t part = std::min<std::uint64_t>(bytes.size(), sizes_[tensor_] - written_);
      KINGLET_CHECK(file_->write(bytes.first(part)));
      bytes = bytes.subspan(part);
      written_ += part;
      if (written_ < sizes_[tensor_]) continue;
      const std::vector<std::byte> padding(padded(written_, alignment_) - written_);
      KINGLET_CHECK(file_->write(padding));
      ++tensor_;
      written_ = 0;
    }
    return {};
  }

  Result<void> finish() override {
    if (tensor_ != sizes_.size()) return fail(ErrorCode::kInternal, "not all tensors were written");
    return file_->commit();
  }

 private:
  std::unique_ptr<AtomicFile> file_;
  std::vector<std::uint64_t> sizes_;
  std::uint64_t alignment_, written_ = 0;
  std::size_t tensor_ = 0;
};

}  // namespace

std::string gguf_header(const Metadata& given, const std::vector<GgufWriter::Plan>& plans, std::uint64_t alignment) {
  const Metadata metadata = with_native_types(given, plans);
  std::string out(kGgufMagic);
  put(out, kGgufVersion);
  put<std::uint64_t>(out, plans.size());
  put<std::uint64_t>(out, metadata.entries().size());
  for (const auto& [key, value] : metadata.entries()) {
    put_string(out, key);
    put_value(out, value);
  }
  std::uint64_t offset = 0;
  for (const GgufWriter::Plan& plan : plans) {
    put_string(out, plan.name);
    std::uint64_t rows = 1;
    for (std::size_t d = 0; d + 1 < plan.shape.size(); ++d) rows *= static_cast<std::uint64_t>(plan.shape[d]);
    const std::uint64_t bytes = plan.codec.empty()
                                    ? rows * plan.type->row_bytes(static_cast<std::uint64_t>(plan.shape.back()))
                                    : plan.stored_bytes;
    if (plan.type->is_native || !plan.codec.empty()) {  // a row of I8
      put<std::uint32_t>(out, 1);
      put(out, bytes);
      put(out, find_block_type("I8")->gguf_id);
    } else {
      put(out, static_cast<std::uint32_t>(plan.shape.size()));
      for (std::size_t d = plan.shape.size(); d-- > 0;) put(out, static_cast<std::uint64_t>(plan.shape[d]));
      put(out, plan.type->gguf_id);
    }
    put(out, offset);
    offset = padded(offset + bytes, alignment);
  }
  out.resize(padded(out.size(), alignment), '\0');
  return out;
}

Result<std::unique_ptr<GgufWriter>> GgufWriter::create(const std::string& path, const Metadata& metadata,
                                                       std::vector<Plan> plans) {
  KINGLET_TRY(const std::uint64_t alignment, gguf_alignment(metadata, path));
  for (const auto& [key, value] : metadata.entries())
    KINGLET_CHECK(check_name(key, limits::kMetadataKeyBytes, "metadata key"));
  KINGLET_TRY(auto sizes, sizes_of(plans));
  KINGLET_TRY(auto file, AtomicFile::create(path));
  KINGLET_CHECK(file->write(std::string_view(gguf_header(metadata, plans, alignment))));
  return std::make_unique<Writer>(std::move(file), std::move(sizes), alignment);
}

std::uint64_t GgufWriter::predicted_bytes(const Metadata& metadata, const std::vector<Plan>& plans) {
  const auto alignment = gguf_alignment(metadata, "");
  std::uint64_t size = gguf_header(metadata, plans, alignment ? *alignment : kGgufAlignment).size();
  for (const Plan& plan : plans)
    if (auto bytes = tensor_bytes(plan.name, *plan.type, plan.shape))
      size += padded(plan.codec.empty() ? *bytes : plan.stored_bytes, alignment ? *alignment : kGgufAlignment);
  return size;
}

}  // namespace kinglet
