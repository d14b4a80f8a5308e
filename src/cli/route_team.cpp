// --route FILE: a cheap model answers, an accurate one where that is unsure.
#include <cstdio>
#include <optional>
#include <utility>

#include "base/interrupt.h"
#include "base/try.h"
#include "cli/generation.h"
#include "cli/team.h"
#include "decode/route/score_meter.h"

namespace kinglet {
namespace {

Result<void> check_model(const std::string& name, const std::string& expected, const std::string& path) {
  KINGLET_TRY(const std::string digest, model_digest(name));
  if (expected.empty() || digest.empty() || digest == expected) return {};
  return fail(ErrorCode::kUnsupported, "the file was calibrated with another model than " + name,
              "Scores shift with every change of a model: calibrate again with `kinglet route calibrate`.", path);
}

class RouteTeam final : public Team {
 public:
  static Result<std::unique_ptr<Team>> open(const Arguments& arguments, Engine& engine) {
    auto team = std::make_unique<RouteTeam>();
    const std::string path = arguments.text("route");
    KINGLET_TRY(team->route_, open_route(path));
    if (!team->route_.generates || team->route_.super.empty())
      return fail(ErrorCode::kInvalidArgument, "the file was calibrated for choices, not for texts",
                  "Calibrate with {\"prompt\",\"answer\"} lines.", path);
    KINGLET_CHECK(check_model(arguments.positional()[0], team->route_.swift_sha256, path));
    KINGLET_CHECK(check_model(team->route_.super, team->route_.super_sha256, path));
    KINGLET_TRY(team->score_, find_route_score(team->route_.score));
    KINGLET_TRY(const auto model, load_model(team->route_.super, arguments));
    KINGLET_CHECK(check_generates(*model));
    KINGLET_TRY(team->super_, Engine::create(model, {.context = engine.options().context}));
    KINGLET_TRY(team->prompts_, PromptMaker::make(model, arguments.flag("raw")));
    team->swift_ = &engine;
    if (arguments.given("route-threshold")) team->route_.threshold = arguments.number("route-threshold");
    return team;
  }

  Result<TeamAnswer> answer(const GenerateRequest& request, const PromptFor& prompt) override {
    const auto meter = std::make_shared<ScoreMeter>(std::vector{score_}, route_.steps);
    KINGLET_TRY(auto first, ask_swift(request, meter));
    const double score = meter->mean(0);
    const bool stands = score >= route_.threshold || interrupted() || first.error;
    TeamAnswer team;
    team.name = "route";
    team.figures = {{"by", stands ? "swift" : "super"},
                    {"score", score},
                    {"threshold", route_.threshold},
                    {"swift_tokens", first.decode_tokens},
                    {"super", route_.super}};
    char line[96];
    std::snprintf(line, sizeof line, "%s answered: score %.4g, threshold %.4g",
                  stands ? "the cheap model" : "the accurate model", score, route_.threshold);
    team.note = line;
    if (stands) {
      team.answer = std::move(first);
      return team;
    }
    const double before = first.prefill_ms + first.decode_ms;
    GenerateRequest second = request;
    KINGLET_TRY(second.prompt, prompt(*prompts_));
    std::vector<GenerateRequest> requests;
    requests.push_back(std::move(second));
    KINGLET_TRY(auto results, generate(*super_, std::move(requests)));
    team.answer = std::move(results[0]);
    team.answer.prefill_ms += before;
    return team;
  }
  std::uint64_t weights_read() const override { return super_->weights_read(); }

 private:
  /// Its text is held back until the score has settled; where the accurate model will be asked, it ends there.
  Result<Generation> ask_swift(const GenerateRequest& request, const std::shared_ptr<ScoreMeter>& meter) {
    std::string held;
    bool stands = false;
    GenerateRequest own = request;
    own.processors.insert(own.processors.begin(), meter);
    own.on_text = [&](std::string_view text) {
      if (!stands && meter->settled()) {
        if (meter->mean(0) < route_.threshold) return false;
        stands = true;
      }
      held += text;
      if (!stands) return true;
      const std::string now = std::exchange(held, {});
      return !request.on_text || request.on_text(now);
    };
    std::vector<GenerateRequest> requests;
    requests.push_back(std::move(own));
    KINGLET_TRY(auto results, generate(*swift_, std::move(requests)));
    if (meter->mean(0) >= route_.threshold && !held.empty() && request.on_text) request.on_text(held);
    return std::move(results[0]);
  }

  RouteFile route_;
  const RouteScore* score_ = nullptr;
  Engine* swift_ = nullptr;
  std::unique_ptr<Engine> super_;
  std::optional<PromptMaker> prompts_;  ///< of the accurate model
};

}  // namespace

Result<RouteFile> open_route(const std::string& path) {
  KINGLET_TRY(const auto checkpoint, open_checkpoint(path));
  return read_route_file(*checkpoint);
}

Result<std::unique_ptr<Team>> open_route_team(const Arguments& arguments, Engine& engine) {
  return RouteTeam::open(arguments, engine);
}

}  // namespace kinglet
