// References, and what can be asked of alternatives: whether a value meets them, what a property must meet.
#include <algorithm>

#include "base/try.h"
#include "decode/grammar/schema_set.h"

namespace kinglet::grammar {
namespace {

// "http://host/a/b" and "c" give "http://host/a/c"; enough of RFC 3986 for identifiers of schemas.
std::string join_uri(const std::string& base, std::string_view part) {
  const std::size_t colon = part.find(':');
  if (colon != std::string_view::npos && part.substr(0, colon).find('/') == std::string_view::npos)
    return std::string(part);
  const std::size_t scheme = base.find("://");
  if (part.starts_with('/')) {
    const std::size_t path = scheme == std::string::npos ? std::string::npos : base.find('/', scheme + 3);
    return (scheme == std::string::npos ? "" : base.substr(0, path)) + std::string(part);
  }
  if (part.empty()) return base;
  const std::size_t slash = base.rfind('/');
  if (part.starts_with("./")) part.remove_prefix(2);
  return slash == std::string::npos ? std::string(part) : base.substr(0, slash + 1) + std::string(part);
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  const auto hex = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex(text[i + 1]) >= 0 && hex(text[i + 2]) >= 0) {
      out += static_cast<char>(hex(text[i + 1]) * 16 + hex(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

const Json* follow(const Json* at, std::string_view pointer) {
  while (!pointer.empty()) {
    pointer.remove_prefix(1);
    const std::size_t slash = pointer.find('/');
    std::string key;
    const std::string_view raw = pointer.substr(0, slash);
    for (std::size_t i = 0; i < raw.size(); ++i) {
      if (raw[i] == '~' && i + 1 < raw.size())
        key += raw[++i] == '1' ? '/' : '~';
      else
        key += raw[i];
    }
    pointer = slash == std::string_view::npos ? std::string_view() : pointer.substr(slash);
    if (at->is_object()) {
      const auto it = at->find(key);
      if (it == at->end()) return nullptr;
      at = &*it;
    } else if (at->is_array()) {
      std::size_t index = 0;
      if (key.empty() || key.size() > 6) return nullptr;
      for (const char c : key) {
        if (c < '0' || c > '9') return nullptr;
        index = index * 10 + static_cast<std::size_t>(c - '0');
      }
      if (index >= at->size()) return nullptr;
      at = &(*at)[index];
    } else {
      return nullptr;
    }
  }
  return at;
}

}  // namespace

void SchemaSets::index(const Json& value, const Json* base, std::string uri, int depth) {
  if (depth > 128) return;
  if (value.is_array()) {
    for (const Json& part : value) index(part, base, uri, depth + 1);
    return;
  }
  if (!value.is_object()) return;
  for (const char* keyword : {"$id", "id"})
    if (const auto id = value.find(keyword); id != value.end() && id->is_string()) {
      const std::string& text = id->get_ref<const std::string&>();
      if (keyword[0] == 'i' && text.find(':') == std::string::npos) continue;  // "id" also names properties
      if (text.starts_with('#')) {
        anchors_.emplace(uri + text, &value);
        continue;
      }
      uri = join_uri(uri, text.substr(0, text.find('#')));
      base = &value;
      anchors_.emplace(uri, &value);
    }
  for (const char* keyword : {"$anchor", "$dynamicAnchor"})
    if (const auto anchor = value.find(keyword); anchor != value.end() && anchor->is_string())
      anchors_.emplace(uri + "#" + anchor->get_ref<const std::string&>(), &value);
  if (value.contains("$ref")) bases_.emplace(&value, std::pair(base, uri));
  for (const auto& [key, part] : value.items())
    if (key != "const" && key != "enum" && key != "default" && key != "examples") index(part, base, uri, depth + 1);
}

Result<const Json*> SchemaSets::resolve(const Json& schema, std::string_view ref) {
  const auto base = bases_.find(&schema);
  const Json* at = base == bases_.end() ? &root_ : base->second.first;
  const std::string uri = base == bases_.end() ? "" : base->second.second;
  const std::size_t hash = ref.find('#');
  const std::string_view path = ref.substr(0, hash);
  const std::string fragment = hash == std::string_view::npos ? "" : percent_decoded(ref.substr(hash + 1));
  const std::string whole = join_uri(uri, path);
  if (!path.empty()) {
    const auto there = anchors_.find(whole);
    if (there == anchors_.end())
      return unsupported("a \"$ref\" to another document (" + std::string(ref.substr(0, 80)) + ")");
    at = there->second;
  }
  if (fragment.empty()) return at;
  if (fragment[0] == '/') {
    if (const Json* found = follow(at, fragment)) return found;
  } else if (const auto found = anchors_.find(whole + "#" + fragment); found != anchors_.end()) {
    return found->second;
  }
  return fail(ErrorCode::kInvalidArgument, "JSON Schema: \"$ref\" leads nowhere: " + std::string(ref.substr(0, 80)));
}

GoalId SchemaSets::property_goal(const ObjectSet& object, std::string_view name) const {
  auto& self = const_cast<SchemaSets&>(*this);  // interning a goal changes nothing that can be seen
  GoalId all = 0;
  const auto codes = decode_utf8(name);
  for (const PropertyGroup& group : object.groups) {
    bool met = false;
    for (const auto& [property, value] : group.properties)
      if (property == name) all = self.both(all, value), met = true;
    for (const auto& [dfa, value] : group.patterns)
      if (codes && dfa->matches(*codes)) all = self.both(all, value), met = true;
    if (!met) all = self.both(all, group.other);
  }
  return all;
}

Result<DfaPtr> SchemaSets::name_language(GoalId names) {
  if (names == 0) return DfaPtr();
  KINGLET_TRY(const Union* set, alternatives(names));
  DfaPtr none;  // the complement of what is allowed, met over the alternatives
  bool any = false;
  for (const Alternative& a : *set) {
    if (a.type != JsonType::kString) continue;
    any = true;
    DfaPtr one = a.string.dfa;
    if (a.string.min > 0 || a.string.max != kUnbounded) {
      if (a.string.min > 5000 || (a.string.max != kUnbounded && a.string.max > 5000))
        return over_budget("propertyNames");
      const AstPtr length = ast_repeat(ast_chars({{0, kLastCodePoint}}), static_cast<int>(a.string.min),
                                       a.string.max == kUnbounded ? -1 : static_cast<int>(a.string.max));
      KINGLET_TRY(const DfaPtr bounded, make_dfa(length, false, budget_));
      KINGLET_TRY(one, intersect(one, bounded, budget_));
    }
    if (!one) return DfaPtr();
    KINGLET_TRY(const DfaPtr rest, complement(one, budget_));
    KINGLET_TRY(none, intersect(none, rest, budget_));
  }
  if (!any) return make_word_dfa({}, budget_);
  return complement(none, budget_);
}

Result<bool> SchemaSets::name_allowed(GoalId names, std::string_view name) {
  if (names == 0) return true;
  KINGLET_TRY(const DfaPtr dfa, name_language(names));
  const auto codes = decode_utf8(name);
  return codes && (!dfa || dfa->matches(*codes));
}

Result<bool> SchemaSets::satisfiable(GoalId id) {
  if (id == 0) return true;
  if (const auto known = satisfiable_.find(id); known != satisfiable_.end()) return known->second;
  // What needs itself cannot be built: false while it is being decided, and then not remembered.
  if (deciding_.contains(id)) {
    met_cycle_ = true;
    return false;
  }
  if (!budget_.spend(100)) return over_budget("a JSON Schema");
  if (++depth_ > 200) return over_budget("nesting of schemas");
  deciding_[id] = true;
  const bool cycle_before = met_cycle_;
  met_cycle_ = false;
  KINGLET_TRY(const Union* set, alternatives(id));
  bool some = false;
  for (const Alternative& a : *set) {
    KINGLET_TRY(some, nonempty(a));
    if (some) break;
  }
  deciding_.erase(id);
  --depth_;
  if (some || !met_cycle_ || deciding_.empty()) satisfiable_[id] = some;
  met_cycle_ = cycle_before || (met_cycle_ && !some);
  return some;
}

Result<bool> SchemaSets::nonempty(const Alternative& a) {
  if (a.type == JsonType::kNumber) return !a.number.empty();
  if (a.type == JsonType::kString)
    return !CharTerminal(a.string.dfa, CharTerminal::Mode::kPlain, a.string.min, a.string.max).empty();
  if (a.type == JsonType::kArray) {
    for (std::uint64_t i = 0; i < std::min<std::uint64_t>(a.array.min, a.array.prefix.size() + 1); ++i) {
      KINGLET_TRY(const bool item, satisfiable(i < a.array.prefix.size() ? a.array.prefix[i] : a.array.rest));
      if (!item) return false;
    }
    return true;
  }
  if (a.type != JsonType::kObject) return true;
  if (a.object.required.size() > a.object.max) return false;
  for (const std::string& name : a.object.required) {
    KINGLET_TRY(const bool value, satisfiable(property_goal(a.object, name)));
    KINGLET_TRY(const bool named, name_allowed(a.object.names, name));
    if (!value || !named) return false;
  }
  return true;
}

}  // namespace kinglet::grammar
