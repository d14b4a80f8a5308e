// Arguments against parameters.
#include <algorithm>

#include "model/chat/interpreter.h"

namespace kinglet::chat {

Bound::Bound(std::string_view function, CallArguments& arguments, std::initializer_list<std::string_view> names,
             std::size_t required)
    : function_(function), values_(names.size()), given_(names.size(), false) {
  if (arguments.positional.size() > names.size())
    refuse(function_ + "() takes at most " + std::to_string(names.size()) + " arguments, " +
           std::to_string(arguments.positional.size()) + " are given");
  for (std::size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = arguments.positional[i], given_[i] = true;
  for (const auto& [name, value] : arguments.named) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) refuse(function_ + "() has no argument '" + name + "'");
    const auto index = static_cast<std::size_t>(found - names.begin());
    if (given_[index]) refuse(function_ + "() got the argument '" + name + "' twice");
    values_[index] = value;
    given_[index] = true;
  }
  for (std::size_t i = 0; i < required; ++i)
    if (!given_[i]) refuse(function_ + "() misses the argument '" + std::string(names.begin()[i]) + "'");
}

std::int64_t Bound::integer(std::size_t index, std::int64_t fallback) const {
  if (!has(index) || values_[index].is_none()) return fallback;
  if (const auto value = values_[index].integer()) return *value;
  refuse(function_ + "() expects a whole number, found " + type_name(values_[index]));
}

std::string Bound::text(std::size_t index, std::string_view fallback) const {
  if (!has(index)) return std::string(fallback);
  if (const std::string* value = values_[index].text()) return *value;
  refuse(function_ + "() expects a string, found " + type_name(values_[index]));
}

}  // namespace kinglet::chat
