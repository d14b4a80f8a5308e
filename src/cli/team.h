// Several models that answer as one: --with, --guard, --route.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "cli/command.h"
#include "cli/prompt_file.h"
#include "kinglet/generate.h"
#include "kinglet/pair.h"
#include "kinglet/route.h"

namespace kinglet {

/// For run, chat, bench and eval.
std::span<const OptionSpec> team_options();

struct TeamAnswer {
  Generation answer;
  std::string name;                ///< key of `figures` in what --json prints
  nlohmann::ordered_json figures;  ///< who wrote what
  std::string note;                ///< the same in a line for people
};

class Team {
 public:
  virtual ~Team() = default;
  /// Answers the request's prompt, which `prompt` makes once more for a model of another vocabulary, and hands text to
  /// its on_text as soon as it is certain.
  virtual Result<TeamAnswer> answer(const GenerateRequest& request, const PromptFor& prompt) = 0;
  /// Bytes of weights that the models beside the command line's MODEL have read so far.
  virtual std::uint64_t weights_read() const = 0;
};

/// Null where no option asks for a team; `engine` has the MODEL of the command line and must outlive it. Errors:
/// options that the team would not heed, a model of another vocabulary.
Result<std::unique_ptr<Team>> open_team(const Arguments& arguments, Engine& engine);

/// What --route does; `engine` has the cheap model.
Result<std::unique_ptr<Team>> open_route_team(const Arguments& arguments, Engine& engine);
/// kCorrupt where it is no file of `kinglet route calibrate`.
Result<RouteFile> open_route(const std::string& path);
/// kInvalidArgument where an option is given that `who` does not heed.
Result<void> refuse_options(const Arguments& arguments, std::string_view who,
                            std::span<const std::string_view> options);

/// The two models and the policy that --with or --guard names.
struct OpenPair {
  std::unique_ptr<Engine> other;
  std::unique_ptr<PairPolicy> policy;
  bool guards = false;  ///< MODEL writes and the other checks; otherwise the other way round
};
/// Nothing loaded (`other` null) where neither is given.
Result<OpenPair> open_pair(const Arguments& arguments, Engine& engine);

}  // namespace kinglet
