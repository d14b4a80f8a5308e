// Objects that templates see: namespace, loop, macros.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/chat/interpreter.h"

namespace kinglet::chat {

struct Namespace final : Object {
  std::optional<Value> attribute(Interpreter&, std::string_view name) override;
  void set(std::string_view name, Value value);
  std::string repr() const override;
  bool is_namespace() const override { return true; }
  std::vector<std::pair<std::string, Value>> entries;

 private:
  mutable bool printing_ = false;
};

struct Loop final : Object {
  explicit Loop(std::vector<Value> of) : items(std::move(of)) {}
  std::optional<Value> attribute(Interpreter&, std::string_view name) override;
  std::string repr() const override;
  const std::vector<Value> items;
  std::size_t index = 0;
  std::vector<Value> last_changed;
  bool has_changed = false;
  std::weak_ptr<Loop> self;  ///< for the functions that loop.cycle and loop.changed are
};

struct Macro final : Object {
  Macro(const Statement& statement, Scope* defined_in) : node(statement), scope(defined_in) {}
  std::optional<Value> attribute(Interpreter&, std::string_view name) override;
  std::optional<Value> call(Interpreter& interpreter, CallArguments& arguments) override {
    return interpreter.call_macro(node, scope, arguments);
  }
  bool callable() const override { return true; }
  std::string repr() const override { return "<Macro '" + node.text + "'>"; }
  const Statement& node;
  Scope* scope;
};

}  // namespace kinglet::chat
