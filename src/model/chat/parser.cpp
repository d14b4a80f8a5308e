#include "model/chat/parser.h"

#include <algorithm>

#include "model/chat/expression_parser.h"

namespace kinglet::chat {
namespace {

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(tokenize(source)), expressions_(tokens_) {}

  Body parse() {
    Body body = statements({});
    if (!tokens_.is(TokenKind::kEnd)) tokens_.unexpected("text or a tag");
    return body;
  }

 private:
  using Names = std::vector<std::string_view>;
  using StatementPtr = std::unique_ptr<Statement>;

  // Statements up to "{% NAME" with a name of `ends`; that name is left as the current token.
  Body statements(const Names& ends) {
    if (++level_ > kDepth) syntax_error("blocks are nested too deep", tokens_.current().at);
    Body body;
    while (!tokens_.is(TokenKind::kEnd)) {
      if (tokens_.is(TokenKind::kText)) {
        body.push_back(std::make_unique<Statement>(StatementKind::kText, tokens_.current().at));
        body.back()->text = tokens_.next().text;
      } else if (tokens_.is(TokenKind::kPrintBegin)) {
        body.push_back(std::make_unique<Statement>(StatementKind::kPrint, tokens_.next().at));
        body.back()->expression = expressions_.tuple();
        tokens_.expect(TokenKind::kPrintEnd, "'}}'");
      } else {
        tokens_.expect(TokenKind::kBlockBegin, "'{%'");
        if (!tokens_.is(TokenKind::kName)) tokens_.unexpected("the name of a statement");
        if (std::find(ends.begin(), ends.end(), tokens_.current().text) != ends.end()) {
          --level_;
          return body;
        }
        body.push_back(statement());
        tokens_.expect(TokenKind::kBlockEnd, "'%}'");
      }
    }
    if (!ends.empty()) tokens_.unexpected("'{% " + std::string(ends.back()) + " %}'");
    --level_;
    return body;
  }

  // The body of a block whose opening tag has been read up to its "%}", and its end tag up to the name.
  Body block(std::string_view end) {
    tokens_.expect(TokenKind::kBlockEnd, "'%}'");
    Body body = statements({end});
    tokens_.next();
    return body;
  }

  StatementPtr statement() {
    const Token& tag = tokens_.next();
    const Position at = tag.at;
    const std::string name = tag.text;
    if (name == "if") return parse_if(at);
    if (name == "for") return parse_for(at);
    if (name == "set") return parse_set(at);
    if (name == "macro") return parse_macro(at);
    if (name == "call") return parse_call(at);
    if (name == "filter") return parse_filter(at);
    if (name == "with") return parse_with(at);
    if (name == "generation") {
      auto node = std::make_unique<Statement>(StatementKind::kScope, at);
      node->body = outside_loops("endgeneration");
      return node;
    }
    if (name == "print") {
      auto node = std::make_unique<Statement>(StatementKind::kPrint, at);
      node->expression = std::make_unique<Expr>(ExprKind::kConcat, at);
      do node->expression->children.push_back(expressions_.expression());
      while (tokens_.skip_operator(","));
      return node;
    }
    if (name == "break" || name == "continue") {
      if (loops_ == 0) syntax_error("'" + name + "' stands outside of a loop", at);
      return std::make_unique<Statement>(name == "break" ? StatementKind::kBreak : StatementKind::kContinue, at);
    }
    for (const std::string_view known : {"include", "import", "from", "extends", "block", "do", "autoescape", "trans"})
      if (name == known) syntax_error("chat templates have no '" + name + "'", at);
    syntax_error("there is no statement '" + name + "'", at);
  }

  // Macros and what becomes one: a break in there does not reach a loop outside.
  Body outside_loops(std::string_view end) {
    const int loops = std::exchange(loops_, 0);
    Body body = block(end);
    loops_ = loops;
    return body;
  }

  StatementPtr parse_if(Position at) {
    auto node = std::make_unique<Statement>(StatementKind::kIf, at);
    while (true) {
      ExprPtr condition = expressions_.tuple(false);
      tokens_.expect(TokenKind::kBlockEnd, "'%}'");
      node->branches.emplace_back(std::move(condition), statements({"elif", "else", "endif"}));
      const std::string name = tokens_.next().text;
      if (name == "elif") continue;
      if (name == "else") {
        tokens_.expect(TokenKind::kBlockEnd, "'%}'");
        node->branches.emplace_back(nullptr, statements({"endif"}));
        tokens_.next();
      }
      return node;
    }
  }

  StatementPtr parse_for(Position at) {
    auto node = std::make_unique<Statement>(StatementKind::kFor, at);
    node->target = expressions_.target(false, "in");
    tokens_.expect_name("in");
    node->expression = expressions_.tuple(false, "recursive");
    if (tokens_.skip_name("if")) node->condition = expressions_.expression();
    if (tokens_.is_name("recursive")) syntax_error("recursive loops are not supported", tokens_.current().at);
    tokens_.expect(TokenKind::kBlockEnd, "'%}'");
    ++loops_;
    node->body = statements({"else", "endfor"});
    --loops_;
    if (tokens_.next().text == "else") node->otherwise = block("endfor");
    return node;
  }

  StatementPtr parse_set(Position at) {
    auto node = std::make_unique<Statement>(StatementKind::kSet, at);
    node->target = expressions_.target(true);
    if (tokens_.skip_operator("=")) {
      node->expression = expressions_.tuple();
      return node;
    }
    node->kind = StatementKind::kSetBlock;
    if (tokens_.is_operator("|")) node->expression = expressions_.filters(nullptr);
    node->body = block("endset");
    return node;
  }

  void parse_signature(Statement& node) {
    tokens_.expect_operator("(");
    while (!tokens_.is_operator(")")) {
      if (!node.pairs.empty()) tokens_.expect_operator(",");
      auto parameter = std::make_unique<Expr>(ExprKind::kName, tokens_.current().at);
      parameter->name = tokens_.expect_any_name();
      ExprPtr fallback = tokens_.skip_operator("=") ? expressions_.expression() : nullptr;
      if (fallback == nullptr && !node.pairs.empty() && node.pairs.back().second != nullptr)
        syntax_error("a parameter without a default follows one that has a default", parameter->at);
      node.pairs.emplace_back(std::move(parameter), std::move(fallback));
    }
    tokens_.next();
  }

  StatementPtr parse_macro(Position at) {
    auto node = std::make_unique<Statement>(StatementKind::kMacro, at);
    node->text = tokens_.expect_any_name();
    parse_signature(*node);
    node->body = outside_loops("endmacro");
    return node;
  }

  StatementPtr parse_call(Position at) {
    auto node = std::make_unique<Statement>(StatementKind::kCallBlock, at);
    node->text = "caller";
    if (tokens_.is_operator("(")) parse_signature(*node);
    node->expression = expressions_.expression();
    if (node->expression->kind != ExprKind::kCall) syntax_error("expected a call", node->expression->at);
    node->body = outside_loops("endcall");
    return node;
  }

  StatementPtr parse_filter(Position at) {
    auto node = std::make_unique<Statement>(StatementKind::kFilterBlock, at);
    node->expression = expressions_.filters(nullptr, true);
    node->body = block("endfilter");
    return node;
  }

  StatementPtr parse_with(Position at) {
    auto node = std::make_unique<Statement>(StatementKind::kWith, at);
    while (!tokens_.is(TokenKind::kBlockEnd)) {
      if (!node->pairs.empty()) tokens_.expect_operator(",");
      ExprPtr target = expressions_.target(false);
      tokens_.expect_operator("=");
      node->pairs.emplace_back(std::move(target), expressions_.expression());
    }
    node->body = block("endwith");
    return node;
  }

  TokenStream tokens_;
  ExpressionParser expressions_;
  int level_ = 0, loops_ = 0;
};

}  // namespace

Body parse_template(std::string_view source) { return Parser(source).parse(); }

}  // namespace kinglet::chat
