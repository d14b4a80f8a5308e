#include "compress/recipe/yaml.h"

#include <utf8proc.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <sstream>
#include <string>
#include <unordered_set>

#include "base/try.h"

namespace kinglet {
namespace {

constexpr std::size_t kMostBytes = 1 << 20;  // recipes are written by hand or name each tensor of a model
constexpr int kMostValues = 100'000, kMostLevels = 32;

// Counts what the parser sees before any tree exists: aliases could unfold to more than memory holds.
class Guard : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override { count(mark); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { refuse(mark, "aliases (*name) are not used here"); }
  void OnScalar(const YAML::Mark& mark, const std::string&, YAML::anchor_t, const std::string&) override {
    count(mark);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
    enter(mark);
  }
  void OnSequenceEnd() override { --level_; }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
    enter(mark);
  }
  void OnMapEnd() override { --level_; }

 private:
  void count(const YAML::Mark& mark) {
    if (++values_ > kMostValues) refuse(mark, "more than 100,000 values");
  }
  void enter(const YAML::Mark& mark) {
    count(mark);
    if (++level_ > kMostLevels) refuse(mark, "more than 32 levels");
  }
  [[noreturn]] static void refuse(const YAML::Mark& mark, const std::string& what) {
    throw YAML::ParserException(mark, what);
  }
  int values_ = 0, level_ = 0;
};

/// The first byte of `text` that begins no UTF-8 character of which `take` holds; its size where there is none.
template <typename Take>
std::size_t first_other(std::string_view text, const Take& take) {
  std::size_t at = 0;
  while (at < text.size()) {
    utf8proc_int32_t code = 0;
    const utf8proc_ssize_t bytes = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data() + at),
                                                    static_cast<utf8proc_ssize_t>(text.size() - at), &code);
    if (bytes <= 0 || !take(code)) break;
    at += static_cast<std::size_t>(bytes);
  }
  return at;
}

/// Bytes that are no UTF-8 the library would write back as something else.
std::size_t ill_formed(std::string_view text) {
  return first_other(text, [](std::int32_t) { return true; });
}

/// No name, path or number has control characters (a path would end at a zero), and what Unicode calls
/// noncharacters the library writes as something else. They come as escapes ("\x01") or as they are.
Result<void> check_characters(std::string_view text, std::string_view place, int line) {
  const auto is_usual = [](std::int32_t code) {
    const bool is_control = (code < 0x20 && code != '\t' && code != '\n') || (code >= 0x7F && code < 0xA0);
    return !is_control && (code & 0xFFFE) != 0xFFFE && (code < 0xFDD0 || code > 0xFDEF);
  };
  if (first_other(text, is_usual) == text.size()) return {};
  return fail(ErrorCode::kInvalidArgument, "a control character, or one that Unicode has no use for", "",
              place_of(place, line));
}

Result<RecipeNode> convert(const YAML::Node& from, std::string_view place) {
  RecipeNode node;
  node.line = from.Mark().line + 1;
  if (from.IsScalar()) {
    node.text = from.Scalar();
    KINGLET_CHECK(check_characters(node.text, place, node.line));
  } else if (from.IsSequence()) {
    node.kind = RecipeNode::Kind::kList;
    for (const auto& item : from) {
      KINGLET_TRY(RecipeNode child, convert(item, place));
      node.items.push_back(std::move(child));
    }
  } else if (from.IsMap()) {
    node.kind = RecipeNode::Kind::kMap;
    std::unordered_set<std::string> seen;
    for (const auto& entry : from) {
      const int line = entry.first.Mark().line + 1;
      if (!entry.first.IsScalar())
        return fail(ErrorCode::kInvalidArgument, "expected a word before the colon", "", place_of(place, line));
      KINGLET_CHECK(check_characters(entry.first.Scalar(), place, line));
      if (!seen.insert(entry.first.Scalar()).second)
        return fail(ErrorCode::kInvalidArgument, "'" + entry.first.Scalar() + "' stands twice", "",
                    place_of(place, line));
      KINGLET_TRY(RecipeNode child, convert(entry.second, place));
      if (child.line <= 0 || child.kind == RecipeNode::Kind::kScalar) child.line = line;
      node.keys.push_back(entry.first.Scalar());
      node.items.push_back(std::move(child));
    }
  }
  return node;
}

bool is_letter_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

/// Only text that can mean nothing else goes without quotes: the emitter itself leaves "a:" bare as a key.
void emit_text(YAML::Emitter& out, const std::string& text) {
  const auto plain = [](char c) { return is_letter_or_digit(c) || c == '_' || c == '.' || c == '-' || c == '/'; };
  if (text.empty() || !is_letter_or_digit(text[0]) || !std::all_of(text.begin(), text.end(), plain))
    out << YAML::DoubleQuoted;
  out << text;
}

void emit(YAML::Emitter& out, const RecipeNode& node) {
  switch (node.kind) {
    case RecipeNode::Kind::kScalar:
      emit_text(out, node.text);
      return;
    case RecipeNode::Kind::kList:
      out << YAML::BeginSeq;
      for (const RecipeNode& item : node.items) emit(out, item);
      out << YAML::EndSeq;
      return;
    case RecipeNode::Kind::kMap:
      out << YAML::BeginMap;
      for (std::size_t i = 0; i < node.keys.size(); ++i) {
        out << YAML::Key;
        emit_text(out, node.keys[i]);
        out << YAML::Value;
        emit(out, node.items[i]);
      }
      out << YAML::EndMap;
  }
}

}  // namespace

std::string place_of(std::string_view place, int line) {
  return std::string(place) + (line > 0 ? ":" + std::to_string(line) : "");
}

Result<RecipeNode> parse_yaml(std::string_view text, std::string_view place) {
  if (text.size() > kMostBytes) return fail(ErrorCode::kExhausted, "more than 1 MiB", "", std::string(place));
  if (const std::size_t at = ill_formed(text); at < text.size()) {
    const auto line = std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n') + 1;
    return fail(ErrorCode::kInvalidArgument, "a byte that is no UTF-8", "", place_of(place, static_cast<int>(line)));
  }
  try {
    std::istringstream guarded{std::string(text)};
    YAML::Parser parser(guarded);
    Guard guard;
    while (parser.HandleNextDocument(guard)) {
    }
    const std::vector<YAML::Node> documents = YAML::LoadAll(std::string(text));
    if (documents.size() > 1)
      return fail(ErrorCode::kInvalidArgument, "expected one document, found several", "", std::string(place));
    if (documents.empty()) return RecipeNode{};
    return convert(documents.front(), place);
  } catch (const YAML::Exception& error) {
    return fail(ErrorCode::kInvalidArgument, error.msg, "", place_of(place, error.mark.line + 1));
  }
}

std::string yaml_text(const RecipeNode& node) {
  YAML::Emitter out;
  emit(out, node);
  return std::string(out.c_str()) + "\n";
}

}  // namespace kinglet
