#include "cli/team.h"

#include <cmath>
#include <cstdio>

#include "base/try.h"
#include "cli/drafter.h"
#include "cli/generation.h"
#include "cli/output.h"

namespace kinglet {
namespace {

using nlohmann::ordered_json;

constexpr std::string_view kPolicies[] = {"bild", "random", "llmcad"};
constexpr OptionSpec kOptions[] = {
    {.name = "with", .value_name = "SMALL", .help = "A smaller model of the same vocabulary writes too (lossy)"},
    {.name = "policy",
     .kind = OptionKind::kChoice,
     .value_name = "POLICY",
     .help = "With --with: bild, random (for comparison), or llmcad: the small model drafts trees and the answer is "
             "the large one's",
     .fallback = "bild",
     .choices = kPolicies},
    {.name = "fallback",
     .kind = OptionKind::kNumber,
     .value_name = "P",
     .help = "With --with: the small model hands over where its best token is less likely",
     .fallback = "0.6",
     .min = 0,
     .max = 2},
    {.name = "rollback",
     .kind = OptionKind::kNumber,
     .value_name = "D",
     .help = "With --with: the large model undoes tokens whose -log p under it is larger; 0 undoes all that it would "
             "not write itself, so that the answer is its own",
     .fallback = "5",
     .min = 0,
     .max = 1000},
    {.name = "small-max",
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "With --with: most tokens of the small model between two visits of the large one",
     .fallback = "10",
     .min = 1,
     .max = 64},
    {.name = "guard",
     .value_name = "REFERENCE",
     .help = "Another model of the same vocabulary replaces tokens that MODEL likes suspiciously much"},
    {.name = "guard-ratio",
     .kind = OptionKind::kNumber,
     .value_name = "R",
     .help = "With --guard: how many times likelier than the reference finds it a token must be to MODEL",
     .fallback = "20",
     .min = 0,
     .max = 1e300},
    {.name = "route",
     .kind = OptionKind::kFile,
     .value_name = "FILE",
     .help = "MODEL answers where it is sure, otherwise the model that `kinglet route calibrate` wrote into FILE"},
    {.name = "route-threshold",
     .kind = OptionKind::kNumber,
     .value_name = "T",
     .help = "With --route: another threshold of the file's curve; lower keeps more answers of MODEL"},
    {.name = "guard-block",
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "With --guard: tokens of MODEL between two looks of the reference (the answer is the same)",
     .fallback = "4",
     .min = 1,
     .max = 64},
};

constexpr std::string_view kGrammars[] = {"schema", "grammar", "regex", "choice", "tags", "drafter"};

/// Options of an answer that two models together do not heed.
Result<void> refuse_unheeded(const Arguments& arguments, std::string_view who) {
  for (const SamplerDescriptor* sampler : samplers())
    for (const SamplerOption& option : sampler->options)
      if (arguments.given(option.name) && arguments.number(option.name) != option.fallback)
        return fail(ErrorCode::kInvalidArgument,
                    std::string(who) + " answers greedily: --" + std::string(option.name) + " makes no sense here");
  constexpr std::string_view kOthers[] = {"logit-bias", "logprobs", "acceptance"};
  KINGLET_CHECK(refuse_options(arguments, who, kOthers));
  return refuse_options(arguments, who, kGrammars);
}

class PairTeam final : public Team {
 public:
  static Result<std::unique_ptr<Team>> open(const Arguments& arguments, Engine& engine, OpenPair pair) {
    auto team = std::make_unique<PairTeam>();
    Engine& writer = pair.guards ? engine : *pair.other;
    Engine& checker = pair.guards ? *pair.other : engine;
    KINGLET_TRY(team->pair_, ModelPair::create(writer, checker));
    team->opened_ = std::move(pair);
    team->tokenizer_ = &engine.model().tokenizer();
    team->rollback_ = arguments.number("rollback");
    team->ratio_ = arguments.number("guard-ratio");
    team->block_ = static_cast<int>(arguments.integer(team->opened_.guards ? "guard-block" : "small-max"));
    team->measures_ = arguments.flag("json");
    team->policy_ = arguments.text("policy");
    return team;
  }

  Result<TeamAnswer> answer(const GenerateRequest& request, const PromptFor&) override {
    const GenerateOptions& asked = request.options;
    KINGLET_TRY(PairGeneration result, pair_->answer(request.prompt, *opened_.policy,
                                                     {.max_tokens = asked.max_tokens,
                                                      .ignore_eos = asked.ignore_eos,
                                                      .block = block_,
                                                      .stop = asked.stop,
                                                      .measures = measures_,
                                                      .on_text = request.on_text}));
    TeamAnswer answer;
    answer.name = opened_.guards ? "guard" : "pair";
    answer.figures = opened_.guards ? guard_figures(result) : pair_figures(result);
    answer.note = opened_.guards ? guard_note(result) : pair_note(result);
    answer.answer = std::move(result.answer);
    return answer;
  }
  std::uint64_t weights_read() const override { return opened_.other->weights_read(); }

 private:
  ordered_json pair_figures(const PairGeneration& result) const {
    return {{"policy", policy_},
            {"lossy", rollback_ != 0},
            {"visits", result.visits},
            {"rollbacks", result.rollbacks},
            {"small_tokens", result.stood},
            {"wasted", result.wasted},
            {"nll", result.checker_nll}};
  }
  static std::string pair_note(const PairGeneration& result) {
    char line[160];
    std::snprintf(line, sizeof line, "%zu tokens, %lld of them the small model's; %lld visits, %lld rollbacks",
                  result.answer.token_ids.size(), static_cast<long long>(result.stood),
                  static_cast<long long>(result.visits), static_cast<long long>(result.rollbacks));
    return line;
  }

  ordered_json guard_figures(const PairGeneration& result) const {
    auto replaced = ordered_json::array();
    for (const PairReplacement& one : result.replacements) {
      ordered_json ratio = std::exp(one.objection);
      if (!std::isfinite(ratio.get<double>())) ratio = nullptr;  // the reference gives the token no probability
      replaced.push_back({{"position", one.position},
                          {"token", std::string(tokenizer_->piece(one.token))},
                          {"by", std::string(tokenizer_->piece(one.by))},
                          {"ratio", ratio}});
    }
    return {{"ratio", ratio_},
            {"block", block_},
            {"visits", result.visits},
            {"reference_rows", result.checker_rows},
            {"discarded", result.wasted},
            {"nll", result.checker_nll},
            {"replaced", replaced}};
  }
  std::string guard_note(const PairGeneration& result) const {
    char line[160];
    std::snprintf(line, sizeof line, "%zu tokens, %zu replaced by the reference in %lld looks",
                  result.answer.token_ids.size(), result.replacements.size(), static_cast<long long>(result.visits));
    std::string note = line;
    for (std::size_t i = 0; i < std::min<std::size_t>(result.replacements.size(), 8); ++i) {
      const PairReplacement& one = result.replacements[i];
      std::snprintf(line, sizeof line, "%.0f", std::exp(one.objection));
      note += (i == 0 ? ": '" : ", '") + escape_for_terminal(tokenizer_->piece(one.token)) + "' by '" +
              escape_for_terminal(tokenizer_->piece(one.by)) + "' (" + line + "x)";
    }
    return note;
  }

  OpenPair opened_;
  std::unique_ptr<ModelPair> pair_;
  const Tokenizer* tokenizer_ = nullptr;
  double rollback_ = 0, ratio_ = 0;
  int block_ = 1;
  bool measures_ = false;
  std::string policy_;
};

}  // namespace

std::span<const OptionSpec> team_options() { return kOptions; }

Result<void> refuse_options(const Arguments& arguments, std::string_view who,
                            std::span<const std::string_view> options) {
  for (const std::string_view option : options) {
    if (!arguments.given(option)) continue;
    if (option == "drafter" && (arguments.text(option) == "none" || arguments.flag("strategies"))) continue;
    return fail(ErrorCode::kInvalidArgument, std::string(who) + " does not heed --" + std::string(option),
                "Leave one of them away.");
  }
  return {};
}

Result<OpenPair> open_pair(const Arguments& arguments, Engine& engine) {
  OpenPair pair;
  if (!arguments.given("with") && !arguments.given("guard")) return pair;
  if (arguments.given("with") && arguments.text("policy") == "llmcad") {
    if (!arguments.given("guard") && arguments.text("drafter") == "none") return pair;  // a drafter: drafter_spec()
    return fail(ErrorCode::kInvalidArgument, "--policy llmcad is a drafter, and another way to answer is given too",
                "Leave --guard or --drafter away.");
  }
  if (arguments.given("with") && arguments.given("guard"))
    return fail(ErrorCode::kInvalidArgument, "both --with and --guard are given", "Leave one away.");
  pair.guards = arguments.given("guard");
  const std::string name = arguments.text(pair.guards ? "guard" : "with");
  KINGLET_CHECK(refuse_unheeded(arguments, pair.guards ? "--guard" : "--with"));
  KINGLET_TRY(pair.policy, make_pair_policy(pair.guards ? "cleangen" : arguments.text("policy"),
                                            {.fallback = arguments.number("fallback"),
                                             .rollback = arguments.number("rollback"),
                                             .ratio = arguments.number("guard-ratio")}));
  KINGLET_TRY(const auto model, load_model(name, arguments));
  KINGLET_CHECK(check_generates(*model));
  if (!same_vocabulary(*model, engine.model()))
    return fail(ErrorCode::kInvalidArgument, "the two models have different vocabularies",
                pair.guards ? "" : "`--drafter " + name + "` also works between different vocabularies.");
  KINGLET_TRY(pair.other, Engine::create(model, second_engine_options(engine)));
  return pair;
}

Result<std::unique_ptr<Team>> open_team(const Arguments& arguments, Engine& engine) {
  if (arguments.given("route")) {
    if (arguments.given("with") || arguments.given("guard"))
      return fail(ErrorCode::kInvalidArgument, "--route and --with or --guard are given", "Leave one away.");
    KINGLET_CHECK(refuse_options(arguments, "--route", kGrammars));
    return open_route_team(arguments, engine);
  }
  KINGLET_TRY(OpenPair pair, open_pair(arguments, engine));
  if (!pair.other) return std::unique_ptr<Team>();
  return PairTeam::open(arguments, engine, std::move(pair));
}

}  // namespace kinglet
