// Alternatives of a JSON Schema to nodes of the automaton.
#include <algorithm>
#include <set>
#include <span>

#include "base/json.h"
#include "base/try.h"
#include "decode/grammar/object_caller.h"
#include "decode/grammar/object_groups.h"
#include "decode/grammar/schema_set.h"

namespace kinglet::grammar {
namespace {

class ChoiceCaller final : public Caller {
 public:
  std::vector<NodeId> parts;
  bool edges(NodeState state, std::vector<Edge>& out) const override {
    if (state.a == 1) return true;
    for (const NodeId part : parts) out.push_back({part, {1, 0}});
    return false;
  }
};

enum Step : std::uint64_t { kBegin, kFirst, kAfterItem, kNextItem, kDone };

class ArrayCaller final : public Caller {
 public:
  std::vector<NodeId> prefix;
  NodeId rest = 0;
  std::uint64_t min = 0, max = kUnbounded;
  Punctuation marks;

  bool edges(NodeState state, std::vector<Edge>& out) const override {
    const std::uint64_t count = state.b;
    const auto item = [&] {
      const NodeId node = count < prefix.size() ? prefix[count] : rest;
      std::uint64_t next = count + 1;
      if (max == kUnbounded) next = std::min<std::uint64_t>(next, std::max<std::uint64_t>(min, prefix.size()));
      out.push_back({node, {kAfterItem, next}});
    };
    switch (state.a) {
      case kBegin:
        out.push_back({marks.open_array, {kFirst, 0}});
        return false;
      case kFirst:
        if (max > 0) item();
        if (min == 0) out.push_back({marks.close_array, {kDone, 0}});
        return false;
      case kAfterItem:
        if (count < max) out.push_back({marks.comma, {kNextItem, count}});
        if (count >= min) out.push_back({marks.close_array, {kDone, 0}});
        return false;
      case kNextItem:
        item();
        return false;
      default:
        return true;
    }
  }
};

std::string key_text(const std::string& name, const std::string& gap) {
  return dump_json(Json(name)) + gap + ":" + gap;
}

class Compiler {
 public:
  Compiler(SchemaSets& sets, const SchemaOptions& options, Machine& machine)
      : sets_(sets), options_(options), machine_(machine), gap_(options.compact ? "" : "\x01") {
    marks_ = {text("[" + gap_), text(gap_ + "]"), text("{" + gap_), text(gap_ + "}"), text(gap_ + "," + gap_)};
  }

  Result<NodeId> compile(GoalId root) {
    const NodeId node = node_of(root);
    for (std::size_t i = 0; i < open_.size(); ++i) {
      const auto [goal, choice] = open_[i];
      KINGLET_TRY(const Union* set, sets_.alternatives(goal));
      std::vector<const ObjectSet*> objects;
      for (const Alternative& a : *set) {
        KINGLET_TRY(const bool possible, sets_.nonempty(a));
        if (!possible) continue;
        if (!sets_.budget().spend(200) || !sets_.budget().hold(300)) return over_budget("a JSON Schema");
        if (a.type == JsonType::kObject) {
          objects.push_back(&a.object);
          continue;
        }
        KINGLET_TRY(const NodeId part, alternative(a));
        if (part != kNothing) choice->parts.push_back(part);
      }
      KINGLET_TRY(const auto groups, group_objects(objects, sets_));
      mix_ = groups.size() <= kMostMixed;
      for (const ObjectGroup& group : groups) KINGLET_CHECK(objects_of(group.base, group.choices, choice->parts));
    }
    return node;
  }

 private:
  /// Properties of several schemas may mix where an object has at most so many alternatives.
  static constexpr std::size_t kMostMixed = 8;
  static constexpr NodeId kNothing = ~NodeId{0};

  NodeId text(const std::string& content) {
    const auto [place, fresh] = texts_.emplace(content, 0);
    if (fresh) place->second = machine_.add(std::make_unique<TextTerminal>(content));
    return place->second;
  }

  NodeId node_of(GoalId goal) {
    const auto [place, fresh] = nodes_.emplace(goal, 0);
    if (fresh) {
      auto choice = std::make_unique<ChoiceCaller>();
      open_.emplace_back(goal, choice.get());
      place->second = machine_.add(std::unique_ptr<const Caller>(std::move(choice)));
    }
    return place->second;
  }

  Result<NodeId> alternative(const Alternative& a) {
    switch (a.type) {
      case JsonType::kNull:
        return text("null");
      case JsonType::kTrue:
        return text("true");
      case JsonType::kFalse:
        return text("false");
      case JsonType::kNumber:
        return machine_.add(std::make_unique<NumberTerminal>(a.number));
      case JsonType::kString: {
        const auto mode = a.string.words ? CharTerminal::Mode::kCanonical : CharTerminal::Mode::kJson;
        auto terminal = std::make_unique<CharTerminal>(a.string.dfa, mode, a.string.min, a.string.max);
        return terminal->empty() ? kNothing : machine_.add(std::move(terminal));
      }
      case JsonType::kArray:
        return array(a.array);
      case JsonType::kObject:
        break;
    }
    return kNothing;
  }

  Result<NodeId> array(const ArraySet& set) {
    auto node = std::make_unique<ArrayCaller>();
    node->marks = marks_;
    node->min = set.min;
    node->max = set.max;
    for (std::size_t i = 0; i < set.prefix.size() && i < node->max; ++i) {
      KINGLET_TRY(const bool some, sets_.satisfiable(set.prefix[i]));
      if (!some)
        node->max = i;
      else
        node->prefix.push_back(node_of(set.prefix[i]));
    }
    if (node->max > node->prefix.size()) {
      KINGLET_TRY(const bool some, sets_.satisfiable(set.rest));
      if (!some)
        node->max = node->prefix.size();
      else
        node->rest = node_of(set.rest);
    }
    if (node->min > node->max) return kNothing;
    return machine_.add(std::unique_ptr<const Caller>(std::move(node)));
  }

  using Presence = std::span<const PresenceChoice>;
  /// Which choices demand and which forbid a property.
  static void mark(Presence choices, const std::string& name, ObjectCaller::Property& property) {
    for (std::size_t c = 0; c < choices.size(); ++c) {
      if (choices[c].required.contains(name)) property.required.set(c);
      if (choices[c].forbidden.contains(name)) property.forbidden.set(c);
    }
  }
  static bool always_forbidden(Presence choices, const ObjectCaller::Property& property) {
    return property.forbidden.count() == choices.size();
  }

  // The further names that choices speak of, and the languages of all others by what their values must meet.
  Result<void> further(const ObjectSet& set, Presence choices, const std::vector<std::string>& declared,
                       ObjectCaller& node) {
    std::vector<DfaPtr> parts;
    std::vector<std::u32string> words;
    for (const auto& name : declared)
      if (auto word = decode_utf8(name)) words.push_back(std::move(*word));
    std::set<std::string, std::less<>> single;
    for (const PresenceChoice& choice : choices)
      for (const auto* names : {&choice.required, &choice.forbidden}) single.insert(names->begin(), names->end());
    for (const auto& name : declared) single.erase(name);
    KINGLET_TRY(const DfaPtr names, sets_.name_language(set.names));
    for (const PropertyGroup& group : set.groups)
      for (const auto& [dfa, goal] : group.patterns) parts.push_back(dfa);
    std::sort(parts.begin(), parts.end());
    parts.erase(std::unique(parts.begin(), parts.end()), parts.end());
    const std::size_t patterns = parts.size();
    for (const auto& name : single) {
      const auto word = decode_utf8(name);
      if (word) words.push_back(*word);
      const GoalId goal = sets_.property_goal(set, name);
      KINGLET_TRY(const bool some, sets_.satisfiable(goal));
      ObjectCaller::Property property{.key = 0, .value = 0, .required = {}, .forbidden = {}, .once = true};
      mark(choices, name, property);
      if (!some || always_forbidden(choices, property) || (names && word && !names->matches(*word))) continue;
      property.key = text(key_text(name, gap_));
      property.value = node_of(goal);
      node.further.push_back(property);
    }
    const auto add = [&](DfaPtr dfa, GoalId goal) -> Result<void> {
      KINGLET_TRY(const bool some, sets_.satisfiable(goal));
      if (!some || (dfa && dfa->empty())) return {};
      KINGLET_TRY(const NodeId key, key_node(std::move(dfa)));
      node.further.push_back({.key = key, .value = node_of(goal)});
      return {};
    };
    if (patterns == 0) {
      std::vector<GoalId> goals;
      for (const PropertyGroup& group : set.groups) goals.push_back(group.other);
      const GoalId goal = sets_.merged(goals);
      KINGLET_TRY(const bool some, sets_.satisfiable(goal));
      if (!some) return {};
      DfaPtr dfa;
      if (!words.empty()) {
        KINGLET_TRY(dfa, make_word_dfa(std::move(words), sets_.budget(), true));
      }
      KINGLET_TRY(dfa, intersect(dfa, names, sets_.budget()));
      return add(std::move(dfa), goal);
    }
    if (names) parts.push_back(names);
    if (!words.empty()) {
      KINGLET_TRY(DfaPtr dfa, make_word_dfa(std::move(words), sets_.budget()));
      parts.push_back(std::move(dfa));
    }
    if (parts.size() > 20) return over_budget("patternProperties");
    const std::int32_t named = names ? 1 << patterns : 0;
    const std::int32_t known = parts.size() > patterns + (names ? 1 : 0) ? 1 << (parts.size() - 1) : 0;
    KINGLET_TRY(const DfaPtr all, classify(parts, sets_.budget()));
    const std::set<std::int32_t> labels(all->label.begin(), all->label.end());
    for (const std::int32_t label : labels) {
      if (label < 0 || (label & named) != named || (label & known) != 0) continue;
      std::vector<GoalId> goals;
      for (const PropertyGroup& group : set.groups) {
        bool met = false;
        for (const auto& [dfa, goal] : group.patterns) {
          const auto at = std::lower_bound(parts.begin(), parts.begin() + static_cast<std::ptrdiff_t>(patterns), dfa);
          if ((label >> (at - parts.begin()) & 1) != 0) goals.push_back(goal), met = true;
        }
        if (!met) goals.push_back(group.other);
      }
      KINGLET_TRY(DfaPtr dfa, with_label(all, label, sets_.budget()));
      KINGLET_CHECK(add(std::move(dfa), sets_.merged(goals)));
    }
    return {};
  }

  /// A key of these names, with its colon.
  Result<NodeId> key_node(DfaPtr dfa) {
    class KeyCaller final : public Caller {
     public:
      NodeId name, colon;
      bool edges(NodeState state, std::vector<Edge>& out) const override {
        if (state.a == 0) out.push_back({name, {1, 0}});
        if (state.a == 1) out.push_back({colon, {2, 0}});
        return state.a == 2;
      }
    };
    auto key = std::make_unique<KeyCaller>();
    key->name = machine_.add(std::make_unique<CharTerminal>(std::move(dfa), CharTerminal::Mode::kJson));
    key->colon = text(gap_ + ":" + gap_);
    return machine_.add(std::unique_ptr<const Caller>(std::move(key)));
  }

  /// Nodes for all choices together, or for some at a time where a state does not hold them all.
  Result<void> objects_of(const ObjectSet& set, Presence choices, std::vector<NodeId>& parts) {
    if (choices.size() <= ObjectCaller::kMostChoices) {
      KINGLET_TRY(auto node, object(set, choices));
      if (node->settle()) {
        const std::size_t properties = node->declared.size() + node->further.size();
        if (!sets_.budget().hold(properties * sizeof(ObjectCaller::Property))) return over_budget("properties");
        if (node->possible()) parts.push_back(machine_.add(std::unique_ptr<const Caller>(std::move(node))));
        return {};
      }
      if (choices.size() == 1)
        return unsupported(options_.any_order
                               ? "any order of more than about 100 properties"
                               : "more than about 100 required properties that \"properties\" does not declare");
    }
    const std::size_t half = choices.size() / 2;
    KINGLET_CHECK(objects_of(set, choices.first(half), parts));
    return objects_of(set, choices.subspan(half), parts);
  }

  Result<std::unique_ptr<ObjectCaller>> object(const ObjectSet& set, Presence choices) {
    auto node = std::make_unique<ObjectCaller>();
    node->marks = marks_;
    node->min = set.min;
    node->max = set.max;
    node->any_order = options_.any_order;
    node->choices = choices.size();
    std::vector<std::string> declared;
    std::set<std::string, std::less<>> known;
    std::size_t properties = 0;
    for (const PropertyGroup& group : set.groups) properties += group.properties.size();
    if (properties > 4000) return over_budget("properties");
    KINGLET_TRY(const DfaPtr names, sets_.name_language(set.names));
    for (std::uint32_t run = 0; run < set.groups.size(); ++run) {
      const PropertyGroup& group = set.groups[run];
      for (const auto& [name, unused] : group.properties) {
        if (!known.insert(name).second) continue;
        declared.push_back(name);
        const GoalId goal = sets_.property_goal(set, name);
        KINGLET_TRY(const bool some, sets_.satisfiable(goal));
        const auto codes = decode_utf8(name);
        ObjectCaller::Property property{.key = 0, .value = 0, .required = {}, .forbidden = {}, .run = mix_ ? run : 0};
        mark(choices, name, property);
        if (!some || always_forbidden(choices, property) || (names && codes && !names->matches(*codes))) continue;
        property.key = text(key_text(name, gap_));
        property.value = node_of(goal);
        node->declared.push_back(property);
      }
    }
    if (node->max != kUnbounded && node->max > 1'000'000) node->max = kUnbounded;
    if (node->min > 1'000'000) return over_budget("minProperties");
    KINGLET_CHECK(further(set, choices, declared, *node));
    return node;
  }

  SchemaSets& sets_;
  const SchemaOptions& options_;
  Machine& machine_;
  std::string gap_;
  bool mix_ = true;
  Punctuation marks_{};
  std::map<std::string, NodeId> texts_;
  std::map<GoalId, NodeId> nodes_;
  std::vector<std::pair<GoalId, ChoiceCaller*>> open_;
};

}  // namespace

Result<void> compile_schema(std::string_view schema, const SchemaOptions& options, Machine& machine, Budget& budget) {
  KINGLET_TRY(const Json root, parse_json(schema, "JSON Schema", {.max_bytes = kMostSchemaBytes}));
  SchemaSets sets(root, budget);
  Compiler compiler(sets, options, machine);
  KINGLET_TRY(machine.root, compiler.compile(sets.goal_of(root)));
  return {};
}

}  // namespace kinglet::grammar
