// Structural tags: free text until a trigger, then one of the tags that begin with it (a schema between two texts),
// then free text again. This is how tool calls are held to their schemas while all else is free.
#include <algorithm>
#include <deque>
#include <map>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/try.h"
#include "decode/grammar/compile.h"

namespace kinglet::grammar {
namespace {

using Json = nlohmann::ordered_json;
constexpr std::size_t kMostTags = 256;
constexpr std::uint64_t kNoLimit = ~std::uint64_t{0};

tl::unexpected<Error> malformed(const std::string& what) {
  return fail(ErrorCode::kInvalidArgument, "tags: " + what,
              R"(Expected {"triggers": [text, …], "tags": [{"begin": text, "schema": …, "end": text}, …]}.)");
}

/// Texts that hold no trigger, or (with `which`) that end with their first trigger, which is this one: the automaton of
/// Aho and Corasick (1975) over the triggers.
Result<DfaPtr> free_text(const std::vector<std::u32string>& triggers, int which, Budget& budget) {
  struct State {
    std::map<char32_t, int> next;
    int fail = 0, trigger = -1;
  };
  std::vector<State> trie(1);
  for (std::size_t t = 0; t < triggers.size(); ++t) {
    int at = 0;
    for (const char32_t c : triggers[t]) {
      if (!budget.spend(4)) return over_budget("triggers");
      const auto [place, fresh] = trie[static_cast<std::size_t>(at)].next.emplace(c, static_cast<int>(trie.size()));
      at = place->second;
      if (fresh) trie.emplace_back();
    }
    if (trie[static_cast<std::size_t>(at)].trigger < 0)
      trie[static_cast<std::size_t>(at)].trigger = static_cast<int>(t);
  }
  const auto step = [&](int at, char32_t c) {
    for (;; at = trie[static_cast<std::size_t>(at)].fail) {
      const auto& next = trie[static_cast<std::size_t>(at)].next;
      if (const auto found = next.find(c); found != next.end()) return found->second;
      if (at == 0) return 0;
    }
  };
  std::deque<int> queue;
  for (const auto& [c, child] : trie[0].next) queue.push_back(child);
  for (; !queue.empty(); queue.pop_front()) {
    const int at = queue.front();
    for (const auto& [c, child] : trie[static_cast<std::size_t>(at)].next) {
      State& below = trie[static_cast<std::size_t>(child)];
      below.fail = step(trie[static_cast<std::size_t>(at)].fail, c);
      if (below.trigger < 0) below.trigger = trie[static_cast<std::size_t>(below.fail)].trigger;
      queue.push_back(child);
    }
  }
  auto dfa = std::make_shared<Dfa>();
  dfa->cuts = {0};
  for (const auto& trigger : triggers)
    for (const char32_t c : trigger) dfa->cuts.push_back(c), dfa->cuts.push_back(c + 1);
  std::sort(dfa->cuts.begin(), dfa->cuts.end());
  dfa->cuts.erase(std::unique(dfa->cuts.begin(), dfa->cuts.end()), dfa->cuts.end());
  for (std::uint32_t code = 0; code < 128; ++code)
    dfa->ascii[code] =
        static_cast<std::uint16_t>(std::upper_bound(dfa->cuts.begin(), dfa->cuts.end(), code) - dfa->cuts.begin() - 1);
  if (!budget.hold(trie.size() * dfa->classes() * 4) || !budget.spend(trie.size() * dfa->classes()))
    return over_budget("triggers");
  dfa->start = 0;
  for (std::size_t s = 0; s < trie.size(); ++s) {
    const int trigger = trie[s].trigger;
    dfa->label.push_back(which < 0 ? (trigger < 0 ? 0 : -1) : (trigger == which ? 0 : -1));
    for (const std::uint32_t cut : dfa->cuts) {
      const int next = trigger >= 0 ? -1 : step(static_cast<int>(s), cut);
      const int there = next < 0 ? -1 : trie[static_cast<std::size_t>(next)].trigger;
      dfa->next.push_back(there < 0 || there == which ? next : -1);
    }
  }
  return DfaPtr(std::move(dfa));
}

/// One text, a node, another text.
class TagCaller final : public Caller {
 public:
  NodeId begin = 0, inner = 0, end = 0;
  bool edges(NodeState state, std::vector<Edge>& out) const override {
    const NodeId parts[] = {begin, inner, end};
    if (state.a < 3) out.push_back({parts[state.a], {state.a + 1, 0}});
    return state.a == 3;
  }
};

/// State a: 0 in free text, 1 at the end, 2 + t after trigger t. State b: how many tags there were, to the larger
/// bound.
class TextCaller final : public Caller {
 public:
  NodeId rest = 0;                         ///< free text without a trigger
  std::vector<NodeId> to_trigger;          ///< free text up to a trigger's end
  std::vector<std::vector<NodeId>> after;  ///< the tags of a trigger
  std::uint64_t at_least = 0, at_most = kNoLimit;
  bool edges(NodeState state, std::vector<Edge>& out) const override {
    if (state.a == 1) return true;
    if (state.a == 0) {
      if (state.b >= at_least) out.push_back({rest, {1, 0}});
      for (std::size_t t = 0; t < to_trigger.size() && state.b < at_most; ++t)
        out.push_back({to_trigger[t], {2 + t, state.b}});
      return false;
    }
    const std::uint64_t next = at_most == kNoLimit ? std::min(state.b + 1, at_least) : state.b + 1;
    for (const NodeId tag : after[state.a - 2]) out.push_back({tag, {0, next}});
    return false;
  }
};

class Compiler {
 public:
  Compiler(const SchemaOptions& options, Machine& machine) : options_(options), machine_(machine) {}

  Result<void> compile(const Json& value) {
    if (!value.is_object()) return malformed("not an object");
    for (const auto& [key, unused] : value.items())
      if (key != "triggers" && key != "tags" && key != "at_least" && key != "at_most")
        return malformed("there is no \"" + key + "\"");
    auto node = std::make_unique<TextCaller>();
    KINGLET_CHECK(bound(value, "at_least", node->at_least));
    KINGLET_CHECK(bound(value, "at_most", node->at_most));
    if (node->at_least > node->at_most) return malformed("\"at_least\" is above \"at_most\"");
    KINGLET_CHECK(read_triggers(value));
    const auto tags = value.find("tags");
    if (tags == value.end() || !tags->is_array() || tags->empty()) return malformed("\"tags\" is no list of tags");
    if (tags->size() > kMostTags) return over_budget("a list of tags");
    node->after.resize(triggers_.size());
    for (const Json& tag : *tags) KINGLET_CHECK(read_tag(tag, *node));
    for (std::size_t t = 0; t < triggers_.size(); ++t) {
      if (node->after[t].empty()) return malformed("no tag begins with the trigger '" + texts_[t] + "'");
      KINGLET_TRY(DfaPtr dfa, free_text(triggers_, static_cast<int>(t), budget_));
      node->to_trigger.push_back(chars(std::move(dfa)));
    }
    KINGLET_TRY(DfaPtr dfa, free_text(triggers_, -1, budget_));
    node->rest = chars(std::move(dfa));
    machine_.root = machine_.add(std::unique_ptr<const Caller>(std::move(node)));
    return {};
  }

 private:
  static Result<void> bound(const Json& value, const char* key, std::uint64_t& out) {
    const auto at = value.find(key);
    if (at == value.end()) return {};
    if (!at->is_number_unsigned() || at->get<std::uint64_t>() > 1'000'000)
      return malformed("\"" + std::string(key) + "\" is no number from 0 to 1000000");
    out = at->get<std::uint64_t>();
    return {};
  }

  Result<void> read_triggers(const Json& value) {
    const auto list = value.find("triggers");
    if (list == value.end() || !list->is_array() || list->empty()) return malformed("\"triggers\" is no list of texts");
    if (list->size() > kMostTags) return over_budget("a list of triggers");
    for (const Json& trigger : *list) {
      if (!trigger.is_string() || trigger.get_ref<const std::string&>().empty())
        return malformed("a trigger is no text");
      texts_.push_back(trigger.get<std::string>());
      auto codes = decode_utf8(texts_.back());
      if (!codes) return malformed("a trigger is not valid UTF-8");
      triggers_.push_back(std::move(*codes));
    }
    for (std::size_t a = 0; a < texts_.size(); ++a)
      for (std::size_t b = 0; b < texts_.size(); ++b)
        if (a != b && texts_[a].find(texts_[b]) != std::string::npos)
          return malformed("the trigger '" + texts_[a] + "' holds the trigger '" + texts_[b] + "'");
    return {};
  }

  Result<void> read_tag(const Json& tag, TextCaller& node) {
    const auto text = [&](const char* key) -> const std::string* {
      const auto at = tag.find(key);
      return at != tag.end() && at->is_string() ? &at->get_ref<const std::string&>() : nullptr;
    };
    if (!tag.is_object() || text("begin") == nullptr || text("end") == nullptr || text("end")->empty() ||
        !tag.contains("schema"))
      return malformed("a tag has \"begin\", \"schema\" and \"end\"");
    const std::string& begin = *text("begin");
    const auto trigger =
        std::find_if(texts_.begin(), texts_.end(), [&](const auto& t) { return begin.starts_with(t); });
    if (trigger == texts_.end()) return malformed("the tag '" + begin + "' begins with no trigger");
    auto caller = std::make_unique<TagCaller>();
    KINGLET_CHECK(compile_schema(dump_json(tag["schema"]), options_, machine_, budget_));
    caller->inner = machine_.root;
    // Texts are words of one automaton, so that '\x01' in them is no gap.
    KINGLET_TRY(caller->begin, word(begin.substr(trigger->size())));
    KINGLET_TRY(caller->end, word(*text("end")));
    node.after[static_cast<std::size_t>(trigger - texts_.begin())].push_back(
        machine_.add(std::unique_ptr<const Caller>(std::move(caller))));
    return {};
  }

  Result<NodeId> word(const std::string& text) {
    auto codes = decode_utf8(text);
    if (!codes) return malformed("a tag is not valid UTF-8");
    KINGLET_TRY(DfaPtr dfa, make_word_dfa({std::move(*codes)}, budget_));
    return chars(std::move(dfa));
  }
  NodeId chars(DfaPtr dfa) {
    return machine_.add(std::make_unique<CharTerminal>(std::move(dfa), CharTerminal::Mode::kPlain));
  }

  const SchemaOptions& options_;
  Machine& machine_;
  Budget budget_;
  std::vector<std::string> texts_;
  std::vector<std::u32string> triggers_;
};

}  // namespace

Result<void> compile_tags(std::string_view tags, const SchemaOptions& options, Machine& machine) {
  KINGLET_TRY(const Json value, parse_json(tags, "tags", {.max_bytes = kMostSchemaBytes}));
  return Compiler(options, machine).compile(value);
}

}  // namespace kinglet::grammar
