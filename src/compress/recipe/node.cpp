#include <algorithm>

#include "kinglet/recipe.h"

namespace kinglet {

const RecipeNode* RecipeNode::find(std::string_view key) const {
  const auto found = std::find(keys.begin(), keys.end(), key);
  return found == keys.end() ? nullptr : &items[static_cast<std::size_t>(found - keys.begin())];
}

void RecipeNode::set(std::string_view key, RecipeNode value) {
  kind = Kind::kMap;
  const auto found = std::find(keys.begin(), keys.end(), key);
  if (found != keys.end()) {
    items[static_cast<std::size_t>(found - keys.begin())] = std::move(value);
    return;
  }
  keys.emplace_back(key);
  items.push_back(std::move(value));
}

bool RecipeNode::operator==(const RecipeNode& other) const {
  return kind == other.kind && text == other.text && keys == other.keys && items == other.items;
}

}  // namespace kinglet
