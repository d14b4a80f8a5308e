// Block types of one layout with many tables: found by name, but in no list of types.
#pragma once

#include <span>
#include <string_view>

#include "kinglet/block_type.h"

namespace kinglet {

/// Registered by its file in src/tensor/families.
struct TypeFamily {
  std::string_view name;
  /// The type of this name in any case of letters, in its longest block; null if there is none.
  const BlockType* (*find)(std::string_view name);
};
std::span<const TypeFamily* const> type_families();

}  // namespace kinglet
