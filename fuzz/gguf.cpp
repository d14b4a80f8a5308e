// GGUF from memory. Oracle: what is accepted lies inside the file, and written again it reads back equal.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "kinglet/factors.h"
#include "kinglet/layer_map.h"
#include "model/format/gguf.h"

namespace {

using namespace kinglet;

void require(bool condition) {
  if (!condition) std::abort();
}

bool same(double a, double b) { return std::memcmp(&a, &b, sizeof a) == 0; }

bool same(const MetadataValue& a, const MetadataValue& b) {
  if (a.type != b.type || a.is_array != b.is_array || a.value.index() != b.value.index()) return false;
  if (const auto* x = std::get_if<double>(&a.value)) return same(*x, std::get<double>(b.value));
  if (const auto* x = std::get_if<std::vector<double>>(&a.value)) {
    const auto& y = std::get<std::vector<double>>(b.value);
    if (x->size() != y.size()) return false;
    for (std::size_t i = 0; i < y.size(); ++i)
      if (!same((*x)[i], y[i])) return false;
    return true;
  }
  return a.value == b.value;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  const auto first = parse_gguf(bytes, "input");
  if (!first) {
    require(!first.error().message.empty() && !first.error().place.empty() && !first.error().hint.empty());
    return 0;
  }
  if (const auto matrices = factored_matrices(first->metadata)) {
    for (const FactoredMatrix& matrix : *matrices) {
      const auto found = find_factored(first->metadata, matrix.name);
      require(found && *found && (*found)->codec == matrix.codec && (*found)->outputs == matrix.outputs);
    }
  }
  if (const auto map = layer_map(first->metadata, 12)) {
    for (int layer = 0; layer < 12; ++layer) require((*map)[static_cast<std::size_t>(layer)] <= layer);
  }
  require(original_layers(first->metadata, 12).size() == 12);
  std::vector<GgufWriter::Plan> plans;
  for (std::size_t i = 0; i < first->tensors.size(); ++i) {
    const TensorInfo& tensor = first->tensors[i];
    require(first->offsets[i] <= size && tensor.bytes <= size - first->offsets[i]);
    require(static_cast<std::uint64_t>(tensor.elements()) / tensor.type->block_values * tensor.type->block_bytes ==
            tensor.bytes);
    plans.push_back({tensor.name, tensor.type, tensor.shape});
  }
  const auto alignment = gguf_alignment(first->metadata, "input");
  require(alignment.has_value());
  std::string written = gguf_header(first->metadata, plans, *alignment);
  written.resize(GgufWriter::predicted_bytes(first->metadata, plans));
  const auto second = parse_gguf(std::as_bytes(std::span(written)), "written");
  require(second.has_value());
  require(second->metadata.entries().size() == first->metadata.entries().size());
  for (std::size_t i = 0; i < first->metadata.entries().size(); ++i) {
    require(first->metadata.entries()[i].first == second->metadata.entries()[i].first);
    require(same(first->metadata.entries()[i].second, second->metadata.entries()[i].second));
  }
  require(second->tensors.size() == first->tensors.size());
  for (std::size_t i = 0; i < first->tensors.size(); ++i) {
    const TensorInfo &a = first->tensors[i], &b = second->tensors[i];
    require(a.name == b.name && a.type == b.type && a.shape == b.shape && a.bytes == b.bytes);
  }
  return 0;
}
