#include "model/chat/expression_parser.h"

#include <algorithm>
#include <charconv>

namespace kinglet::chat {
namespace {

// A chain such as a + b + c is as high as it is long, so that it gets more room than nesting.
constexpr int kHeight = 1000;

ExprPtr make(ExprKind kind, Position at) { return std::make_unique<Expr>(kind, at); }

ExprPtr constant(Value value, Position at) {
  ExprPtr node = make(ExprKind::kConst, at);
  node->value = std::move(value);
  return node;
}

void cover(Expr& node, const ExprPtr& child) {
  if (child != nullptr) node.height = std::max(node.height, child->height + 1);
  if (node.height > kHeight) syntax_error("the expression is too long or nested too deep", node.at);
}

void add(Expr& node, ExprPtr child) {
  cover(node, child);
  node.children.push_back(std::move(child));
}

void cover_arguments(Expr& node) {
  for (const auto& argument : node.arguments.positional) cover(node, argument);
  for (const auto& [name, argument] : node.arguments.named) cover(node, argument);
  cover(node, node.arguments.star);
  cover(node, node.arguments.double_star);
}

ExprPtr binary(ExprKind kind, Position at, ExprPtr left, ExprPtr right) {
  ExprPtr node = make(kind, at);
  add(*node, std::move(left));
  add(*node, std::move(right));
  return node;
}

}  // namespace

class ExpressionParser::Level {
 public:
  explicit Level(ExpressionParser& parser) : parser_(parser) {
    if (++parser.level_ > kDepth) syntax_error("the expression is nested too deep", parser.tokens_.current().at);
  }
  ~Level() { --parser_.level_; }

 private:
  ExpressionParser& parser_;
};

ExprPtr ExpressionParser::expression(bool with_conditional) {
  const Level level(*this);
  ExprPtr node = disjunction();
  while (with_conditional && tokens_.is_name("if")) {
    ExprPtr whole = make(ExprKind::kConditional, tokens_.next().at);
    add(*whole, disjunction());
    add(*whole, std::move(node));
    add(*whole, tokens_.skip_name("else") ? expression() : nullptr);
    node = std::move(whole);
  }
  return node;
}

ExprPtr ExpressionParser::disjunction() {
  ExprPtr node = conjunction();
  while (tokens_.is_name("or")) {
    const Position at = tokens_.next().at;
    node = binary(ExprKind::kOr, at, std::move(node), conjunction());
  }
  return node;
}

ExprPtr ExpressionParser::conjunction() {
  ExprPtr node = negation();
  while (tokens_.is_name("and")) {
    const Position at = tokens_.next().at;
    node = binary(ExprKind::kAnd, at, std::move(node), negation());
  }
  return node;
}

ExprPtr ExpressionParser::negation() {
  if (!tokens_.is_name("not")) return comparison();
  const Level level(*this);
  ExprPtr node = make(ExprKind::kNot, tokens_.next().at);
  add(*node, negation());
  return node;
}

ExprPtr ExpressionParser::comparison() {
  ExprPtr first = sum();
  ExprPtr node;
  while (true) {
    std::string sign;
    if (tokens_.is(TokenKind::kOperator)) {
      for (const std::string_view known : {"==", "!=", "<", "<=", ">", ">="})
        if (tokens_.current().text == known) sign = known;
    } else if (tokens_.is_name("in")) {
      sign = "in";
    } else if (tokens_.is_name("not") && tokens_.look().kind == TokenKind::kName && tokens_.look().text == "in") {
      sign = "not in";
    }
    if (sign.empty()) break;
    const Position at = tokens_.next().at;
    if (sign == "not in") tokens_.next();
    if (node == nullptr) {
      node = make(ExprKind::kCompare, at);
      add(*node, std::move(first));
    }
    node->operators.push_back(sign);
    add(*node, sum());
  }
  return node != nullptr ? std::move(node) : std::move(first);
}

ExprPtr ExpressionParser::sum() {
  ExprPtr node = concatenation();
  while (tokens_.is_operator("+") || tokens_.is_operator("-")) {
    const Token& sign = tokens_.next();
    const ExprKind kind = sign.text == "+" ? ExprKind::kAdd : ExprKind::kSubtract;
    const Position at = sign.at;
    node = binary(kind, at, std::move(node), concatenation());
  }
  return node;
}

ExprPtr ExpressionParser::concatenation() {
  ExprPtr first = product();
  if (!tokens_.is_operator("~")) return first;
  ExprPtr node = make(ExprKind::kConcat, tokens_.current().at);
  add(*node, std::move(first));
  while (tokens_.skip_operator("~")) add(*node, product());
  return node;
}

ExprPtr ExpressionParser::product() {
  static constexpr std::pair<std::string_view, ExprKind> kSigns[] = {
      {"*", ExprKind::kMultiply}, {"/", ExprKind::kDivide}, {"//", ExprKind::kFloorDivide}, {"%", ExprKind::kModulo}};
  ExprPtr node = power();
  while (tokens_.is(TokenKind::kOperator)) {
    const auto* sign = std::find_if(std::begin(kSigns), std::end(kSigns),
                                    [&](const auto& entry) { return entry.first == tokens_.current().text; });
    if (sign == std::end(kSigns)) break;
    const Position at = tokens_.next().at;
    node = binary(sign->second, at, std::move(node), power());
  }
  return node;
}

ExprPtr ExpressionParser::power() {
  ExprPtr node = unary();
  while (tokens_.is_operator("**")) {
    const Position at = tokens_.next().at;
    node = binary(ExprKind::kPower, at, std::move(node), unary());
  }
  return node;
}

ExprPtr ExpressionParser::unary(bool with_filters) {
  const Level level(*this);
  ExprPtr node;
  if (tokens_.is_operator("-") || tokens_.is_operator("+")) {
    const Token& sign = tokens_.next();
    node = make(sign.text == "-" ? ExprKind::kNegative : ExprKind::kPositive, sign.at);
    add(*node, unary(false));
  } else {
    node = primary();
  }
  node = postfix(std::move(node));
  return with_filters ? postfix_and_filters(std::move(node)) : std::move(node);
}

ExprPtr ExpressionParser::number(const Token& token) {
  if (token.kind == TokenKind::kFloat) {
    double value = 0;
    std::from_chars(token.text.data(), token.text.data() + token.text.size(), value);
    return constant(value, token.at);
  }
  std::string_view digits = token.text;
  int base = 10;
  if (digits.size() > 2 && digits[0] == '0' && digits[1] >= 'a') {
    base = digits[1] == 'x' ? 16 : digits[1] == 'o' ? 8 : 2;
    digits.remove_prefix(2);
  }
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (error != std::errc() || end != digits.data() + digits.size())
    syntax_error("the number " + token.text + " is too large or malformed", token.at);
  return constant(value, token.at);
}

ExprPtr ExpressionParser::primary() {
  const Token& token = tokens_.current();
  const Position at = token.at;
  switch (token.kind) {
    case TokenKind::kName: {
      const std::string name = tokens_.next().text;
      if (name == "true" || name == "True") return constant(true, at);
      if (name == "false" || name == "False") return constant(false, at);
      if (name == "none" || name == "None") return constant(None{}, at);
      ExprPtr node = make(ExprKind::kName, at);
      node->name = name;
      return node;
    }
    case TokenKind::kString: {
      std::string text;
      while (tokens_.is(TokenKind::kString)) text += tokens_.next().text;
      return constant(Value(std::move(text)), at);
    }
    case TokenKind::kInteger:
    case TokenKind::kFloat:
      return number(tokens_.next());
    case TokenKind::kOperator:
      if (token.text == "(") {
        tokens_.next();
        ExprPtr node = tuple(true, {}, true);
        tokens_.expect_operator(")");
        return node;
      }
      if (token.text == "[") return list();
      if (token.text == "{") return dict();
      break;
    default:
      break;
  }
  tokens_.unexpected("an expression");
}

ExprPtr ExpressionParser::list() {
  ExprPtr node = make(ExprKind::kList, tokens_.next().at);
  while (!tokens_.is_operator("]")) {
    if (!node->children.empty()) tokens_.expect_operator(",");
    if (tokens_.is_operator("]")) break;
    add(*node, expression());
  }
  tokens_.expect_operator("]");
  return node;
}

ExprPtr ExpressionParser::dict() {
  ExprPtr node = make(ExprKind::kDict, tokens_.next().at);
  while (!tokens_.is_operator("}")) {
    if (!node->children.empty()) tokens_.expect_operator(",");
    if (tokens_.is_operator("}")) break;
    add(*node, expression());
    tokens_.expect_operator(":");
    add(*node, expression());
  }
  tokens_.expect_operator("}");
  return node;
}

bool ExpressionParser::at_tuple_end(std::string_view end) const {
  return tokens_.is(TokenKind::kPrintEnd) || tokens_.is(TokenKind::kBlockEnd) || tokens_.is_operator(")") ||
         (!end.empty() && tokens_.is_name(end));
}

ExprPtr ExpressionParser::tuple(bool with_conditional, std::string_view end, bool parenthesised) {
  const Position at = tokens_.current().at;
  std::vector<ExprPtr> items;
  bool is_tuple = false;
  while (true) {
    if (!items.empty()) tokens_.expect_operator(",");
    if (at_tuple_end(end)) break;
    items.push_back(expression(with_conditional));
    if (!tokens_.is_operator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !items.empty()) return std::move(items.front());
  if (!is_tuple && !parenthesised) tokens_.unexpected("an expression");
  ExprPtr node = make(ExprKind::kTuple, at);
  for (auto& item : items) add(*node, std::move(item));
  return node;
}

ExprPtr ExpressionParser::target_item(bool with_namespace) {
  const Position at = tokens_.current().at;
  if (tokens_.skip_operator("(")) {
    const Level level(*this);
    ExprPtr node = target(with_namespace, ")");
    tokens_.expect_operator(")");
    return node;
  }
  ExprPtr node = make(ExprKind::kName, at);
  node->name = tokens_.expect_any_name();
  for (const std::string_view reserved : {"true", "false", "none", "True", "False", "None"})
    if (node->name == reserved) syntax_error("can't assign to '" + node->name + "'", at);
  if (!with_namespace || !tokens_.skip_operator(".")) return node;
  ExprPtr attribute = make(ExprKind::kAttribute, at);
  add(*attribute, std::move(node));
  attribute->name = tokens_.expect_any_name();
  return attribute;
}

ExprPtr ExpressionParser::target(bool with_namespace, std::string_view end) {
  const Position at = tokens_.current().at;
  std::vector<ExprPtr> items;
  bool is_tuple = false;
  items.push_back(target_item(with_namespace));
  while (tokens_.skip_operator(",")) {
    is_tuple = true;
    if (tokens_.is_operator("=") || at_tuple_end(end)) break;
    items.push_back(target_item(with_namespace));
  }
  if (!is_tuple) return std::move(items.front());
  ExprPtr node = make(ExprKind::kTuple, at);
  for (auto& item : items) add(*node, std::move(item));
  return node;
}

ExprPtr ExpressionParser::postfix(ExprPtr node) {
  while (true) {
    if (tokens_.is_operator(".") || tokens_.is_operator("[")) {
      node = subscript(std::move(node));
    } else if (tokens_.is_operator("(")) {
      node = call(std::move(node));
    } else {
      return node;
    }
  }
}

ExprPtr ExpressionParser::postfix_and_filters(ExprPtr node) {
  while (true) {
    if (tokens_.is_operator("|")) {
      node = filters(std::move(node));
    } else if (tokens_.is_name("is")) {
      node = test(std::move(node));
    } else if (tokens_.is_operator("(")) {
      node = call(std::move(node));
    } else {
      return node;
    }
  }
}

ExprPtr ExpressionParser::call(ExprPtr node) {
  ExprPtr whole = make(ExprKind::kCall, tokens_.current().at);
  add(*whole, std::move(node));
  whole->arguments = call_arguments();
  cover_arguments(*whole);
  return whole;
}

ExprPtr ExpressionParser::subscript(ExprPtr node) {
  const Token& sign = tokens_.next();
  const Position at = sign.at;
  if (sign.text == ".") {
    if (tokens_.is(TokenKind::kInteger)) {
      ExprPtr index = number(tokens_.next());
      return binary(ExprKind::kItem, at, std::move(node), std::move(index));
    }
    ExprPtr whole = make(ExprKind::kAttribute, at);
    whole->name = tokens_.expect_any_name();
    add(*whole, std::move(node));
    return whole;
  }
  std::vector<ExprPtr> indices;
  while (!tokens_.is_operator("]")) {
    if (!indices.empty()) tokens_.expect_operator(",");
    indices.push_back(subscribed());
  }
  tokens_.expect_operator("]");
  if (indices.size() == 1) return binary(ExprKind::kItem, at, std::move(node), std::move(indices.front()));
  ExprPtr index = make(ExprKind::kTuple, at);
  for (auto& item : indices) add(*index, std::move(item));
  return binary(ExprKind::kItem, at, std::move(node), std::move(index));
}

ExprPtr ExpressionParser::subscribed() {
  const Position at = tokens_.current().at;
  const auto bound = [&]() -> ExprPtr {
    if (tokens_.is_operator(":") || tokens_.is_operator("]") || tokens_.is_operator(",")) return nullptr;
    return expression();
  };
  ExprPtr begin = bound();
  if (begin != nullptr && !tokens_.is_operator(":")) return begin;
  tokens_.expect_operator(":");
  ExprPtr node = make(ExprKind::kSlice, at);
  add(*node, std::move(begin));
  add(*node, bound());
  add(*node, tokens_.skip_operator(":") ? bound() : nullptr);
  return node;
}

CallSyntax ExpressionParser::call_arguments() {
  CallSyntax call;
  const Position at = tokens_.current().at;
  tokens_.expect_operator("(");
  bool first = true;
  const auto ensure = [&](bool valid) {
    if (!valid) syntax_error("the arguments of a call are in a wrong order", at);
  };
  while (!tokens_.is_operator(")")) {
    if (!first) tokens_.expect_operator(",");
    first = false;
    if (tokens_.is_operator(")")) break;
    if (tokens_.skip_operator("*")) {
      ensure(call.star == nullptr && call.double_star == nullptr);
      call.star = expression();
    } else if (tokens_.skip_operator("**")) {
      ensure(call.double_star == nullptr);
      call.double_star = expression();
    } else if (tokens_.is(TokenKind::kName) && tokens_.look().kind == TokenKind::kOperator &&
               tokens_.look().text == "=") {
      ensure(call.double_star == nullptr);
      std::string name = tokens_.next().text;
      tokens_.next();
      for (const auto& [other, unused] : call.named)
        if (other == name) syntax_error("the argument '" + name + "' is given twice", at);
      call.named.emplace_back(std::move(name), expression());
    } else {
      ensure(call.star == nullptr && call.double_star == nullptr && call.named.empty());
      call.positional.push_back(expression());
    }
  }
  tokens_.expect_operator(")");
  return call;
}

ExprPtr ExpressionParser::filters(ExprPtr input, bool first_without_bar) {
  if (input == nullptr) input = constant(Value(), tokens_.current().at);
  while (first_without_bar || tokens_.is_operator("|")) {
    ExprPtr node = make(ExprKind::kFilter, tokens_.current().at);
    if (!first_without_bar) tokens_.next();
    first_without_bar = false;
    node->name = tokens_.expect_any_name();
    while (tokens_.skip_operator(".")) node->name += "." + tokens_.expect_any_name();
    add(*node, std::move(input));
    if (tokens_.is_operator("(")) node->arguments = call_arguments();
    cover_arguments(*node);
    input = std::move(node);
  }
  return input;
}

ExprPtr ExpressionParser::test(ExprPtr input) {
  const Position at = tokens_.next().at;
  const bool negated = tokens_.skip_name("not");
  ExprPtr node = make(ExprKind::kTest, at);
  node->name = tokens_.expect_any_name();
  while (tokens_.skip_operator(".")) node->name += "." + tokens_.expect_any_name();
  add(*node, std::move(input));
  const Token& token = tokens_.current();
  const bool value =
      token.kind == TokenKind::kString || token.kind == TokenKind::kInteger || token.kind == TokenKind::kFloat ||
      tokens_.is_operator("[") || tokens_.is_operator("{") ||
      (token.kind == TokenKind::kName && token.text != "else" && token.text != "or" && token.text != "and");
  if (tokens_.is_operator("(")) {
    node->arguments = call_arguments();
  } else if (value) {
    if (tokens_.is_name("is")) syntax_error("tests cannot be chained with 'is'", token.at);
    const Level level(*this);
    node->arguments.positional.push_back(postfix(primary()));
  }
  cover_arguments(*node);
  if (!negated) return node;
  ExprPtr inverse = make(ExprKind::kNot, at);
  add(*inverse, std::move(node));
  return inverse;
}

}  // namespace kinglet::chat
