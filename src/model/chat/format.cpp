// Python's two ways of formatting: "%s" % values and "{}".format(values).
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "model/chat/interpreter.h"
#include "model/chat/unicode.h"

namespace kinglet::chat {
namespace {

constexpr int kMaxWidth = 10'000;

struct Spec {
  std::string fill = " ";
  char align = 0, sign = 0, grouping = 0, type = 0;
  bool alternate = false;
  int width = 0, precision = -1;
};

std::string padded(std::string body, const Spec& spec, char fallback_align) {
  charge(body.size() + static_cast<std::size_t>(spec.width));
  const auto length = static_cast<int>(count_points(body));
  if (length >= spec.width) return body;
  const int room = spec.width - length;
  const char align = spec.align != 0 ? spec.align : fallback_align;
  int left = align == '>' ? room : align == '^' ? room / 2 : 0;
  std::string before, after;
  std::size_t sign_length = 0;
  if (align == '=') {
    left = room;
    sign_length = !body.empty() && (body[0] == '-' || body[0] == '+' || body[0] == ' ') ? 1 : 0;
  }
  for (int i = 0; i < left; ++i) before += spec.fill;
  for (int i = left; i < room; ++i) after += spec.fill;
  return body.substr(0, sign_length) + before + body.substr(sign_length) + after;
}

std::string grouped(const std::string& digits, char separator) {
  if (separator == 0) return digits;
  const std::size_t whole = std::min(digits.find_first_of(".e"), digits.size());
  std::string out;
  for (std::size_t i = 0; i < whole; ++i) {
    if (i > 0 && (whole - i) % 3 == 0) out += separator;
    out += digits[i];
  }
  return out + digits.substr(whole);
}

std::string with_sign(std::string digits, bool negative, char sign) {
  if (negative) return "-" + digits;
  return sign == '+' || sign == ' ' ? sign + digits : digits;
}

std::string float_digits(double value, char type, int precision) {
  if (std::isnan(value)) return type >= 'A' && type <= 'Z' ? "NAN" : "nan";
  if (std::isinf(value)) return type >= 'A' && type <= 'Z' ? "INF" : "inf";
  char pattern[] = "%.*f", text[512];
  pattern[3] = type;
  const int size = std::snprintf(text, sizeof text, pattern, std::min(precision, 100), value);
  return {text, static_cast<std::size_t>(std::clamp(size, 0, static_cast<int>(sizeof text) - 1))};
}

std::string integer_digits(std::uint64_t value, char type) {
  char text[72];
  const int base = type == 'x' || type == 'X' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
  std::string out(text, std::to_chars(text, text + sizeof text, value, base).ptr);
  return type == 'X' ? upper(out) : out;
}

std::string format_integer(std::int64_t value, const Spec& spec) {
  const bool negative = value < 0;
  const std::uint64_t magnitude = negative ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value);
  std::string digits = grouped(integer_digits(magnitude, spec.type), spec.grouping);
  if (spec.alternate && (spec.type == 'x' || spec.type == 'X' || spec.type == 'o' || spec.type == 'b'))
    digits = std::string("0") + spec.type + digits;
  return padded(with_sign(digits, negative, spec.sign), spec, '>');
}

std::string format_float(double value, const Spec& spec) {
  const bool negative = std::signbit(value) && !std::isnan(value);
  const double magnitude = std::abs(value);
  std::string digits;
  if (spec.type == '%') {
    digits = float_digits(magnitude * 100, 'f', spec.precision < 0 ? 6 : spec.precision) + "%";
  } else if (spec.type == 0 || spec.type == 'n') {
    digits = spec.precision < 0 ? float_text(magnitude) : float_digits(magnitude, 'g', std::max(spec.precision, 1));
    if (spec.precision >= 0 && digits.find_first_of(".en") == std::string::npos) digits += ".0";
  } else {
    digits = float_digits(magnitude, spec.type, spec.precision < 0 ? 6 : spec.precision);
  }
  return padded(with_sign(grouped(digits, spec.grouping), negative, spec.sign), spec, '>');
}

int read_int(std::string_view text, std::size_t& at) {
  int value = 0;
  for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
    value = value * 10 + (text[at] - '0');
    if (value > kMaxWidth) refuse("a width or precision of more than " + std::to_string(kMaxWidth) + " in a format");
  }
  return value;
}

Spec read_spec(std::string_view text) {
  Spec spec;
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
  std::size_t at = 0;
  if (!text.empty()) {
    std::size_t after = 0;
    next_point(text, after);
    if (after < text.size() && is_align(text[after])) {
      spec.fill = text.substr(0, after);
      spec.align = text[after];
      at = after + 1;
    } else if (is_align(text[0])) {
      spec.align = text[at++];
    }
  }
  const auto peek = [&] { return at < text.size() ? text[at] : '\0'; };
  if (peek() == '+' || peek() == '-' || peek() == ' ') spec.sign = text[at++];
  if (peek() == '#') spec.alternate = true, ++at;
  if (peek() == '0') {
    ++at;
    if (spec.align == 0) spec.align = '=', spec.fill = "0";
  }
  spec.width = read_int(text, at);
  if (peek() == ',' || peek() == '_') spec.grouping = text[at++];
  if (peek() == '.') {
    const std::size_t start = ++at;
    spec.precision = read_int(text, at);
    if (at == start) refuse("Format specifier missing precision");
  }
  if (at < text.size()) spec.type = text[at++];
  if (at != text.size()) refuse("Invalid format specifier '" + std::string(text) + "'");
  return spec;
}

std::string format_value(const Value& value, std::string_view text) {
  if (text.empty()) return to_text(value);
  Spec spec = read_spec(text);
  static constexpr std::string_view kIntegerTypes = "bdoxXn", kFloatTypes = "eEfFgG%";
  const auto integer = value.integer();
  if (value.text() == nullptr && integer && (spec.type == 0 || kIntegerTypes.find(spec.type) != std::string_view::npos))
    return format_integer(*integer, spec);
  if (const auto number = value.number();
      number && (!integer || kFloatTypes.find(spec.type) != std::string_view::npos)) {
    if (spec.type != 0 && kFloatTypes.find(spec.type) == std::string_view::npos && spec.type != 'n')
      refuse(std::string("Unknown format code '") + spec.type + "' for object of type 'float'");
    return format_float(*number, spec);
  }
  if (value.text() == nullptr) refuse("unsupported format string passed to " + type_name(value) + ".__format__");
  if (spec.type != 0 && spec.type != 's')
    refuse(std::string("Unknown format code '") + spec.type + "' for object of type 'str'");
  if (spec.align == '=' && spec.fill == "0") spec.align = '<';
  std::string body = *value.text();
  if (spec.precision >= 0) body = substring(body, 0, static_cast<std::size_t>(spec.precision));
  return padded(std::move(body), spec, '<');
}

std::string printf_one(char type, Spec spec, const Value& value) {
  switch (type) {
    case 's':
    case 'r':
    case 'a': {
      std::string body = type == 's' ? to_text(value) : repr(value);
      if (spec.precision >= 0) body = substring(body, 0, static_cast<std::size_t>(spec.precision));
      if (spec.fill == "0") spec.fill = " ", spec.align = '>';
      return padded(std::move(body), spec, '>');
    }
    case 'd':
    case 'i':
    case 'u':
    case 'x':
    case 'X':
    case 'o': {
      const auto number = value.number();
      if (!number || !(std::abs(*number) < 9.2e18))
        refuse(std::string("%") + type + " format: a real number is required, not " + type_name(value));
      spec.type = type == 'x' || type == 'X' || type == 'o' ? type : 'd';
      return format_integer(value.integer() ? *value.integer() : static_cast<std::int64_t>(*number), spec);
    }
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G': {
      const auto number = value.number();
      if (!number) refuse("must be real number, not " + type_name(value));
      spec.type = type;
      return format_float(*number, spec);
    }
    case 'c':
      if (const auto point = value.integer(); point && *point >= 0 && *point < 0x110000) {
        std::string out;
        append_point(out, static_cast<std::int32_t>(*point));
        return padded(out, spec, '>');
      }
      if (value.text() != nullptr && length_of(value) == 1) return padded(*value.text(), spec, '>');
      refuse("%c requires int or char");
    default:
      refuse(std::string("unsupported format character '") + type + "'");
  }
}

// Walks "name.attribute[index]" of a replacement field.
class Fields {
 public:
  Fields(Interpreter& interpreter, CallArguments& arguments) : interpreter_(interpreter), arguments_(arguments) {}

  Value find(std::string_view path) {
    const std::size_t end = std::min(path.find_first_of(".["), path.size());
    Value value = root(path.substr(0, end));
    std::size_t at = end;
    while (at < path.size()) {
      if (path[at] == '.') {
        const std::size_t stop = std::min(path.find_first_of(".[", at + 1), path.size());
        value = interpreter_.attribute(value, path.substr(at + 1, stop - at - 1));
        at = stop;
      } else {
        const std::size_t stop = path.find(']', at);
        if (stop == std::string_view::npos) refuse("expected ']' in a format");
        const std::string_view key = path.substr(at + 1, stop - at - 1);
        std::int64_t index = 0;
        const auto [last, error] = std::from_chars(key.data(), key.data() + key.size(), index);
        const bool number = error == std::errc() && last == key.data() + key.size();
        value = interpreter_.item(value, number ? Value(index) : Value(key));
        at = stop + 1;
      }
    }
    return value;
  }

 private:
  Value root(std::string_view name) {
    std::size_t index = next_;
    if (name.empty()) {
      ++next_;
    } else {
      const auto [last, error] = std::from_chars(name.data(), name.data() + name.size(), index);
      if (error != std::errc() || last != name.data() + name.size()) {
        for (const auto& [key, value] : arguments_.named)
          if (key == name) return value;
        refuse("the format names '" + std::string(name) + "', which is not given");
      }
    }
    if (index >= arguments_.positional.size())
      refuse("Replacement index " + std::to_string(index) + " out of range for positional args tuple");
    return arguments_.positional[index];
  }

  Interpreter& interpreter_;
  CallArguments& arguments_;
  std::size_t next_ = 0;
};

}  // namespace

std::string printf_format(std::string_view pattern, const Value& values) {
  const Sequence* tuple = values.sequence();
  if (tuple != nullptr && tuple->kind != Sequence::Kind::kTuple) tuple = nullptr;
  std::string out;
  std::size_t used = 0;
  for (std::size_t at = 0; at < pattern.size();) {
    charge(0);
    if (out.size() > kOutputBytes)
      throw TemplateError(ErrorCode::kExhausted, "the chat template makes a text of more than 64 MiB");
    if (pattern[at] != '%') {
      out += pattern[at++];
      continue;
    }
    if (++at < pattern.size() && pattern[at] == '%') {
      out += pattern[at++];
      continue;
    }
    const Value* value = nullptr;
    if (at < pattern.size() && pattern[at] == '(') {
      const std::size_t stop = pattern.find(')', at);
      if (stop == std::string_view::npos || values.dict() == nullptr) refuse("format requires a mapping");
      value = values.dict()->find(pattern.substr(at + 1, stop - at - 1));
      if (value == nullptr) refuse("the format names a key that is not given");
      at = stop + 1;
    }
    Spec spec;
    for (; at < pattern.size() && std::string_view("-+ 0#").find(pattern[at]) != std::string_view::npos; ++at) {
      if (pattern[at] == '-') spec.align = '<', spec.fill = " ";
      if (pattern[at] == '0' && spec.align == 0) spec.align = '=', spec.fill = "0";
      if (pattern[at] == '+' || (pattern[at] == ' ' && spec.sign == 0)) spec.sign = pattern[at];
      if (pattern[at] == '#') spec.alternate = true;
    }
    spec.width = read_int(pattern, at);
    if (at < pattern.size() && pattern[at] == '.') spec.precision = read_int(pattern, ++at);
    if (at >= pattern.size()) refuse("incomplete format");
    if (value == nullptr) {
      if (tuple != nullptr ? used >= tuple->items.size() : used > 0) refuse("not enough arguments for format string");
      value = tuple != nullptr ? &tuple->items[used] : &values;
      ++used;
    }
    out += printf_one(pattern[at++], spec, *value);
  }
  if (tuple != nullptr ? used < tuple->items.size()
                       : used == 0 && values.dict() == nullptr && values.sequence() == nullptr)
    refuse("not all arguments converted during string formatting");
  return out;
}

std::string brace_format(Interpreter& interpreter, std::string_view pattern, CallArguments& arguments) {
  Fields fields(interpreter, arguments);
  std::string out;
  for (std::size_t at = 0; at < pattern.size();) {
    charge(0);
    if (out.size() > kOutputBytes)
      throw TemplateError(ErrorCode::kExhausted, "the chat template makes a text of more than 64 MiB");
    const char c = pattern[at++];
    if (c != '{' && c != '}') {
      out += c;
      continue;
    }
    if (at < pattern.size() && pattern[at] == c) {
      out += pattern[at++];
      continue;
    }
    const std::size_t end = pattern.find('}', at);
    if (c == '}' || end == std::string_view::npos)
      refuse(std::string("Single '") + c + "' encountered in format string");
    std::string_view field = pattern.substr(at, end - at);
    at = end + 1;
    const std::size_t colon = field.find(':');
    std::string_view name = field.substr(0, colon);
    const std::string_view spec = colon == std::string_view::npos ? std::string_view() : field.substr(colon + 1);
    if (spec.find('{') != std::string_view::npos) refuse("a format within a format is not supported");
    char conversion = 0;
    if (name.size() >= 2 && name[name.size() - 2] == '!') conversion = name.back(), name.remove_suffix(2);
    Value value = fields.find(name);
    if (conversion == 'r') value = Value(repr(value));
    if (conversion == 's') value = Value(to_text(value));
    out += format_value(value, spec);
  }
  return out;
}

}  // namespace kinglet::chat
