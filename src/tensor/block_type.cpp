#include "kinglet/block_type.h"

#include <algorithm>

#include "tensor/type_family.h"

namespace kinglet {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool same_name(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return lower(x) == lower(y); });
}

}  // namespace

const BlockType* find_block_type(std::string_view name) {
  for (const BlockType* type : block_types())
    if (same_name(type->name, name)) return type;
  for (const TypeFamily* family : type_families())
    if (const BlockType* type = family->find(name)) return type;
  return nullptr;
}

const BlockType* find_block_type(std::uint32_t gguf_id) {
  for (const BlockType* type : block_types())
    if (type->gguf_id == gguf_id && !type->is_native) return type;
  return nullptr;
}

const BlockType* fitting_block_type(const BlockType& type, std::int64_t columns) {
  if (type.variant) return type.variant(columns);
  return columns > 0 && columns % type.block_values == 0 ? &type : nullptr;
}

}  // namespace kinglet
