// Expressions.
#include "model/chat/interpreter.h"
#include "model/chat/unicode.h"

namespace kinglet::chat {
namespace {

bool compared(const std::string& sign, const Value& a, const Value& b) {
  if (sign == "==") return equal(a, b);
  if (sign == "!=") return !equal(a, b);
  if (sign == "in" || sign == "not in") return contains(b, a) == (sign == "in");
  // NaN is not less, equal or greater.
  if (const auto x = a.number(), y = b.number(); x && y && (*x != *x || *y != *y)) return false;
  const int order = compare(a, b, sign);
  if (sign == "<") return order < 0;
  if (sign == "<=") return order <= 0;
  return sign == ">" ? order > 0 : order >= 0;
}

}  // namespace

void refuse_undefined(const Value& value) {
  const Undefined* missing = value.get<Undefined>();
  refuse(missing != nullptr && missing->message ? *missing->message : "a value is undefined");
}

std::vector<Value> Interpreter::evaluate_all(const std::vector<ExprPtr>& nodes) {
  std::vector<Value> out;
  out.reserve(nodes.size());
  for (const auto& node : nodes) out.push_back(evaluate(*node));
  return out;
}

Value Interpreter::evaluate_call(const Expr& node) {
  const Value callee = evaluate(*node.children.front());
  CallArguments given = arguments(node.arguments);
  at_ = node.at;
  return call(callee, given);
}

Value Interpreter::evaluate_compare(const Expr& node) {
  Value left = evaluate(*node.children.front());
  for (std::size_t i = 0; i < node.operators.size(); ++i) {
    Value right = evaluate(*node.children[i + 1]);
    at_ = node.at;
    if (!compared(node.operators[i], left, right)) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Value Interpreter::evaluate_concat(const Expr& node) {
  std::string out;
  for (const auto& child : node.children) emit(out, to_text(evaluate(*child)));
  return Value(std::move(out));
}

Value Interpreter::evaluate_dict(const Expr& node) {
  auto dict = std::make_shared<Dict>();
  for (std::size_t i = 0; i + 1 < node.children.size(); i += 2) {
    Value key = evaluate(*node.children[i]);
    dict->set(std::move(key), evaluate(*node.children[i + 1]));
  }
  return Value(std::shared_ptr<const Dict>(std::move(dict)));
}

Value Interpreter::evaluate_item(const Expr& node) {
  const Value owner = evaluate(*node.children[0]);
  const Expr& index = *node.children[1];
  if (index.kind != ExprKind::kSlice) {
    const Value key = evaluate(index);
    at_ = node.at;
    return item(owner, key);
  }
  Value bounds[3] = {None{}, None{}, None{}};
  for (std::size_t i = 0; i < 3; ++i)
    if (index.children[i] != nullptr) bounds[i] = evaluate(*index.children[i]);
  at_ = node.at;
  if (owner.is_undefined()) refuse_undefined(owner);
  return slice(owner, bounds[0], bounds[1], bounds[2]);
}

Value Interpreter::evaluate(const Expr& node) {
  const Nested nested(*this);
  charge(0);
  switch (node.kind) {
    case ExprKind::kConst:
      return node.value;
    case ExprKind::kName:
      return lookup(node.name);
    case ExprKind::kTuple:
      return make_tuple(evaluate_all(node.children));
    case ExprKind::kList:
      return make_list(evaluate_all(node.children));
    case ExprKind::kDict:
      return evaluate_dict(node);
    case ExprKind::kAttribute: {
      const Value owner = evaluate(*node.children.front());
      at_ = node.at;
      return attribute(owner, node.name);
    }
    case ExprKind::kItem:
      return evaluate_item(node);
    case ExprKind::kSlice:
      return Value::undefined("a slice stands alone");
    case ExprKind::kCall:
      return evaluate_call(node);
    case ExprKind::kFilter: {
      const Value input = evaluate(*node.children.front());
      CallArguments given = arguments(node.arguments);
      at_ = node.at;
      return filter(node.name, input, given);
    }
    case ExprKind::kTest: {
      const Value input = evaluate(*node.children.front());
      CallArguments given = arguments(node.arguments);
      at_ = node.at;
      return Value(test(node.name, input, given));
    }
    case ExprKind::kNot:
      return Value(!truth(evaluate(*node.children.front())));
    case ExprKind::kNegative:
    case ExprKind::kPositive: {
      const Value operand = evaluate(*node.children.front());
      at_ = node.at;
      return negate(operand, node.kind == ExprKind::kPositive);
    }
    case ExprKind::kAnd:
    case ExprKind::kOr: {
      Value left = evaluate(*node.children[0]);
      return truth(left) == (node.kind == ExprKind::kOr) ? left : evaluate(*node.children[1]);
    }
    case ExprKind::kConcat:
      return evaluate_concat(node);
    case ExprKind::kConditional:
      if (truth(evaluate(*node.children[0]))) return evaluate(*node.children[1]);
      if (node.children[2] != nullptr) return evaluate(*node.children[2]);
      return Value::undefined("the inline if-expression evaluated to false and no else section was defined");
    case ExprKind::kCompare:
      return evaluate_compare(node);
    default: {
      const Value left = evaluate(*node.children[0]);
      const Value right = evaluate(*node.children[1]);
      at_ = node.at;
      return binary(node.kind, left, right);
    }
  }
}

}  // namespace kinglet::chat
