#include "cli/pair.h"

#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "base/try.h"
#include "cli/drafter.h"
#include "cli/generation.h"
#include "cli/output.h"
#include "kinglet/measure.h"
#include "kinglet/pair.h"

namespace kinglet {
namespace {

constexpr std::string_view kPolicies[] = {"bild"};
constexpr OptionSpec kOptions[] = {
    {.name = "with", .value_name = "SMALL", .help = "A smaller model of the same vocabulary writes too (lossy)"},
    {.name = "policy",
     .kind = OptionKind::kChoice,
     .value_name = "POLICY",
     .help = "With --with: who writes when",
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
};

}  // namespace

std::span<const OptionSpec> pair_options() { return kOptions; }

Result<void> run_pair(const Arguments& arguments, Engine& large, const std::vector<TokenId>& prompt, double load_ms) {
  if (arguments.number("temperature") != 0)
    return fail(ErrorCode::kInvalidArgument, "--with answers greedily: --temperature makes no sense here");
  KINGLET_TRY(const auto model, load_model(arguments.text("with"), arguments));
  if (!same_vocabulary(*model, large.model()))
    return fail(ErrorCode::kInvalidArgument, "the two models have different vocabularies",
                "`--drafter " + arguments.text("with") + "` also works between different vocabularies.");
  KINGLET_TRY(const auto small, Engine::create(model, {.context = large.options().context}));
  const double rollback = arguments.number("rollback");
  const BigLittlePolicy policy(arguments.number("fallback"), rollback, rollback == 0);
  PairOptions options{.max_tokens = arguments.integer("max-tokens"),
                      .ignore_eos = arguments.flag("ignore-eos"),
                      .small_most = static_cast<int>(arguments.integer("small-max")),
                      .on_text = {}};
  const bool json = arguments.flag("json"), terminal = isatty(STDOUT_FILENO) != 0;
  Result<void> printed;
  if (!json)
    options.on_text = [&](std::string_view piece) {
      printed = print_now(terminal ? escape_for_terminal(piece, true) : std::string(piece));
      return printed.has_value();
    };
  KINGLET_TRY(const PairGeneration result, generate_pair(large, *small, prompt, policy, options));
  KINGLET_CHECK(printed);
  if (json) {
    KINGLET_CHECK(print_json(
        {{"text", result.text},
         {"token_ids", result.token_ids},
         {"finish_reason", result.finish_reason},
         {"usage", {{"prompt_tokens", prompt.size()}, {"completion_tokens", result.token_ids.size()}}},
         {"timings", {{"load_ms", load_ms}, {"prefill_ms", result.prefill_ms}, {"decode_ms", result.decode_ms}}},
         {"memory", {{"peak_bytes", peak_memory()}}},
         {"pair",
          {{"policy", arguments.text("policy")},
           {"lossy", rollback != 0},
           {"visits", result.visits},
           {"rollbacks", result.rollbacks},
           {"small_tokens", result.small_tokens},
           {"wasted", result.wasted}}}}));
  } else {
    KINGLET_CHECK(print_now("\n"));
    char line[160];
    std::snprintf(line, sizeof line, "%zu tokens, %lld of them the small model's; %lld visits, %lld rollbacks",
                  result.token_ids.size(), static_cast<long long>(result.small_tokens),
                  static_cast<long long>(result.visits), static_cast<long long>(result.rollbacks));
    note(line);
  }
  if (result.finish_reason == "cancelled") return fail(ErrorCode::kCancelled, "");
  return {};
}

}  // namespace kinglet
