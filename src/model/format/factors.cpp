#include "kinglet/factors.h"

#include <unordered_set>

#include "base/limits.h"
#include "base/size.h"
#include "base/try.h"
#include "model/format/native_types.h"
#include "model/format/validate.h"

namespace kinglet {
namespace {

Result<FactoredMatrix> parse_factored(const std::string& text) {
  ShapedEntry entry;
  if (!parse_entry(text, entry) || entry.shape.size() != 2 || entry.type.empty())
    return fail(ErrorCode::kCorrupt, std::string(kFactorsKey) + " has the entry '" + printable(text) + "'",
                std::string(kDamagedHint));
  KINGLET_CHECK(check_name(entry.name, limits::kTensorNameBytes, "tensor name"));
  return FactoredMatrix{std::string(entry.type), std::string(entry.name), entry.shape[0], entry.shape[1]};
}

}  // namespace

Result<std::vector<FactoredMatrix>> factored_matrices(const Metadata& metadata) {
  std::vector<FactoredMatrix> matrices;
  if (!metadata.contains(kFactorsKey)) return matrices;
  KINGLET_TRY(const auto* entries, metadata.strings(kFactorsKey));
  std::unordered_set<std::string_view> seen;
  matrices.reserve(entries->size());
  for (const std::string& text : *entries) {
    KINGLET_TRY(auto matrix, parse_factored(text));
    matrices.push_back(std::move(matrix));
    if (!seen.insert(matrices.back().name).second)
      return fail(ErrorCode::kCorrupt,
                  "'" + printable(matrices.back().name) + "' stands twice in " + std::string(kFactorsKey),
                  std::string(kDamagedHint));
  }
  return matrices;
}

Result<std::optional<FactoredMatrix>> find_factored(const Metadata& metadata, std::string_view name) {
  if (!metadata.contains(kFactorsKey)) return std::nullopt;
  KINGLET_TRY(const auto* entries, metadata.strings(kFactorsKey));
  const std::string ending = " " + std::string(name);
  for (const std::string& text : *entries) {
    if (!text.ends_with(ending)) continue;
    KINGLET_TRY(auto matrix, parse_factored(text));
    if (matrix.name == name) return std::optional(std::move(matrix));
  }
  return std::nullopt;
}

void set_factored_matrices(Metadata& metadata, std::span<const FactoredMatrix> matrices) {
  std::vector<std::string> entries;
  for (const FactoredMatrix& matrix : matrices)
    entries.push_back(matrix.codec + " " + std::to_string(matrix.outputs) + "x" + std::to_string(matrix.inputs) + " " +
                      matrix.name);
  if (entries.empty()) {
    metadata.erase(kFactorsKey);
  } else {
    metadata.set_strings(kFactorsKey, std::move(entries));
  }
}

std::vector<const TensorInfo*> factors_of(const Checkpoint& checkpoint, const FactoredMatrix& matrix) {
  std::vector<const TensorInfo*> factors;
  while (const TensorInfo* factor = checkpoint.find(matrix.factor(static_cast<int>(factors.size()))))
    factors.push_back(factor);
  return factors;
}

std::string_view matrix_of_factor(std::string_view tensor) {
  const std::size_t dot = tensor.rfind('.');
  std::int64_t number = -1;
  if (dot == std::string_view::npos || !parse_integer(tensor.substr(dot + 1), number) || number < 0) return "";
  const std::string_view matrix = tensor.substr(0, dot);
  return matrix.ends_with(".weight") ? matrix : std::string_view();
}

}  // namespace kinglet
