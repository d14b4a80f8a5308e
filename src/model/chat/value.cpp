#include "model/chat/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "model/chat/unicode.h"

namespace kinglet::chat {
namespace {

constexpr std::size_t kSmallDict = 8;

int checked_depth(int depth) {
  if (depth > kDepth)
    throw TemplateError(ErrorCode::kExhausted, "values are nested more than " + std::to_string(kDepth) + " deep");
  return depth;
}

int depth_of(const std::vector<Value>& items) {
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  return checked_depth(depth + 1);
}

// Equal keys have equal texts: 1, 1.0 and True are one key.
std::string key_text(const Value& key) {
  if (const std::string* text = key.text()) return "s" + *text;
  if (const auto number = key.number()) {
    if (const auto integer = key.integer()) return "n" + std::to_string(*integer);
    if (*number == std::floor(*number) && std::abs(*number) < 9e18)
      return "n" + std::to_string(static_cast<std::int64_t>(*number));
    return "n" + float_text(*number);
  }
  if (key.is_none()) return "z";
  if (const Sequence* sequence = key.sequence(); sequence != nullptr && sequence->kind == Sequence::Kind::kTuple) {
    std::string text = "t";
    for (const Value& item : sequence->items) {
      const std::string part = key_text(item);
      text += std::to_string(part.size()) + ":" + part;
    }
    return text;
  }
  refuse("unhashable type: '" + type_name(key) + "'");
}

}  // namespace

Sequence::Sequence(Kind kind_of, std::vector<Value> values)
    : Tracked(values.size() * sizeof(Value) + 96), kind(kind_of), items(std::move(values)), depth(depth_of(items)) {}

std::optional<std::size_t> Dict::index_of(const Value& key) const {
  if (entries.size() <= kSmallDict) {
    charge(64);
    if (const std::string* text = key.text()) {
      for (std::size_t i = 0; i < entries.size(); ++i)
        if (const std::string* other = entries[i].first.text(); other != nullptr && *other == *text) return i;
      return std::nullopt;
    }
    const std::string wanted = key_text(key);
    for (std::size_t i = 0; i < entries.size(); ++i)
      if (key_text(entries[i].first) == wanted) return i;
    return std::nullopt;
  }
  const std::string wanted = key_text(key);
  charge(wanted.size());
  const auto found = index_.find(wanted);
  return found == index_.end() ? std::nullopt : std::optional(found->second);
}

const Value* Dict::find(const Value& key) const {
  const auto index = index_of(key);
  return index ? &entries[*index].second : nullptr;
}

const Value* Dict::find(std::string_view key) const {
  if (entries.size() > kSmallDict) return find(Value(key));
  charge(64);
  for (const auto& [name, value] : entries)
    if (const std::string* text = name.text(); text != nullptr && *text == key) return &value;
  return nullptr;
}

void Dict::set(Value key, Value value) {
  const auto index = index_of(key);
  depth = checked_depth(std::max({depth, value.depth() + 1, key.depth() + 1}));
  if (index) {
    entries[*index].second = std::move(value);
    return;
  }
  grow(2 * sizeof(Value));
  entries.emplace_back(std::move(key), std::move(value));
  if (entries.size() <= kSmallDict) return;
  for (std::size_t i = index_.size(); i < entries.size(); ++i) {
    std::string text = key_text(entries[i].first);
    grow(text.size() + 64);
    index_.emplace(std::move(text), i);
  }
}

Value Value::undefined(std::string message) {
  Value value;
  value.storage_ = Undefined{std::make_shared<const std::string>(std::move(message))};
  return value;
}

std::optional<std::int64_t> Value::integer() const {
  if (const auto* found = get<std::int64_t>()) return *found;
  if (const bool* found = get<bool>()) return *found ? 1 : 0;
  return std::nullopt;
}

std::optional<double> Value::number() const {
  if (const auto found = integer()) return static_cast<double>(*found);
  if (const double* found = get<double>()) return *found;
  return std::nullopt;
}

int Value::depth() const {
  if (const Sequence* list = sequence()) return list->depth;
  if (const Dict* mapping = dict()) return mapping->depth;
  return 0;
}

Value make_sequence(Sequence::Kind kind, std::vector<Value> items, std::string label) {
  auto made = std::make_shared<Sequence>(kind, std::move(items));
  made->label = std::move(label);
  return Value(std::shared_ptr<const Sequence>(std::move(made)));
}
Value make_list(std::vector<Value> items) { return make_sequence(Sequence::Kind::kList, std::move(items)); }
Value make_tuple(std::vector<Value> items) { return make_sequence(Sequence::Kind::kTuple, std::move(items)); }

bool truth(const Value& value) {
  if (value.is_undefined() || value.is_none()) return false;
  if (const auto number = value.number()) return *number != 0;
  if (const std::string* text = value.text()) return !text->empty();
  if (const Sequence* list = value.sequence()) return list->kind == Sequence::Kind::kIterator || !list->items.empty();
  if (const Dict* mapping = value.dict()) return !mapping->entries.empty();
  return true;
}

bool equal(const Value& a, const Value& b, int depth) {
  checked_depth(depth);
  charge(0);
  if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
  if (a.is_none() || b.is_none()) return a.is_none() && b.is_none();
  if (const auto x = a.integer(), y = b.integer(); x && y) return *x == *y;
  if (const auto x = a.number(), y = b.number(); x || y) return x && y && *x == *y;
  if (const std::string *x = a.text(), *y = b.text(); x != nullptr || y != nullptr) {
    if (x == nullptr || y == nullptr) return false;
    charge(std::min(x->size(), y->size()));
    return *x == *y;
  }
  if (const Sequence *x = a.sequence(), *y = b.sequence(); x != nullptr || y != nullptr) {
    if (x == y) return true;
    if (x == nullptr || y == nullptr || x->kind != y->kind || x->kind == Sequence::Kind::kIterator) return false;
    return x->items.size() == y->items.size() &&
           std::equal(x->items.begin(), x->items.end(), y->items.begin(),
                      [&](const Value& p, const Value& q) { return equal(p, q, depth + 1); });
  }
  if (const Dict *x = a.dict(), *y = b.dict(); x != nullptr || y != nullptr) {
    if (x == y) return true;
    if (x == nullptr || y == nullptr || x->entries.size() != y->entries.size()) return false;
    for (const auto& [key, value] : x->entries) {
      const Value* other = y->find(key);
      if (other == nullptr || !equal(value, *other, depth + 1)) return false;
    }
    return true;
  }
  return a.object() == b.object();
}

int compare(const Value& a, const Value& b, std::string_view sign, int depth) {
  checked_depth(depth);
  charge(0);
  for (const Value* side : {&a, &b})
    if (const Undefined* missing = side->get<Undefined>())
      refuse(missing->message ? *missing->message : "a value is undefined");
  if (const auto x = a.integer(), y = b.integer(); x && y) return *x < *y ? -1 : *x > *y;
  if (const auto x = a.number(), y = b.number(); x && y) return *x < *y ? -1 : *x > *y;
  if (const std::string *x = a.text(), *y = b.text(); x != nullptr && y != nullptr) {
    charge(std::min(x->size(), y->size()));
    return x->compare(*y) < 0 ? -1 : *x != *y;  // UTF-8 sorts as its code points do
  }
  const Sequence *x = a.sequence(), *y = b.sequence();
  if (x != nullptr && y != nullptr && x->kind == y->kind &&
      (x->kind == Sequence::Kind::kList || x->kind == Sequence::Kind::kTuple)) {
    for (std::size_t i = 0; i < std::min(x->items.size(), y->items.size()); ++i)
      if (!equal(x->items[i], y->items[i], depth + 1)) return compare(x->items[i], y->items[i], sign, depth + 1);
    return x->items.size() < y->items.size() ? -1 : x->items.size() > y->items.size();
  }
  refuse("'" + std::string(sign) + "' not supported between instances of '" + type_name(a) + "' and '" + type_name(b) +
         "'");
}

std::string type_name(const Value& value) {
  if (value.is_undefined()) return "Undefined";
  if (value.is_none()) return "NoneType";
  if (value.is_bool()) return "bool";
  if (value.is_integer()) return "int";
  if (value.is_float()) return "float";
  if (value.text() != nullptr) return "str";
  if (value.dict() != nullptr) return "dict";
  if (const Sequence* list = value.sequence()) {
    switch (list->kind) {
      case Sequence::Kind::kList:
        return "list";
      case Sequence::Kind::kTuple:
        return "tuple";
      case Sequence::Kind::kRange:
        return "range";
      case Sequence::Kind::kKeys:
        return "dict_keys";
      case Sequence::Kind::kValues:
        return "dict_values";
      case Sequence::Kind::kItems:
        return "dict_items";
      case Sequence::Kind::kIterator:
        return list->label.empty() ? "generator" : list->label;
    }
  }
  const Object* object = value.object();
  return object != nullptr && object->is_namespace() ? "Namespace"
         : object != nullptr && object->callable()   ? "function"
                                                     : "object";
}

std::vector<Value> elements(const Value& value) {
  if (value.is_undefined()) return {};
  if (const std::string* text = value.text()) {
    std::vector<Value> items;
    for (const std::string_view character : characters(*text)) items.emplace_back(character);
    return items;
  }
  if (const Dict* mapping = value.dict()) {
    charge(mapping->entries.size() * 24);
    std::vector<Value> keys;
    for (const auto& [key, unused] : mapping->entries) keys.push_back(key);
    return keys;
  }
  if (const Sequence* list = value.sequence()) {
    charge(list->items.size() * 24);
    if (list->kind != Sequence::Kind::kIterator) return list->items;
    std::vector<Value> rest(list->items.begin() + static_cast<std::ptrdiff_t>(list->position), list->items.end());
    list->position = list->items.size();
    return rest;
  }
  refuse("'" + type_name(value) + "' object is not iterable");
}

bool contains(const Value& container, const Value& item) {
  if (const std::string* text = container.text()) {
    const std::string* part = item.text();
    if (part == nullptr) {
      if (const Undefined* missing = item.get<Undefined>())
        refuse(missing->message ? *missing->message : "a value is undefined");
      refuse("'in <string>' requires string as left operand, not " + type_name(item));
    }
    charge(text->size());
    return text->find(*part) != std::string::npos;
  }
  if (const Dict* mapping = container.dict()) return mapping->find(item) != nullptr;
  if (const Sequence* list = container.sequence(); list != nullptr && list->kind != Sequence::Kind::kIterator)
    return std::any_of(list->items.begin(), list->items.end(), [&](const Value& other) { return equal(other, item); });
  const auto all = elements(container);
  return std::any_of(all.begin(), all.end(), [&](const Value& other) { return equal(other, item); });
}

std::int64_t length_of(const Value& value) {
  if (value.is_undefined()) return 0;
  if (const std::string* text = value.text()) return static_cast<std::int64_t>(count_points(*text));
  if (const Dict* mapping = value.dict()) return static_cast<std::int64_t>(mapping->entries.size());
  if (const Sequence* list = value.sequence(); list != nullptr && list->kind != Sequence::Kind::kIterator)
    return static_cast<std::int64_t>(list->items.size());
  refuse("object of type '" + type_name(value) + "' has no len()");
}

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char digits[64];
  const auto end = std::to_chars(digits, digits + sizeof digits, value, std::chars_format::scientific).ptr;
  const std::string_view scientific(digits, static_cast<std::size_t>(end - digits));
  const std::size_t e = scientific.find('e');
  int exponent = 0;
  std::from_chars(scientific.data() + e + (scientific[e + 1] == '+' ? 2 : 1), scientific.data() + scientific.size(),
                  exponent);
  if (exponent < -4 || exponent >= 16) return std::string(scientific);
  char fixed[400];
  const auto fixed_end = std::to_chars(fixed, fixed + sizeof fixed, value, std::chars_format::fixed).ptr;
  std::string text(fixed, fixed_end);
  if (text.find('.') == std::string::npos) text += ".0";
  return text;
}

Value from_json(const nlohmann::ordered_json& json, int depth) {
  checked_depth(depth);
  switch (json.type()) {
    case nlohmann::ordered_json::value_t::null:
      return None{};
    case nlohmann::ordered_json::value_t::boolean:
      return json.get<bool>();
    case nlohmann::ordered_json::value_t::number_integer:
      return json.get<std::int64_t>();
    case nlohmann::ordered_json::value_t::number_unsigned: {
      const auto number = json.get<std::uint64_t>();
      if (number > static_cast<std::uint64_t>(INT64_MAX))
        refuse("the number " + std::to_string(number) + " is too large");
      return static_cast<std::int64_t>(number);
    }
    case nlohmann::ordered_json::value_t::number_float:
      return json.get<double>();
    case nlohmann::ordered_json::value_t::string:
      return json.get_ref<const std::string&>();
    case nlohmann::ordered_json::value_t::array: {
      std::vector<Value> items;
      for (const auto& item : json) items.push_back(from_json(item, depth + 1));
      return make_list(std::move(items));
    }
    case nlohmann::ordered_json::value_t::object: {
      auto dict = std::make_shared<Dict>();
      for (const auto& [key, value] : json.items()) dict->set(Value(key), from_json(value, depth + 1));
      return Value(std::shared_ptr<const Dict>(std::move(dict)));
    }
    default:
      refuse("a JSON value of an unknown kind");
  }
}

}  // namespace kinglet::chat
