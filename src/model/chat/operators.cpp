// Arithmetic, joining and slicing with Python's meaning.
#include <algorithm>
#include <cmath>

#include "model/chat/interpreter.h"
#include "model/chat/unicode.h"

namespace kinglet::chat {
namespace {

std::string_view sign_of(ExprKind kind) {
  switch (kind) {
    case ExprKind::kAdd:
      return "+";
    case ExprKind::kSubtract:
      return "-";
    case ExprKind::kMultiply:
      return "*";
    case ExprKind::kDivide:
      return "/";
    case ExprKind::kFloorDivide:
      return "//";
    case ExprKind::kModulo:
      return "%";
    default:
      return "** or pow()";
  }
}

[[noreturn]] void overflow() {
  throw TemplateError(ErrorCode::kExhausted, "a whole number leaves the range of 64 bits");
}

void need_divisor(bool zero) {
  if (zero) refuse("division by zero");
}

Value integer_power(std::int64_t base, std::int64_t exponent) {
  if (exponent < 0) {
    need_divisor(base == 0);
    return std::pow(static_cast<double>(base), static_cast<double>(exponent));
  }
  if (base == 0 || base == 1) return exponent == 0 ? std::int64_t{1} : base;
  if (base == -1) return std::int64_t{exponent % 2 == 0 ? 1 : -1};
  std::int64_t out = 1;
  for (; exponent > 0; --exponent)
    if (__builtin_mul_overflow(out, base, &out)) overflow();
  return out;
}

Value integers(ExprKind kind, std::int64_t a, std::int64_t b) {
  std::int64_t out = 0;
  bool over = false;
  switch (kind) {
    case ExprKind::kAdd:
      over = __builtin_add_overflow(a, b, &out);
      break;
    case ExprKind::kSubtract:
      over = __builtin_sub_overflow(a, b, &out);
      break;
    case ExprKind::kMultiply:
      over = __builtin_mul_overflow(a, b, &out);
      break;
    case ExprKind::kDivide:
      need_divisor(b == 0);
      return static_cast<double>(a) / static_cast<double>(b);
    case ExprKind::kFloorDivide:
    case ExprKind::kModulo: {
      need_divisor(b == 0);
      if (b == -1) return kind == ExprKind::kModulo ? Value(0) : integers(ExprKind::kSubtract, 0, a);
      const std::int64_t remainder = a % b;
      const bool adjust = remainder != 0 && (remainder < 0) != (b < 0);
      out = kind == ExprKind::kModulo ? remainder + (adjust ? b : 0) : a / b - (adjust ? 1 : 0);
      break;
    }
    default:
      return integer_power(a, b);
  }
  if (over) overflow();
  return out;
}

Value floats(ExprKind kind, double a, double b) {
  switch (kind) {
    case ExprKind::kAdd:
      return a + b;
    case ExprKind::kSubtract:
      return a - b;
    case ExprKind::kMultiply:
      return a * b;
    case ExprKind::kDivide:
      need_divisor(b == 0);
      return a / b;
    case ExprKind::kFloorDivide:
      need_divisor(b == 0);
      return std::floor(a / b);
    case ExprKind::kModulo: {
      need_divisor(b == 0);
      const double remainder = std::fmod(a, b);
      return remainder != 0 && (remainder < 0) != (b < 0) ? remainder + b : remainder;
    }
    default:
      need_divisor(a == 0 && b < 0);
      if (a < 0 && b != std::floor(b)) refuse("a negative number has no such power");
      return std::pow(a, b);
  }
}

Value joined(const Sequence& a, const Sequence& b) {
  charge((a.items.size() + b.items.size()) * sizeof(Value));
  std::vector<Value> items = a.items;
  items.insert(items.end(), b.items.begin(), b.items.end());
  return make_sequence(a.kind, std::move(items));
}

std::int64_t bound(const Value& value, std::int64_t count, std::int64_t fallback, bool backwards) {
  if (value.is_none()) return fallback;
  std::int64_t at = *value.integer();
  if (at < 0) at = at < -count ? -1 - count : at;
  if (at < 0) at += count;
  return std::clamp(at, std::int64_t{backwards ? -1 : 0}, backwards ? count - 1 : count);
}

}  // namespace

Value repeat(const Value& value, std::int64_t count) {
  count = std::max<std::int64_t>(count, 0);
  const std::string* text = value.text();
  const std::size_t size = text != nullptr ? text->size() : value.sequence()->items.size() * sizeof(Value);
  if (size > 0 && static_cast<std::size_t>(count) > kOutputBytes / size)
    throw TemplateError(ErrorCode::kExhausted, "the chat template makes a value of more than 64 MiB");
  charge(size * static_cast<std::size_t>(count));
  if (text != nullptr) {
    std::string out;
    for (; count > 0 && size > 0; --count) out += *text;
    return Value(std::move(out));
  }
  std::vector<Value> items;
  for (; count > 0 && size > 0; --count)
    items.insert(items.end(), value.sequence()->items.begin(), value.sequence()->items.end());
  return make_sequence(value.sequence()->kind, std::move(items));
}

Value binary(ExprKind kind, const Value& a, const Value& b) {
  if (kind == ExprKind::kModulo && a.text() != nullptr) return Value(printf_format(*a.text(), b));
  if (a.is_undefined()) refuse_undefined(a);
  if (b.is_undefined()) refuse_undefined(b);
  if (const auto x = a.integer(), y = b.integer(); x && y) return integers(kind, *x, *y);
  if (const auto x = a.number(), y = b.number(); x && y) return floats(kind, *x, *y);
  const Sequence *x = a.sequence(), *y = b.sequence();
  const auto joins = [](const Sequence* list) {
    return list != nullptr && (list->kind == Sequence::Kind::kList || list->kind == Sequence::Kind::kTuple);
  };
  if (kind == ExprKind::kAdd) {
    if (a.text() != nullptr && b.text() != nullptr) {
      charge(a.text()->size() + b.text()->size());
      if (a.text()->size() + b.text()->size() > kOutputBytes)
        throw TemplateError(ErrorCode::kExhausted, "the chat template makes a text of more than 64 MiB");
      return Value(*a.text() + *b.text());
    }
    if (a.text() != nullptr) refuse("can only concatenate str (not \"" + type_name(b) + "\") to str");
    if (joins(x) && joins(y) && x->kind == y->kind) return joined(*x, *y);
  }
  if (kind == ExprKind::kMultiply) {
    if (const auto count = b.integer(); count && (a.text() != nullptr || joins(x))) return repeat(a, *count);
    if (const auto count = a.integer(); count && (b.text() != nullptr || joins(y))) return repeat(b, *count);
  }
  refuse("unsupported operand type(s) for " + std::string(sign_of(kind)) + ": '" + type_name(a) + "' and '" +
         type_name(b) + "'");
}

Value negate(const Value& value, bool positive) {
  if (value.is_undefined()) refuse_undefined(value);
  if (const auto integer = value.integer())
    return positive ? Value(*integer) : integers(ExprKind::kSubtract, 0, *integer);
  if (const double* number = value.get<double>()) return positive ? *number : -*number;
  refuse("bad operand type for unary " + std::string(positive ? "+" : "-") + ": '" + type_name(value) + "'");
}

Value slice(const Value& value, const Value& begin, const Value& end, const Value& step) {
  const Sequence* list = value.sequence();
  const bool sliced = value.text() != nullptr || (list != nullptr && list->kind != Sequence::Kind::kIterator);
  const auto fits = [](const Value& part) { return part.is_none() || part.integer().has_value(); };
  if (!sliced || !fits(begin) || !fits(end) || !fits(step))
    return Value::undefined(type_name(value) + " object has no such slice");
  const std::int64_t by = step.is_none() ? 1 : *step.integer();
  if (by == 0) refuse("slice step cannot be zero");
  const std::int64_t count = length_of(value);
  const std::int64_t first = bound(begin, count, by > 0 ? 0 : count - 1, by < 0);
  const std::int64_t last = bound(end, count, by > 0 ? count : -1, by < 0);
  if (value.text() != nullptr && by == 1)
    return first < last
               ? Value(substring(*value.text(), static_cast<std::size_t>(first), static_cast<std::size_t>(last)))
               : Value("");
  std::vector<std::int64_t> indices;
  for (std::int64_t i = first; by > 0 ? i < last : i > last;) {
    indices.push_back(i);
    if (__builtin_add_overflow(i, by, &i)) break;
  }
  charge(indices.size() * sizeof(Value));
  if (value.text() != nullptr) {
    const auto letters = characters(*value.text());
    std::string out;
    for (const auto i : indices) out += letters[static_cast<std::size_t>(i)];
    return Value(std::move(out));
  }
  std::vector<Value> items;
  for (const auto i : indices) items.push_back(list->items[static_cast<std::size_t>(i)]);
  return make_sequence(list->kind == Sequence::Kind::kTuple ? list->kind : Sequence::Kind::kList, std::move(items));
}

}  // namespace kinglet::chat
