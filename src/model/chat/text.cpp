// Values as text: str(), repr() and JSON.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "model/chat/merge_sort.h"
#include "model/chat/unicode.h"
#include "model/chat/value.h"

namespace kinglet::chat {
namespace {

void append_escape(std::string& out, const char* pattern, std::int32_t point) {
  char text[16];
  std::snprintf(text, sizeof text, pattern, static_cast<unsigned>(point));
  out += text;
}

std::string quoted(std::string_view text) {
  charge(text.size() * 4);
  const char quote = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos ? '"' : '\'';
  std::string out(1, quote);
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t start = i;
    const std::int32_t point = next_point(text, i);
    if (point == quote || point == '\\') {
      out += '\\';
      out += static_cast<char>(point);
    } else if (point == '\n') {
      out += "\\n";
    } else if (point == '\r') {
      out += "\\r";
    } else if (point == '\t') {
      out += "\\t";
    } else if (point < 0) {
      append_escape(out, "\\x%02x", static_cast<unsigned char>(text[start]));
    } else if (!is_printable(point)) {
      append_escape(out, point < 0x100 ? "\\x%02x" : point < 0x10000 ? "\\u%04x" : "\\U%08x", point);
    } else {
      out += text.substr(start, i - start);
    }
  }
  return out + quote;
}

// Appends and keeps a text from growing without bound.
void append(std::string& out, std::string_view part) {
  charge(part.size());
  if (out.size() + part.size() > kOutputBytes)
    throw TemplateError(ErrorCode::kExhausted, "the chat template makes a text of more than 64 MiB");
  out += part;
}

std::string list_repr(const Sequence& list, int depth) {
  if (list.kind == Sequence::Kind::kRange) return list.label;
  if (list.kind == Sequence::Kind::kIterator) return "<" + (list.label.empty() ? "generator" : list.label) + " object>";
  std::string out = list.kind == Sequence::Kind::kTuple    ? "("
                    : list.kind == Sequence::Kind::kKeys   ? "dict_keys(["
                    : list.kind == Sequence::Kind::kValues ? "dict_values(["
                    : list.kind == Sequence::Kind::kItems  ? "dict_items(["
                                                           : "[";
  for (std::size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) out += ", ";
    append(out, repr(list.items[i], depth + 1));
  }
  if (list.kind == Sequence::Kind::kTuple) return out + (list.items.size() == 1 ? ",)" : ")");
  return out + (list.kind == Sequence::Kind::kList ? "]" : "])");
}

void json_string(std::string& out, std::string_view text, bool ensure_ascii) {
  charge(text.size() * 4);
  out += '"';
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t start = i;
    const std::int32_t point = next_point(text, i);
    static constexpr std::string_view kNamed = "\"\\\n\r\t\f\b", kLetters = "\"\\nrtfb";
    if (const auto named = point > 0 && point < 128 ? kNamed.find(static_cast<char>(point)) : std::string_view::npos;
        named != std::string_view::npos) {
      out += '\\';
      out += kLetters[named];
    } else if (point < 0) {
      out += "\xEF\xBF\xBD";
    } else if (point < 0x20) {
      append_escape(out, "\\u%04x", point);
    } else if (ensure_ascii && point >= 0x10000) {
      append_escape(out, "\\u%04x", 0xD800 + ((point - 0x10000) >> 10));
      append_escape(out, "\\u%04x", 0xDC00 + ((point - 0x10000) & 0x3FF));
    } else if (ensure_ascii && point >= 0x80) {
      append_escape(out, "\\u%04x", point);
    } else {
      out += text.substr(start, i - start);
    }
  }
  out += '"';
  if (out.size() > kOutputBytes)
    throw TemplateError(ErrorCode::kExhausted, "the chat template makes a text of more than 64 MiB");
}

std::string json_number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  return float_text(value);
}

std::string json_key(const Value& key) {
  if (const std::string* text = key.text()) return *text;
  if (key.is_none()) return "null";
  if (const bool* flag = key.get<bool>()) return *flag ? "true" : "false";
  if (const auto integer = key.integer()) return std::to_string(*integer);
  if (const auto number = key.number()) return json_number(*number);
  refuse("keys must be str, int, float, bool or None, not " + type_name(key));
}

class JsonWriter {
 public:
  explicit JsonWriter(const JsonStyle& style) : style_(style) {}

  void write(const Value& value, int depth) {
    charge(0);
    if (depth > kDepth) throw TemplateError(ErrorCode::kExhausted, "tojson: values are nested too deep");
    if (value.is_none()) return put("null");
    if (const bool* flag = value.get<bool>()) return put(*flag ? "true" : "false");
    if (const auto integer = value.integer()) return put(std::to_string(*integer));
    if (const double* number = value.get<double>()) return put(json_number(*number));
    if (const std::string* text = value.text()) return json_string(out, *text, style_.ensure_ascii);
    if (const Dict* dict = value.dict()) return write_dict(*dict, depth);
    if (const Sequence* list = value.sequence();
        list != nullptr && (list->kind == Sequence::Kind::kList || list->kind == Sequence::Kind::kTuple))
      return write_list(*list, depth);
    refuse("Object of type " + type_name(value) + " is not JSON serializable");
  }
  std::string out;

 private:
  void put(std::string_view part) { append(out, part); }

  void line(int depth) {
    if (!style_.indent) return;
    out += '\n';
    for (int i = 0; i < depth; ++i) put(*style_.indent);
  }

  void write_list(const Sequence& list, int depth) {
    if (list.items.empty()) return put("[]");
    out += '[';
    for (std::size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) put(style_.item_separator);
      line(depth + 1);
      write(list.items[i], depth + 1);
    }
    line(depth);
    out += ']';
  }

  void write_dict(const Dict& dict, int depth) {
    if (dict.entries.empty()) return put("{}");
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    charge(entries.size() * 64);
    if (style_.sort_keys)
      merge_sort(entries, [](const auto* a, const auto* b) { return compare(a->first, b->first, "<") < 0; });
    out += '{';
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) put(style_.item_separator);
      line(depth + 1);
      json_string(out, json_key(entries[i]->first), style_.ensure_ascii);
      put(style_.key_separator);
      write(entries[i]->second, depth + 1);
    }
    line(depth);
    out += '}';
  }

  const JsonStyle& style_;
};

}  // namespace

std::string to_text(const Value& value) {
  if (const std::string* text = value.text()) {
    charge(text->size());
    return *text;
  }
  return value.is_undefined() ? std::string() : repr(value);
}

std::string repr(const Value& value, int depth) {
  charge(0);
  if (depth > kDepth) throw TemplateError(ErrorCode::kExhausted, "a value is nested too deep to be printed");
  if (value.is_undefined()) return "Undefined";
  if (value.is_none()) return "None";
  if (const bool* flag = value.get<bool>()) return *flag ? "True" : "False";
  if (const auto integer = value.integer()) return std::to_string(*integer);
  if (const double* number = value.get<double>()) return float_text(*number);
  if (const std::string* text = value.text()) return quoted(*text);
  if (const Sequence* list = value.sequence()) return list_repr(*list, depth);
  if (const Dict* dict = value.dict()) {
    std::string out = "{";
    for (std::size_t i = 0; i < dict->entries.size(); ++i) {
      if (i > 0) out += ", ";
      append(out, repr(dict->entries[i].first, depth + 1) + ": ");
      append(out, repr(dict->entries[i].second, depth + 1));
    }
    return out + "}";
  }
  return value.object()->repr();
}

std::string to_json(const Value& value, const JsonStyle& style) {
  JsonWriter writer(style);
  writer.write(value, 0);
  return std::move(writer.out);
}

}  // namespace kinglet::chat
