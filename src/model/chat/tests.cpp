// "value is TEST".
#include <algorithm>

#include "model/chat/interpreter.h"
#include "model/chat/unicode.h"

namespace kinglet::chat {
namespace {

struct Test {
  std::string_view name;
  bool (*body)(Interpreter&, const Value& input, const Value& argument);
  int arguments = 0;
};

std::int64_t integer_of(const Value& value) {
  if (value.is_undefined()) refuse_undefined(value);
  if (const auto integer = value.integer()) return *integer;
  refuse("a whole number is expected, found " + type_name(value));
}

bool is_iterable(const Value& value) {
  return value.is_undefined() || value.text() != nullptr || value.dict() != nullptr || value.sequence() != nullptr;
}

bool is_sequence(const Value& value) {
  const Sequence* list = value.sequence();
  const bool indexed = list != nullptr && list->kind <= Sequence::Kind::kRange;
  return indexed || value.is_undefined() || value.text() != nullptr || value.dict() != nullptr;
}

bool same(const Value& a, const Value& b) {
  if (a.is_bool() != b.is_bool() || a.is_integer() != b.is_integer() || a.is_float() != b.is_float()) return false;
  if (a.sequence() != nullptr || b.sequence() != nullptr) return a.sequence() == b.sequence();
  if (a.dict() != nullptr || b.dict() != nullptr) return a.dict() == b.dict();
  return equal(a, b);
}

bool cased(const Value& value, bool upper_case) {
  const std::string text = to_text(value);
  bool found = false;
  for (std::size_t i = 0; i < text.size();) {
    const std::int32_t point = next_point(text, i);
    if (upper_case ? is_lower(point) : is_upper(point)) return false;
    found = found || (upper_case ? is_upper(point) : is_lower(point));
  }
  return found;
}

using Args = const Value&;
constexpr auto kEqual = [](Interpreter&, Args a, Args b) { return equal(a, b); };
constexpr auto kUnequal = [](Interpreter&, Args a, Args b) { return !equal(a, b); };
constexpr auto kGreater = [](Interpreter&, Args a, Args b) { return compare(a, b, ">") > 0; };
constexpr auto kGreaterEqual = [](Interpreter&, Args a, Args b) { return compare(a, b, ">=") >= 0; };
constexpr auto kLess = [](Interpreter&, Args a, Args b) { return compare(a, b, "<") < 0; };
constexpr auto kLessEqual = [](Interpreter&, Args a, Args b) { return compare(a, b, "<=") <= 0; };

bool divisible(Interpreter&, Args a, Args b) {
  const std::int64_t divisor = integer_of(b);
  if (divisor == 0) refuse("division by zero");
  return divisor == -1 || integer_of(a) % divisor == 0;
}

bool known(bool (*has)(std::string_view), Args name) { return name.text() != nullptr && has(*name.text()); }

constexpr Test kTests[] = {
    {"defined", [](Interpreter&, Args v, Args) { return !v.is_undefined(); }},
    {"undefined", [](Interpreter&, Args v, Args) { return v.is_undefined(); }},
    {"none", [](Interpreter&, Args v, Args) { return v.is_none(); }},
    {"boolean", [](Interpreter&, Args v, Args) { return v.is_bool(); }},
    {"true", [](Interpreter&, Args v, Args) { return v.is_bool() && truth(v); }},
    {"false", [](Interpreter&, Args v, Args) { return v.is_bool() && !truth(v); }},
    {"integer", [](Interpreter&, Args v, Args) { return v.is_integer(); }},
    {"float", [](Interpreter&, Args v, Args) { return v.is_float(); }},
    {"number", [](Interpreter&, Args v, Args) { return v.number().has_value(); }},
    {"string", [](Interpreter&, Args v, Args) { return v.text() != nullptr; }},
    {"mapping", [](Interpreter&, Args v, Args) { return v.dict() != nullptr; }},
    {"sequence", [](Interpreter&, Args v, Args) { return is_sequence(v); }},
    {"iterable", [](Interpreter&, Args v, Args) { return is_iterable(v); }},
    {"callable", [](Interpreter&, Args v, Args) { return v.object() != nullptr && v.object()->callable(); }},
    {"odd", [](Interpreter&, Args v, Args) { return integer_of(v) % 2 != 0; }},
    {"even", [](Interpreter&, Args v, Args) { return integer_of(v) % 2 == 0; }},
    {"lower", [](Interpreter&, Args v, Args) { return cased(v, false); }},
    {"upper", [](Interpreter&, Args v, Args) { return cased(v, true); }},
    {"escaped", [](Interpreter&, Args, Args) { return false; }},
    {"filter", [](Interpreter&, Args v, Args) { return known(has_filter, v); }},
    {"test", [](Interpreter&, Args v, Args) { return known(has_test, v); }},
    {"divisibleby", divisible, 1},
    {"sameas", [](Interpreter&, Args a, Args b) { return same(a, b); }, 1},
    {"in", [](Interpreter&, Args a, Args b) { return contains(b, a); }, 1},
    {"==", kEqual, 1},
    {"eq", kEqual, 1},
    {"equalto", kEqual, 1},
    {"!=", kUnequal, 1},
    {"ne", kUnequal, 1},
    {">", kGreater, 1},
    {"gt", kGreater, 1},
    {"greaterthan", kGreater, 1},
    {">=", kGreaterEqual, 1},
    {"ge", kGreaterEqual, 1},
    {"<", kLess, 1},
    {"lt", kLess, 1},
    {"lessthan", kLess, 1},
    {"<=", kLessEqual, 1},
    {"le", kLessEqual, 1},
};

const Test* find_test(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kTests), std::end(kTests), [&](const Test& test) { return test.name == name; });
  return found == std::end(kTests) ? nullptr : found;
}

}  // namespace

bool has_test(std::string_view name) { return find_test(name) != nullptr; }

bool apply_test(Interpreter& interpreter, std::string_view name, const Value& input, CallArguments& arguments) {
  const Test* test = find_test(name);
  if (test == nullptr)
    throw TemplateError(ErrorCode::kUnsupported,
                        "the chat template uses a test '" + std::string(name) + "' that is not known");
  std::vector<Value> given = arguments.positional;
  for (const auto& [key, value] : arguments.named) given.push_back(value);
  if (static_cast<int>(given.size()) != test->arguments)
    refuse("the test '" + std::string(name) + "' takes " + std::to_string(test->arguments) + " arguments, " +
           std::to_string(given.size()) + " are given");
  return test->body(interpreter, input, given.empty() ? Value() : given.front());
}

}  // namespace kinglet::chat
