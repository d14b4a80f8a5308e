// Runs a parsed template.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/chat/ast.h"

namespace kinglet::chat {

/// Evaluated arguments of a call.
struct CallArguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

/// Arguments against the names of parameters, as Python binds them. The first `required` must be given.
class Bound {
 public:
  Bound(std::string_view function, CallArguments& arguments, std::initializer_list<std::string_view> names,
        std::size_t required = 0);
  bool has(std::size_t index) const { return !values_[index].is_undefined() || given_[index]; }
  const Value& value(std::size_t index) const { return values_[index]; }
  std::int64_t integer(std::size_t index, std::int64_t fallback) const;  ///< None counts as absent
  std::string text(std::size_t index, std::string_view fallback) const;  ///< throws where it is no text
  bool flag(std::size_t index, bool fallback) const { return has(index) ? truth(values_[index]) : fallback; }

 private:
  std::string function_;
  std::vector<Value> values_;
  std::vector<bool> given_;
};

/// Variables of one block. A child sees its parent's and hides them with its own.
struct Scope {
  Scope* parent = nullptr;
  bool captured = false;  ///< a macro may still look at it after its block has ended
  std::vector<std::pair<std::string_view, Value>> variables;
};

class Interpreter {
 public:
  explicit Interpreter(const Dict& variables);
  ~Interpreter();
  std::string run(const Body& body);

  Value evaluate(const Expr& node);
  Value call(const Value& callee, CallArguments& arguments);
  Value call_macro(const Statement& macro, Scope* definition, CallArguments& arguments);
  Value filter(std::string_view name, const Value& input, CallArguments& arguments);
  bool test(std::string_view name, const Value& input, CallArguments& arguments);
  /// value.name and value[key] as templates write them. Undefined where there is none.
  Value attribute(const Value& value, std::string_view name);
  Value item(const Value& value, const Value& key);
  /// Objects that may refer to each other in circles are kept here and emptied at the end.
  void keep(std::shared_ptr<Object> object);

 private:
  enum class Flow { kNormal, kBreak, kContinue };
  class Nested;
  class Block;

  Flow execute(const Body& body, std::string& out);
  Flow execute(const Statement& node, std::string& out);
  Flow execute_for(const Statement& node, std::string& out);
  Flow execute_if(const Statement& node, std::string& out);
  void execute_with(const Statement& node, std::string& out);
  void execute_call(const Statement& node, std::string& out);
  std::string captured(const Body& body);
  Value filter_chain(const Expr& node, Value input);
  void assign(const Expr& target, Value value);
  void set(std::string_view name, Value value);
  Value lookup(std::string_view name) const;
  void emit(std::string& out, std::string_view text);
  Value make_macro(const Statement& node);

  CallArguments arguments(const CallSyntax& syntax);
  Value evaluate_call(const Expr& node);
  Value evaluate_compare(const Expr& node);
  Value evaluate_concat(const Expr& node);
  Value evaluate_dict(const Expr& node);
  Value evaluate_item(const Expr& node);
  std::vector<Value> evaluate_all(const std::vector<ExprPtr>& nodes);

  const Dict& variables_;
  Scope root_;
  Scope* scope_ = &root_;
  std::vector<std::unique_ptr<Scope>> retained_;
  std::vector<std::shared_ptr<Object>> kept_;
  Position at_;
  int depth_ = 0;
};

// Counts nesting, so that the stack never overflows. The limit leaves room for the parser's longest chains.
class Interpreter::Nested {
 public:
  explicit Nested(Interpreter& interpreter) : interpreter_(interpreter) {
    if (++interpreter.depth_ <= 5 * kDepth) return;
    --interpreter.depth_;
    throw TemplateError(ErrorCode::kExhausted, "the chat template nests calls too deep");
  }
  ~Nested() { --interpreter_.depth_; }

 private:
  Interpreter& interpreter_;
};

/// Python's operators; throw where the types do not fit.
Value binary(ExprKind kind, const Value& a, const Value& b);
Value negate(const Value& value, bool positive);
Value slice(const Value& value, const Value& begin, const Value& end, const Value& step);
Value repeat(const Value& value, std::int64_t count);

/// A method of a str, a dict or a list as a function, or nothing.
std::optional<Value> bound_method(const Value& self, std::string_view name);
/// A function that every template knows, or nothing.
std::optional<Value> global_function(std::string_view name);
/// A function of one body.
using Native = Value (*)(Interpreter&, CallArguments&);
Value native(std::string_view name, Native body);

/// "%s and %d" % values.
std::string printf_format(std::string_view pattern, const Value& values);
/// "{} and {name:>8}".format(...).
std::string brace_format(Interpreter& interpreter, std::string_view pattern, CallArguments& arguments);

Value apply_filter(Interpreter& interpreter, std::string_view name, const Value& input, CallArguments& arguments);
bool apply_test(Interpreter& interpreter, std::string_view name, const Value& input, CallArguments& arguments);
bool has_filter(std::string_view name);
bool has_test(std::string_view name);
/// "a.b.0" as the filters take it: items within items.
Value nested_item(Interpreter& interpreter, const Value& value, const Value& path);

[[noreturn]] void refuse_undefined(const Value& value);

}  // namespace kinglet::chat
