#include "model/chat/interpreter.h"

#include <algorithm>

#include "model/chat/objects.h"

namespace kinglet::chat {

// A scope that lives as long as a block, or to the end of the rendering where a macro was defined in it.
class Interpreter::Block {
 public:
  Block(Interpreter& interpreter, Scope* parent)
      : interpreter_(interpreter), before_(interpreter.scope_), scope_(std::make_unique<Scope>()) {
    scope_->parent = parent;
    interpreter.scope_ = scope_.get();
  }
  explicit Block(Interpreter& interpreter) : Block(interpreter, interpreter.scope_) {}
  ~Block() {
    interpreter_.scope_ = before_;
    if (scope_->captured) interpreter_.retained_.push_back(std::move(scope_));
  }

 private:
  Interpreter& interpreter_;
  Scope* before_;
  std::unique_ptr<Scope> scope_;
};

Interpreter::Interpreter(const Dict& variables) : variables_(variables) {}

Interpreter::~Interpreter() {
  for (const auto& object : kept_)
    if (auto* names = dynamic_cast<Namespace*>(object.get())) names->entries.clear();
}

void Interpreter::keep(std::shared_ptr<Object> object) { kept_.push_back(std::move(object)); }

std::string Interpreter::run(const Body& body) {
  std::string out;
  try {
    execute(body, out);
  } catch (TemplateError& error) {
    if (error.error.place.empty())
      error.error.place = "chat template, line " + std::to_string(at_.line) + ":" + std::to_string(at_.column);
    throw;
  }
  return out;
}

void Interpreter::emit(std::string& out, std::string_view text) {
  charge(text.size());
  if (out.size() + text.size() > kOutputBytes)
    throw TemplateError(ErrorCode::kExhausted,
                        "the chat template writes more than " + std::to_string(kOutputBytes >> 20) + " MiB");
  out += text;
}

std::string Interpreter::captured(const Body& body) {
  std::string out;
  execute(body, out);
  return out;
}

Interpreter::Flow Interpreter::execute(const Body& body, std::string& out) {
  const Nested nested(*this);
  for (const auto& node : body)
    if (const Flow flow = execute(*node, out); flow != Flow::kNormal) return flow;
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::execute(const Statement& node, std::string& out) {
  charge(0);
  at_ = node.at;
  switch (node.kind) {
    case StatementKind::kText:
      emit(out, node.text);
      break;
    case StatementKind::kPrint:
      emit(out, to_text(evaluate(*node.expression)));
      break;
    case StatementKind::kIf:
      return execute_if(node, out);
    case StatementKind::kFor:
      return execute_for(node, out);
    case StatementKind::kSet:
      assign(*node.target, evaluate(*node.expression));
      break;
    case StatementKind::kSetBlock: {
      Value text;
      {
        const Block block(*this);
        text = Value(captured(node.body));
      }
      assign(*node.target, node.expression ? filter_chain(*node.expression, std::move(text)) : std::move(text));
      break;
    }
    case StatementKind::kMacro:
      set(node.text, make_macro(node));
      break;
    case StatementKind::kCallBlock:
      execute_call(node, out);
      break;
    case StatementKind::kFilterBlock: {
      const Block block(*this);
      emit(out, to_text(filter_chain(*node.expression, Value(captured(node.body)))));
      break;
    }
    case StatementKind::kWith:
      execute_with(node, out);
      break;
    case StatementKind::kScope: {
      const Block block(*this);
      return execute(node.body, out);
    }
    case StatementKind::kBreak:
      return Flow::kBreak;
    case StatementKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::execute_if(const Statement& node, std::string& out) {
  for (const auto& [condition, body] : node.branches)
    if (condition == nullptr || truth(evaluate(*condition))) return execute(body, out);
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::execute_for(const Statement& node, std::string& out) {
  const Nested nested(*this);
  std::vector<Value> items = elements(evaluate(*node.expression));
  if (node.condition != nullptr) {
    std::vector<Value> kept;
    for (Value& element : items) {
      const Block block(*this);
      assign(*node.target, element);
      if (truth(evaluate(*node.condition))) kept.push_back(std::move(element));
    }
    items = std::move(kept);
  }
  const auto loop = std::make_shared<Loop>(std::move(items));
  loop->self = loop;
  // What loop.changed() remembers may hold the loop itself.
  const std::shared_ptr<void> forgets(nullptr, [&](void*) { loop->last_changed.clear(); });
  for (; loop->index < loop->items.size(); ++loop->index) {
    const Block block(*this);
    set("loop", Value(std::shared_ptr<Object>(loop)));
    assign(*node.target, loop->items[loop->index]);
    if (execute(node.body, out) == Flow::kBreak) break;
  }
  if (!loop->items.empty() || node.otherwise.empty()) return Flow::kNormal;
  const Block block(*this);
  return execute(node.otherwise, out);
}

void Interpreter::execute_with(const Statement& node, std::string& out) {
  std::vector<Value> values;
  for (const auto& [target, value] : node.pairs) values.push_back(evaluate(*value));
  const Block block(*this);
  for (std::size_t i = 0; i < values.size(); ++i) assign(*node.pairs[i].first, std::move(values[i]));
  execute(node.body, out);
}

Value Interpreter::make_macro(const Statement& node) {
  for (Scope* scope = scope_; scope != nullptr && !scope->captured; scope = scope->parent) scope->captured = true;
  return Value(std::shared_ptr<Object>(std::make_shared<Macro>(node, scope_)));
}

void Interpreter::execute_call(const Statement& node, std::string& out) {
  const Expr& call_node = *node.expression;
  const Value callee = evaluate(*call_node.children.front());
  CallArguments given = arguments(call_node.arguments);
  given.named.emplace_back("caller", make_macro(node));
  at_ = node.at;
  emit(out, to_text(call(callee, given)));
}

Value Interpreter::call_macro(const Statement& macro, Scope* definition, CallArguments& given) {
  const Nested nested(*this);
  const Block block(*this, definition);
  const std::size_t count = macro.pairs.size();
  std::vector<Value> rest;
  for (std::size_t i = count; i < given.positional.size(); ++i) rest.push_back(given.positional[i]);
  auto others = std::make_shared<Dict>();
  std::vector<std::pair<std::string_view, Value>> named;
  for (auto& [name, value] : given.named) {
    std::size_t i = 0;
    while (i < count && macro.pairs[i].first->name != name) ++i;
    if (i < count) {
      if (i < given.positional.size()) refuse("macro '" + macro.text + "' got the argument '" + name + "' twice");
      named.emplace_back(macro.pairs[i].first->name, value);
    } else if (name == "caller") {
      set("caller", value);
    } else {
      others->set(Value(name), value);
    }
  }
  set("varargs", make_tuple(std::move(rest)));
  set("kwargs", Value(std::shared_ptr<const Dict>(std::move(others))));
  for (std::size_t i = 0; i < count; ++i) {
    const auto& [parameter, fallback] = macro.pairs[i];
    const auto found =
        std::find_if(named.begin(), named.end(), [&](const auto& entry) { return entry.first == parameter->name; });
    if (i < given.positional.size()) {
      set(parameter->name, given.positional[i]);
    } else if (found != named.end()) {
      set(parameter->name, found->second);
    } else {
      set(parameter->name,
          fallback ? evaluate(*fallback) : Value::undefined("parameter '" + parameter->name + "' was not provided"));
    }
  }
  return Value(captured(macro.body));
}

void Interpreter::set(std::string_view name, Value value) {
  for (auto& [key, old] : scope_->variables) {
    if (key != name) continue;
    old = std::move(value);
    return;
  }
  scope_->variables.emplace_back(name, std::move(value));
}

Value Interpreter::lookup(std::string_view name) const {
  for (const Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
    charge(0);
    for (const auto& [key, value] : scope->variables)
      if (key == name) return value;
  }
  if (const Value* value = variables_.find(name)) return *value;
  if (auto function = global_function(name)) return *function;
  return Value::undefined("'" + std::string(name) + "' is undefined");
}

void Interpreter::assign(const Expr& target, Value value) {
  if (target.kind == ExprKind::kName) return set(target.name, std::move(value));
  if (target.kind == ExprKind::kAttribute) {
    const Value owner = lookup(target.children.front()->name);
    auto* names = dynamic_cast<Namespace*>(owner.object());
    at_ = target.at;
    if (names == nullptr) refuse("cannot assign attribute on non-namespace object");
    return names->set(target.name, std::move(value));
  }
  std::vector<Value> parts = elements(value);
  at_ = target.at;
  if (parts.size() != target.children.size())
    refuse("expected " + std::to_string(target.children.size()) + " values to unpack, found " +
           std::to_string(parts.size()));
  for (std::size_t i = 0; i < parts.size(); ++i) assign(*target.children[i], std::move(parts[i]));
}

Value Interpreter::filter_chain(const Expr& node, Value input) {
  if (node.kind == ExprKind::kConst) return input;
  Value inner = filter_chain(*node.children.front(), std::move(input));
  CallArguments given = arguments(node.arguments);
  at_ = node.at;
  return filter(node.name, inner, given);
}

CallArguments Interpreter::arguments(const CallSyntax& syntax) {
  CallArguments out;
  for (const auto& argument : syntax.positional) out.positional.push_back(evaluate(*argument));
  for (const auto& [name, argument] : syntax.named) out.named.emplace_back(name, evaluate(*argument));
  if (syntax.star != nullptr)
    for (Value& value : elements(evaluate(*syntax.star))) out.positional.push_back(std::move(value));
  if (syntax.double_star != nullptr) {
    const Value more = evaluate(*syntax.double_star);
    if (more.dict() == nullptr) refuse("the argument after ** must be a mapping, not " + type_name(more));
    for (const auto& [key, value] : more.dict()->entries) {
      if (key.text() == nullptr) refuse("keywords must be strings");
      out.named.emplace_back(*key.text(), value);
    }
  }
  return out;
}

Value Interpreter::call(const Value& callee, CallArguments& given) {
  const Nested nested(*this);
  if (callee.is_undefined()) refuse_undefined(callee);
  if (Object* object = callee.object()) {
    // Held: the callee may be the last to know itself, as a namespace's function that replaces itself.
    const Value held = callee;
    if (auto result = object->call(*this, given)) return *result;
  }
  refuse("'" + type_name(callee) + "' object is not callable");
}

Value Interpreter::filter(std::string_view name, const Value& input, CallArguments& given) {
  const Nested nested(*this);
  return apply_filter(*this, name, input, given);
}

bool Interpreter::test(std::string_view name, const Value& input, CallArguments& given) {
  const Nested nested(*this);
  return apply_test(*this, name, input, given);
}

Value Interpreter::attribute(const Value& value, std::string_view name) {
  if (value.is_undefined()) refuse_undefined(value);
  if (auto method = bound_method(value, name)) return *method;
  if (const Dict* dict = value.dict()) {
    if (const Value* found = dict->find(name)) return *found;
  } else if (Object* object = value.object()) {
    if (auto found = object->attribute(*this, name)) return *found;
  } else if (const Sequence* list = value.sequence(); list != nullptr && list->grouped) {
    if (name == "grouper") return list->items[0];
    if (name == "list") return list->items[1];
  }
  if (value.is_none()) return Value::undefined("'None' has no attribute '" + std::string(name) + "'");
  return Value::undefined("'" + type_name(value) + " object' has no attribute '" + std::string(name) + "'");
}

Value Interpreter::item(const Value& value, const Value& key) {
  if (value.is_undefined()) refuse_undefined(value);
  if (const Dict* dict = value.dict()) {
    const bool hashable =
        key.dict() == nullptr && (key.sequence() == nullptr || key.sequence()->kind == Sequence::Kind::kTuple);
    if (hashable)
      if (const Value* found = dict->find(key)) return *found;
  } else if (const auto index = key.integer()) {
    const Sequence* list = value.sequence();
    const bool indexed =
        list != nullptr && (list->kind == Sequence::Kind::kList || list->kind == Sequence::Kind::kTuple ||
                            list->kind == Sequence::Kind::kRange);
    if (indexed || value.text() != nullptr) {
      const std::int64_t count = indexed ? static_cast<std::int64_t>(list->items.size()) : length_of(value);
      const std::int64_t at = *index < 0 ? *index + count : *index;
      if (at >= 0 && at < count)
        return indexed ? list->items[static_cast<std::size_t>(at)]
                       : slice(value, Value(at), Value(at + 1), Value(None{}));
    }
  }
  if (const std::string* name = key.text()) return attribute(value, *name);
  return Value::undefined(type_name(value) + " object has no element " + repr(key));
}

}  // namespace kinglet::chat
