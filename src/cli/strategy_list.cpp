#include "cli/strategy_list.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/try.h"
#include "cli/drafter.h"
#include "cli/generation.h"
#include "cli/output.h"
#include "cli/parse.h"
#include "kinglet/cache_policy.h"
#include "kinglet/draft.h"
#include "kinglet/pair.h"

namespace kinglet {
namespace {

/// What an entry consists of: options and their values.
using Words = std::vector<std::string>;

std::string joined(const Words& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

std::vector<std::string> pieces(std::string_view text, char separator) {
  std::vector<std::string> list;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(separator, at), text.size());
    if (end > at) list.emplace_back(text.substr(at, end - at));
    at = end + 1;
  }
  return list;
}

/// A drafter's name, or options.
Words entry_words(const std::string& entry) {
  return entry.starts_with("--") ? pieces(entry, ' ') : Words{"--drafter", entry};
}

/// "--with SMALL --policy random" with the model's name in its place.
Words policy_words(const PairPolicyDescriptor& policy, const std::string& small) {
  Words words = pieces(policy.options, ' ');
  for (std::string& word : words)
    if (word == "SMALL" || word == "REFERENCE") word = small;
  return words;
}

/// Every strategy that the registries have, for a model of so many layers and a second one.
std::vector<Words> all_entries(const std::string& small, std::int64_t layers) {
  std::vector<Words> entries;
  for (const DrafterDescriptor* drafter : drafters()) {
    const std::string name(drafter->name);
    if (name == "model") {
      entries.push_back({"--drafter", small});
    } else if (name == "tree") {
      entries.push_back({"--drafter", "tree," + small});
    } else {
      entries.push_back({"--drafter", name});
      if (name == "auto") entries.push_back({"--drafter", "auto," + small});
    }
  }
  for (const PairPolicyDescriptor* policy : pair_policies()) entries.push_back(policy_words(*policy, small));
  for (const CachePolicyDescriptor* policy : cache_policies())
    if (policy->name != "full") entries.push_back({"--cache-policy", std::string(policy->name)});
  for (const char* type : {"int8", "int4"}) entries.push_back({"--cache", type});
  entries.push_back({"--lazy-prefill", "0.3,0.3,0.3"});
  entries.push_back({"--early-exit", std::to_string(std::max<std::int64_t>(1, layers * 5 / 6)) + ":0.9"});
  return entries;
}

/// What was given on the command line without what a strategy brings itself.
Arguments base_arguments(const Arguments& arguments) {
  Arguments base = arguments;
  for (const char* name : {"drafter", "with", "guard", "route", "ffn-skip"}) base.values_.erase(name);
  return base;
}

class Opener {
 public:
  static Result<Opener> make(const Arguments& arguments, std::shared_ptr<const Model> model) {
    Opener opener;
    opener.base_ = base_arguments(arguments);
    opener.model_ = std::move(model);
    KINGLET_TRY(const EngineOptions options, engine_options(opener.base_));
    KINGLET_TRY(opener.engine_, Engine::create(opener.model_, options));
    return opener;
  }

  Result<Strategy> open(const Words& words) const {
    Arguments arguments = base_;
    KINGLET_CHECK(add(words, arguments));
    Strategy strategy{.name = words[0] == "--drafter" ? words[1] : joined(words), .options = {}, .engine = engine_};
    KINGLET_TRY(strategy.options, generate_options(arguments));
    if (!arguments.given("max-tokens")) strategy.options.max_tokens = 128;
    if (changes_engine(words)) {
      KINGLET_TRY(const EngineOptions options, engine_options(arguments));
      std::shared_ptr<const Model> model = model_;
      if (std::find(words.begin(), words.end(), "--weight-memory") != words.end()) {
        KINGLET_TRY(model, load_model(arguments.positional()[0], arguments));
      }
      KINGLET_TRY(strategy.engine, Engine::create(model, options));
    }
    KINGLET_CHECK(open_drafter(drafter_spec(arguments), arguments, *strategy.engine, strategy.options));
    KINGLET_TRY(strategy.team, open_team(arguments, *strategy.engine));
    return strategy;
  }

 private:
  Result<void> add(const Words& words, Arguments& arguments) const {
    std::vector<std::string_view> line = {arguments.positional()[0]};
    line.insert(line.end(), words.begin(), words.end());
    KINGLET_TRY(const Arguments own, parse_arguments(*find_command("bench"), line));
    for (const auto& [name, values] : own.values_) arguments.values_[name] = values;
    return {};
  }

  static bool changes_engine(const Words& words) {
    for (const OptionSpec& option : engine_option_specs())
      if (std::find(words.begin(), words.end(), "--" + std::string(option.name)) != words.end()) return true;
    return false;
  }

  Arguments base_;
  std::shared_ptr<const Model> model_;
  std::shared_ptr<Engine> engine_;
};

std::vector<Words> wanted_entries(const Arguments& arguments) {
  std::vector<Words> entries;
  if (arguments.given("only")) {
    for (const std::string& entry : pieces(arguments.text("only"), ';'))
      if (entry != "none") entries.push_back(entry_words(entry));
  } else {
    for (const char* name : {"ngram", "layers", "auto"}) entries.push_back({"--drafter", name});
    if (const Words given = {"--drafter", arguments.text("drafter")};
        given[1] != "none" && std::find(entries.begin(), entries.end(), given) == entries.end())
      entries.push_back(given);
  }
  Words team;
  for (const char* name : {"with", "guard", "route"})
    if (arguments.given(name)) team.insert(team.end(), {"--" + std::string(name), arguments.text(name)});
  if (!team.empty()) entries.push_back(team);
  if (arguments.given("ffn-skip")) entries.push_back({"--ffn-skip", arguments.text("ffn-skip")});
  return entries;
}

}  // namespace

Result<Generation> Strategy::answer(std::vector<TokenId> prompt, const PromptFor& again) const {
  std::vector<GenerateRequest> requests(1);
  requests[0].prompt = std::move(prompt);
  requests[0].options = options;
  if (team) {
    KINGLET_TRY(TeamAnswer answered, team->answer(requests[0], again));
    return std::move(answered.answer);
  }
  KINGLET_TRY(auto results, generate(*engine, std::move(requests)));
  return std::move(results[0]);
}

std::uint64_t Strategy::weights_read() const {
  return engine->weights_read() + (team ? team->weights_read() : 0) +
         (options.draft_model && options.draft_model->engine ? options.draft_model->engine->weights_read() : 0);
}

Result<std::vector<Strategy>> open_strategies(const Arguments& arguments, const std::shared_ptr<const Model>& model) {
  KINGLET_TRY(const Opener opener, Opener::make(arguments, model));
  std::vector<Strategy> strategies;
  KINGLET_TRY(Strategy plain, opener.open({"--drafter", "none"}));
  strategies.push_back(std::move(plain));
  if (arguments.given("pair")) {
    if (arguments.given("only"))
      return fail(ErrorCode::kInvalidArgument, "both --pair and --only are given", "Leave one away.");
    for (const Words& words : all_entries(arguments.text("pair"), model->config().layers)) {
      auto strategy = opener.open(words);
      if (strategy)
        strategies.push_back(std::move(*strategy));
      else if (const ErrorCode code = strategy.error().code;
               code == ErrorCode::kUnsupported || code == ErrorCode::kInvalidArgument)
        note(joined(words) + " is left out: " + strategy.error().message);
      else
        return tl::unexpected<Error>(std::move(strategy).error());
    }
  }
  if (arguments.given("pair") && !arguments.given("ffn-skip") && !arguments.given("route")) return strategies;
  for (const Words& words : wanted_entries(arguments)) {
    const auto known = [&](const Strategy& one) {
      return one.name == (words[0] == "--drafter" ? words[1] : joined(words));
    };
    if (std::any_of(strategies.begin(), strategies.end(), known)) continue;
    KINGLET_TRY(Strategy strategy, opener.open(words));
    strategies.push_back(std::move(strategy));
  }
  return strategies;
}

}  // namespace kinglet
