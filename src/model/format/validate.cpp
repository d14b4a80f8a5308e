#include "model/format/validate.h"

#include <utf8proc.h>

#include <algorithm>

#include "base/checked.h"
#include "base/limits.h"
#include "base/try.h"

namespace kinglet {
namespace {

// Bytes of the well-formed character at the front that may be printed; 0 where there is none.
std::size_t printable_prefix(std::string_view text) {
  utf8proc_int32_t point = -1;
  const auto size = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                     static_cast<utf8proc_ssize_t>(text.size()), &point);
  if (size <= 0 || point < 0) return 0;
  const auto category = utf8proc_category(point);
  const bool hidden = category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF ||
                      category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
  return hidden ? 0 : static_cast<std::size_t>(size);
}

bool leads_out(std::string_view name) {
  if (name.front() == '/') return true;
  for (std::size_t start = 0; start <= name.size();) {
    const std::size_t end = std::min(name.find('/', start), name.size());
    if (name.substr(start, end - start) == "..") return true;
    start = end + 1;
  }
  return false;
}

}  // namespace

std::string printable(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  while (!text.empty()) {
    if (out.size() > 76) return out + "...";
    const std::size_t size = printable_prefix(text);
    if (size > 0) {
      out += text.substr(0, size);
      text.remove_prefix(size);
    } else {
      const auto byte = static_cast<unsigned char>(text.front());
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
      text.remove_prefix(1);
    }
  }
  return out;
}

Result<void> check_name(std::string_view name, std::uint64_t max_bytes, std::string_view what) {
  const std::string quoted = std::string(what) + " '" + printable(name) + "'";
  if (name.empty()) return fail(ErrorCode::kCorrupt, "a " + std::string(what) + " is empty", std::string(kDamagedHint));
  if (name.size() > max_bytes)
    return fail(ErrorCode::kCorrupt,
                quoted + " has " + std::to_string(name.size()) + " bytes, at most " + std::to_string(max_bytes) +
                    " are allowed",
                std::string(kDamagedHint));
  for (std::string_view rest = name; !rest.empty();) {
    const std::size_t size = printable_prefix(rest);
    if (size == 0)
      return fail(ErrorCode::kCorrupt, quoted + " holds control characters or is not UTF-8", std::string(kDamagedHint));
    rest.remove_prefix(size);
  }
  if (leads_out(name))
    return fail(ErrorCode::kCorrupt, quoted + " is a path that leads out of a folder",
                "Real models have no such names; do not trust this file.");
  return {};
}

Result<std::uint64_t> tensor_bytes(std::string_view name, const BlockType& type, std::span<const std::int64_t> shape) {
  const std::string quoted = "tensor '" + printable(name) + "'";
  std::uint64_t values = 1;
  for (std::int64_t size : shape) {
    if (size < 1 || size > limits::kDimension)
      return fail(ErrorCode::kCorrupt,
                  quoted + " has a dimension of " + std::to_string(size) + ", expected 1 to " +
                      std::to_string(limits::kDimension),
                  std::string(kDamagedHint));
    KINGLET_TRY(values, checked_multiply(values, static_cast<std::uint64_t>(size), quoted + "'s size"));
    if (values > limits::kTensorValues)
      return fail(ErrorCode::kCorrupt, quoted + " has more values than any file can hold", std::string(kDamagedHint));
  }
  const std::int64_t columns = shape.empty() ? 1 : shape.back();
  if (columns % type.block_values != 0)
    return fail(ErrorCode::kCorrupt,
                quoted + " has rows of " + std::to_string(columns) + " values, which are not whole blocks of " +
                    std::string(type.name) + " (" + std::to_string(type.block_values) + " values each)",
                std::string(kDamagedHint));
  return checked_multiply(values / type.block_values, type.block_bytes, quoted + "'s size");
}

Result<void> check_tiling(std::vector<Extent> extents, std::uint64_t alignment, std::uint64_t section,
                          std::string_view file, std::uint64_t section_start) {
  const auto place = [&](std::uint64_t offset) {
    std::uint64_t absolute = section_start;
    if (__builtin_add_overflow(absolute, offset, &absolute)) absolute = UINT64_MAX;
    return std::string(file) + ", byte " + std::to_string(absolute);
  };
  std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) {
    return a.begin != b.begin ? a.begin < b.begin : *a.name < *b.name;
  });
  std::uint64_t expected = 0, end = 0;
  for (const Extent& extent : extents) {
    const std::string quoted = "tensor '" + printable(*extent.name) + "'";
    if (extent.begin % alignment != 0)
      return fail(ErrorCode::kCorrupt,
                  quoted + "'s offset " + std::to_string(extent.begin) + " is not a multiple of the alignment " +
                      std::to_string(alignment),
                  std::string(kDamagedHint), place(extent.begin));
    if (extent.begin != expected)
      return fail(ErrorCode::kCorrupt,
                  quoted + (extent.begin < expected ? " overlaps the one before it" : " leaves a gap before it") +
                      " (its data begins at " + std::to_string(extent.begin) + ", expected " +
                      std::to_string(expected) + ")",
                  std::string(kDamagedHint), place(extent.begin));
    KINGLET_TRY(end, checked_add(extent.begin, extent.size, quoted + "'s end"));
    if (end > section)
      return fail(ErrorCode::kCorrupt,
                  "the file ends inside " + quoted + " (" + std::to_string(end - section) + " bytes are missing)",
                  std::string(kDamagedHint), place(section));
    KINGLET_TRY(expected, checked_align(end, alignment, quoted + "'s end"));
  }
  if (section > expected)
    return fail(ErrorCode::kCorrupt,
                std::to_string(section - expected) + " bytes after the last tensor belong to nothing",
                "The file is damaged, or another file was appended to it: fetch it again.", place(expected));
  return {};
}

namespace {

struct Signature {
  std::string_view bytes;
  std::string_view what;
  std::string_view hint;
};
constexpr std::string_view kPickleHint =
    "Pickle files can run code when they are opened, so Kinglet never reads them: convert the model to safetensors "
    "where it came from.";
constexpr Signature kSignatures[] = {
    {"PK\x03\x04", "a zip archive (or a PyTorch .pt/.bin file, which is a zip of pickles)",
     "Unpack it and give the model inside; of a PyTorch model, take the safetensors version."},
    {"\x1f\x8b", "a gzip archive", "Unpack it first: gunzip FILE."},
    {"\xfd"
     "7zXZ",
     "an xz archive", "Unpack it first: unxz FILE."},
    {"\x28\xb5\x2f\xfd", "a zstd archive", "Unpack it first: zstd -d FILE."},
    {"BZh", "a bzip2 archive", "Unpack it first: bunzip2 FILE."},
    {"version https://git-lfs", "a Git LFS pointer, not the model itself",
     "Run git lfs pull where it came from, or fetch it with kinglet pull."},
    {"<!DOCTYPE", "an HTML page", "The download gave an error or a login page: check the address."},
    {"<!doctype", "an HTML page", "The download gave an error or a login page: check the address."},
    {"<html", "an HTML page", "The download gave an error or a login page: check the address."},
    {"<?xml", "an XML document", "The download gave an error page: check the address."},
    {"\x89PNG", "a PNG image", "Give a GGUF file, a safetensors file or a Hugging Face folder."},
    {"\xff\xd8\xff", "a JPEG image", "Give a GGUF file, a safetensors file or a Hugging Face folder."},
    {"%PDF", "a PDF document", "Give a GGUF file, a safetensors file or a Hugging Face folder."},
    {"\x7f"
     "ELF",
     "a program", "Give a GGUF file, a safetensors file or a Hugging Face folder."},
    {"\x93NUMPY", "a NumPy array", "Give a GGUF file, a safetensors file or a Hugging Face folder."},
    {"\x89HDF", "an HDF5 file", "Convert the model to safetensors where it came from."},
    {"\x08\x07\x12", "an ONNX model", "Kinglet reads GGUF and safetensors: take one of those versions."},
    {"\x08\x08\x12", "an ONNX model", "Kinglet reads GGUF and safetensors: take one of those versions."},
    {"lmgg", "a GGML file, GGUF's forerunner", "Take the model's GGUF version."},
    {"tjgg", "a GGJT file, GGUF's forerunner", "Take the model's GGUF version."},
    {"fmgg", "a GGMF file, GGUF's forerunner", "Take the model's GGUF version."},
};

}  // namespace

tl::unexpected<Error> not_a_model(std::span<const std::byte> bytes, std::string_view expected, std::string_view file) {
  const std::string place = std::string(file) + ", byte 0";
  if (bytes.empty())
    return fail(ErrorCode::kCorrupt, "the file is empty", "The download did not begin or was cut: fetch it again.",
                place);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (const Signature& signature : kSignatures)
    if (text.starts_with(signature.bytes))
      return fail(ErrorCode::kCorrupt, "expected " + std::string(expected) + ", found " + std::string(signature.what),
                  std::string(signature.hint), place);
  if (text.size() >= 2 && text[0] == '\x80' && text[1] >= 1 && text[1] <= 5)
    return fail(ErrorCode::kUnsupported, "expected " + std::string(expected) + ", found a pickle",
                std::string(kPickleHint), place);
  if (text.front() == '{' || text.front() == '[')
    return fail(ErrorCode::kCorrupt, "expected " + std::string(expected) + ", found JSON",
                "Give the folder that holds it, or the model file itself.", place);
  return fail(ErrorCode::kCorrupt,
              "expected " + std::string(expected) + ", found '" + printable(text.substr(0, 8)) + "'",
              "Give a GGUF file, a safetensors file or a Hugging Face folder.", place);
}

}  // namespace kinglet
