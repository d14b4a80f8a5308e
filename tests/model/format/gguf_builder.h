// Raw GGUF bytes, right or wrong on purpose: every count and number can be replaced by a lie.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kinglet {

class GgufBuilder {
 public:
  struct Tensor {
    std::string name = "w";
    std::vector<std::uint64_t> dimensions = {32};  // innermost first, as the file has them
    std::uint32_t type = 0;
    std::optional<std::uint64_t> offset = {};  // default: after the one before
    std::string data = std::string(128, '\1');
    std::optional<std::uint32_t> dimension_count = {};
    std::optional<std::uint64_t> name_length = {};
  };

  std::string magic = "GGUF";
  std::uint32_t version = 3;
  std::optional<std::uint64_t> tensor_count, key_count;
  std::uint64_t alignment = 32;
  std::string keys;  // encoded
  std::uint64_t keys_added = 0;
  std::vector<Tensor> tensors;
  bool pad_last = true;

  template <typename T>
  static std::string number(T value) {
    return std::string(reinterpret_cast<const char*>(&value), sizeof value);
  }
  static std::string text(std::string_view value) { return number<std::uint64_t>(value.size()) + std::string(value); }

  GgufBuilder& key(std::string_view name, std::uint32_t type, const std::string& value) {
    keys += text(name) + number(type) + value;
    ++keys_added;
    return *this;
  }
  GgufBuilder& string(std::string_view name, std::string_view value) { return key(name, 8, text(value)); }
  GgufBuilder& uint32(std::string_view name, std::uint32_t value) { return key(name, 4, number(value)); }
  GgufBuilder& tensor(Tensor tensor) {
    tensors.push_back(std::move(tensor));
    return *this;
  }

  std::string header() const {
    std::string out = magic + number(version) + number<std::uint64_t>(tensor_count.value_or(tensors.size())) +
                      number<std::uint64_t>(key_count.value_or(keys_added)) + keys;
    std::uint64_t offset = 0;
    for (const Tensor& tensor : tensors) {
      out += number<std::uint64_t>(tensor.name_length.value_or(tensor.name.size())) + tensor.name;
      out += number<std::uint32_t>(tensor.dimension_count.value_or(tensor.dimensions.size()));
      for (std::uint64_t size : tensor.dimensions) out += number(size);
      out += number(tensor.type) + number<std::uint64_t>(tensor.offset.value_or(offset));
      offset += (tensor.data.size() + alignment - 1) / alignment * alignment;
    }
    return out;
  }
  std::string build() const {
    std::string out = header();
    out.resize((out.size() + alignment - 1) / alignment * alignment, '\0');
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      out += tensors[i].data;
      if (i + 1 < tensors.size() || pad_last) out.resize((out.size() + alignment - 1) / alignment * alignment, '\0');
    }
    return out;
  }
};

/// A small well-formed file: a few keys of every type and two tensors.
inline GgufBuilder small_gguf() {
  GgufBuilder b;
  b.string("general.architecture", "llama").uint32("llama.block_count", 1);
  b.key("a.u8", 0, "\x07").key("a.i8", 1, "\xff").key("a.u16", 2, GgufBuilder::number<std::uint16_t>(65535));
  b.key("a.i16", 3, GgufBuilder::number<std::int16_t>(-2)).key("a.i32", 5, GgufBuilder::number<std::int32_t>(-3));
  b.key("a.f32", 6, GgufBuilder::number(1.5f)).key("a.bool", 7, "\x01");
  b.key("a.u64", 10, GgufBuilder::number<std::uint64_t>(INT64_MAX));
  b.key("a.i64", 11, GgufBuilder::number<std::int64_t>(INT64_MIN)).key("a.f64", 12, GgufBuilder::number(0.1));
  b.key("a.texts", 9,
        GgufBuilder::number<std::uint32_t>(8) + GgufBuilder::number<std::uint64_t>(2) + GgufBuilder::text("x") +
            GgufBuilder::text(""));
  b.key("a.floats", 9,
        GgufBuilder::number<std::uint32_t>(6) + GgufBuilder::number<std::uint64_t>(1) + GgufBuilder::number(2.5f));
  b.tensor({.name = "blk.0.attn_q.weight", .dimensions = {32, 2}, .type = 0, .data = std::string(256, '\0')});
  b.tensor({.name = "norm", .dimensions = {5}, .type = 0, .data = std::string(20, '\0')});
  return b;
}

}  // namespace kinglet
