// A parsed template.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/chat/value.h"

namespace kinglet::chat {

struct Position {
  int line = 1, column = 1;
};

struct Expr;
struct Statement;
using ExprPtr = std::unique_ptr<Expr>;
using Body = std::vector<std::unique_ptr<Statement>>;

/// What stands in the parentheses of a call, a filter or a test.
struct CallSyntax {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr star, double_star;
};

enum class ExprKind {
  kConst,
  kName,
  kTuple,
  kList,
  kDict,
  kAttribute,
  kItem,
  kSlice,
  kCall,
  kFilter,
  kTest,
  kNot,
  kNegative,
  kPositive,
  kAnd,
  kOr,
  kConcat,
  kConditional,
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kCompare
};

struct Expr {
  Expr(ExprKind of, Position where) : kind(of), at(where) {}
  ExprKind kind;
  Position at;
  int height = 1;                      ///< of this tree; bounded by the parser
  std::string name;                    ///< of a name, attribute, filter or test
  Value value;                         ///< of a constant
  std::vector<ExprPtr> children;       ///< kDict: key, value, ...; kSlice: begin, end, step (null where absent)
  std::vector<std::string> operators;  ///< kCompare: between the children
  CallSyntax arguments;
};

enum class StatementKind {
  kText,
  kPrint,
  kIf,
  kFor,
  kSet,
  kSetBlock,
  kMacro,
  kCallBlock,
  kFilterBlock,
  kWith,
  kScope,
  kBreak,
  kContinue
};

struct Statement {
  Statement(StatementKind of, Position where) : kind(of), at(where) {}
  StatementKind kind;
  Position at;
  std::string text;                                ///< kText; the name of a macro
  ExprPtr target, expression, condition;           ///< kFor: target in expression if condition
  std::vector<std::pair<ExprPtr, Body>> branches;  ///< kIf: conditions (null: else)
  std::vector<std::pair<ExprPtr, ExprPtr>> pairs;  ///< kWith: target, value; macros: parameter, default (may be null)
  Body body, otherwise;
};

}  // namespace kinglet::chat
