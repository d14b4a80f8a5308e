// Values of the template language, with Python's meaning: truth, equality, order, str() and repr().
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "model/chat/budget.h"

namespace kinglet::chat {

class Value;
class Interpreter;
struct CallArguments;

/// Text, immutable. Length and indices count code points.
struct Text : Tracked {
  explicit Text(std::string value) : Tracked(value.size() + 64), text(std::move(value)) {}
  const std::string text;
};

struct Sequence;
struct Dict;
struct Object;

struct Undefined {
  std::shared_ptr<const std::string> message;  ///< what an operation on it complains of
};
struct None {};

class Value {
 public:
  using Storage = std::variant<Undefined, None, bool, std::int64_t, double, std::shared_ptr<const Text>,
                               std::shared_ptr<const Sequence>, std::shared_ptr<const Dict>, std::shared_ptr<Object>>;
  Value() = default;
  template <typename T>
    requires std::is_same_v<T, bool> || std::is_same_v<T, double> || std::is_same_v<T, None> ||
             std::is_same_v<T, std::int64_t>
  Value(T value) : storage_(value) {}
  Value(int value) : storage_(static_cast<std::int64_t>(value)) {}
  Value(std::string text) : storage_(std::make_shared<const Text>(std::move(text))) {}
  Value(std::string_view text) : Value(std::string(text)) {}
  Value(const char* text) : Value(std::string(text)) {}
  Value(std::shared_ptr<const Text> text) : storage_(std::move(text)) {}
  Value(std::shared_ptr<const Sequence> list) : storage_(std::move(list)) {}
  Value(std::shared_ptr<const Dict> dict) : storage_(std::move(dict)) {}
  Value(std::shared_ptr<Object> object) : storage_(std::move(object)) {}
  static Value undefined(std::string message);

  template <typename T>
  const T* get() const {
    return std::get_if<T>(&storage_);
  }
  bool is_undefined() const { return get<Undefined>() != nullptr; }
  bool is_none() const { return get<None>() != nullptr; }
  bool is_bool() const { return get<bool>() != nullptr; }
  bool is_integer() const { return get<std::int64_t>() != nullptr; }  ///< bools not included
  bool is_float() const { return get<double>() != nullptr; }
  const std::string* text() const {
    const auto* found = get<std::shared_ptr<const Text>>();
    return found == nullptr ? nullptr : &(*found)->text;
  }
  const Sequence* sequence() const { return pointer<std::shared_ptr<const Sequence>>(); }
  const Dict* dict() const { return pointer<std::shared_ptr<const Dict>>(); }
  Object* object() const {
    const auto* found = get<std::shared_ptr<Object>>();
    return found == nullptr ? nullptr : found->get();
  }
  std::optional<std::int64_t> integer() const;  ///< also of bools
  std::optional<double> number() const;         ///< of bools, integers and floats
  int depth() const;

 private:
  template <typename P>
  auto pointer() const -> decltype(std::declval<const P&>().get()) {
    const auto* found = get<P>();
    return found == nullptr ? nullptr : found->get();
  }
  Storage storage_;
};

/// Lists, tuples, and what Python makes lazily. Immutable, as in the sandbox that chat templates are written for; only
/// an iterator moves on as it is read.
struct Sequence : Tracked {
  enum class Kind { kList, kTuple, kRange, kKeys, kValues, kItems, kIterator };
  Sequence(Kind kind, std::vector<Value> items);
  const Kind kind;
  const std::vector<Value> items;
  mutable std::size_t position = 0;  ///< kIterator: what has been read
  std::string label;                 ///< repr() of a range, or the iterator's Python type
  int depth = 1;
  bool grouped = false;  ///< a pair of the groupby filter: .grouper and .list
};

/// A mapping in the order of insertion.
struct Dict : Tracked {
  Dict() : Tracked(64) {}
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  void set(Value key, Value value);
  std::vector<std::pair<Value, Value>> entries;
  int depth = 1;

 private:
  std::optional<std::size_t> index_of(const Value& key) const;
  std::unordered_map<std::string, std::size_t> index_;  ///< used above a few entries
};

/// Everything with behaviour: functions, namespaces, loops, macros.
struct Object : Tracked {
  Object() : Tracked(128) {}
  virtual ~Object() = default;
  virtual std::optional<Value> attribute(Interpreter&, std::string_view) { return std::nullopt; }
  virtual std::optional<Value> call(Interpreter&, CallArguments&) { return std::nullopt; }
  virtual bool callable() const { return false; }
  virtual std::string repr() const = 0;
  virtual bool is_namespace() const { return false; }
};

Value make_list(std::vector<Value> items);
Value make_tuple(std::vector<Value> items);
Value make_sequence(Sequence::Kind kind, std::vector<Value> items, std::string label = {});

bool truth(const Value& value);
bool equal(const Value& a, const Value& b, int depth = 0);
/// -1, 0, 1; throws where Python has no order.
int compare(const Value& a, const Value& b, std::string_view sign, int depth = 0);
std::string to_text(const Value& value);  ///< str()
std::string repr(const Value& value, int depth = 0);
std::string float_text(double value);
std::string type_name(const Value& value);  ///< Python's: "str", "dict", ...
/// The elements that a for loop sees; throws where the value cannot be iterated.
std::vector<Value> elements(const Value& value);
bool contains(const Value& container, const Value& item);
std::int64_t length_of(const Value& value);

Value from_json(const nlohmann::ordered_json& json, int depth = 0);

struct JsonStyle {
  std::optional<std::string> indent;
  std::string item_separator = ", ", key_separator = ": ";
  bool ensure_ascii = false, sort_keys = false;
};
std::string to_json(const Value& value, const JsonStyle& style);

}  // namespace kinglet::chat
