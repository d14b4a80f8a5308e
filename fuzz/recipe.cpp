// Any text as a recipe. Oracles: what is accepted is written as text that reads back equal, and the same again; what is
// refused says why and where.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "kinglet/recipe.h"

namespace {
void require(bool condition) {
  if (!condition) std::abort();
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kinglet;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto recipe = parse_recipe(text, "input");
  if (!recipe) {
    require(!recipe.error().message.empty() && recipe.error().place.starts_with("input"));
    return 0;
  }
  const std::string written = recipe_text(*recipe);
  const auto again = parse_recipe(written, "again");
  require(again.has_value() && recipe_text(*again) == written);
  require(again->steps.size() == recipe->steps.size() && again->seed == recipe->seed && again->text == recipe->text);
  for (std::size_t i = 0; i < recipe->steps.size(); ++i)
    require(again->steps[i].pass == recipe->steps[i].pass && again->steps[i].options == recipe->steps[i].options);
  return 0;
}
