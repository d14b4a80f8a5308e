#include "cli/strategies.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/interrupt.h"
#include "base/try.h"
#include "cli/drafter.h"
#include "cli/generation.h"
#include "cli/output.h"
#include "cli/team.h"
#include "decode/prompt.h"
#include "kinglet/measure.h"

namespace kinglet {
namespace {

using nlohmann::ordered_json;

struct Strategy {
  std::string name;
  GenerateOptions options;
  std::unique_ptr<Team> team = nullptr;  ///< answers instead of the model alone
};

/// One strategy on all prompts of one task. Times are sums over the task's prompts, one entry a round.
struct Cell {
  std::string task;
  std::size_t strategy = 0;
  std::vector<double> decode_ms, whole_ms;
  std::int64_t tokens = 0, drafted = 0, accepted = 0, passes = 0;  ///< of the last round
  bool same = true;                                                ///< as plain decoding's tokens in every round
};

class StrategyBench {
 public:
  StrategyBench(const Arguments& arguments, std::shared_ptr<const Model> model, Engine& engine)
      : arguments_(arguments), model_(std::move(model)), engine_(engine) {}

  Result<void> run() {
    KINGLET_CHECK(prepare());
    const int rounds = arguments_.given("rounds") ? static_cast<int>(arguments_.integer("rounds")) : 3;
    for (int round = 0; round < rounds; ++round) {
      for (Cell& cell : cells_) {
        cell.tokens = cell.drafted = cell.accepted = cell.passes = 0;
        cell.decode_ms.push_back(0);
        cell.whole_ms.push_back(0);
      }
      // Prompt by prompt, so that what is compared ran within seconds; who begins changes.
      for (std::size_t prompt = 0; prompt < prompts_.size(); ++prompt) {
        KINGLET_CHECK(one_prompt(prompt, (prompt + static_cast<std::size_t>(round)) % strategies_.size()));
        if (interrupted()) return fail(ErrorCode::kCancelled, "interrupted");
      }
      note("round " + std::to_string(round + 1) + " of " + std::to_string(rounds) + " done");
    }
    return arguments_.flag("json") ? print_json(json()) : print(text());
  }

 private:
  Result<void> prepare();
  Result<Generation> answer(const Strategy& strategy, std::size_t index);
  Result<void> one_prompt(std::size_t index, std::size_t first);
  Cell& cell(const std::string& task, std::size_t strategy);
  const Cell& plain(const Cell& cell) const;
  ordered_json json() const;
  std::string text() const;

  const Arguments& arguments_;
  std::shared_ptr<const Model> model_;
  Engine& engine_;
  std::vector<Strategy> strategies_;
  std::vector<TaskPrompt> prompts_;
  std::vector<std::vector<TokenId>> ids_;
  std::vector<Cell> cells_;
};

Result<void> StrategyBench::prepare() {
  KINGLET_TRY(prompts_, strategy_tasks(arguments_.given("tasks") ? arguments_.text("tasks") : ""));
  KINGLET_TRY(GenerateOptions options, generate_options(arguments_));
  if (!arguments_.given("max-tokens")) options.max_tokens = 128;
  std::vector<std::string> names = {"none", "ngram", "layers", "auto"};
  if (const std::string further = drafter_spec(arguments_);
      std::find(names.begin(), names.end(), further) == names.end())
    names.push_back(further);
  if (arguments_.given("only")) {
    names = {"none"};
    const std::string list = arguments_.text("only");
    for (std::size_t at = 0; at <= list.size();) {
      const std::size_t end = std::min(list.find(';', at), list.size());
      if (const std::string name = list.substr(at, end - at); name != "none") names.push_back(name);
      at = end + 1;
    }
  }
  for (const std::string& name : names) {
    Strategy strategy{.name = name, .options = options};
    KINGLET_CHECK(open_drafter(name, arguments_, engine_, strategy.options));
    strategies_.push_back(std::move(strategy));
  }
  KINGLET_TRY(auto team, open_team(arguments_, engine_));
  if (team) {
    const std::string label = team->label();
    strategies_.push_back({label, options, std::move(team)});
  }
  KINGLET_TRY(const PromptMaker raw, PromptMaker::make(model_, true));
  KINGLET_TRY(const PromptMaker chat, PromptMaker::make(model_, false));
  for (const TaskPrompt& prompt : prompts_) {
    KINGLET_TRY(auto ids, (prompt.raw ? raw : chat).from_text(prompt.text));
    ids_.push_back(std::move(ids));
    for (std::size_t i = 0; i < strategies_.size(); ++i) (void)cell(prompt.task, i);
  }
  return {};
}

Cell& StrategyBench::cell(const std::string& task, std::size_t strategy) {
  for (Cell& known : cells_)
    if (known.task == task && known.strategy == strategy) return known;
  Cell& made = cells_.emplace_back();
  made.task = task;
  made.strategy = strategy;
  return made;
}

Result<Generation> StrategyBench::answer(const Strategy& strategy, std::size_t index) {
  std::vector<GenerateRequest> requests(1);
  requests[0].prompt = ids_[index];
  requests[0].options = strategy.options;
  if (strategy.team) {
    KINGLET_TRY(TeamAnswer team, strategy.team->answer(requests[0], [&](const PromptMaker& maker) {
      return maker.from_text(prompts_[index].text);
    }));
    return std::move(team.answer);
  }
  KINGLET_TRY(auto results, generate(engine_, std::move(requests)));
  return std::move(results[0]);
}

/// Each strategy once, from `first` on; tokens are compared with plain decoding's.
Result<void> StrategyBench::one_prompt(std::size_t index, std::size_t first) {
  std::vector<std::vector<TokenId>> answers(strategies_.size());
  for (std::size_t i = 0; i < strategies_.size(); ++i) {
    const std::size_t at = (first + i) % strategies_.size();
    KINGLET_TRY(const Generation result, answer(strategies_[at], index));
    if (result.error) return tl::unexpected<Error>(*result.error);
    if (result.finish_reason == "cancelled") return fail(ErrorCode::kCancelled, "interrupted");
    Cell& own = cell(prompts_[index].task, at);
    own.decode_ms.back() += result.decode_ms;
    own.whole_ms.back() += result.prefill_ms + result.decode_ms;
    own.tokens += result.decode_tokens;
    own.drafted += result.drafted;
    own.accepted += result.accepted;
    own.passes += result.target_passes - 1;  // the first token comes with the prompt
    answers[at] = result.token_ids;
  }
  for (std::size_t at = 0; at < strategies_.size(); ++at)
    if (answers[at] != answers[0]) cell(prompts_[index].task, at).same = false;
  return {};
}

const Cell& StrategyBench::plain(const Cell& cell) const {
  return *std::find_if(cells_.begin(), cells_.end(),
                       [&](const Cell& other) { return other.task == cell.task && other.strategy == 0; });
}

std::vector<double> ratios(const std::vector<double>& plain, const std::vector<double>& own) {
  std::vector<double> values;
  for (std::size_t i = 0; i < own.size(); ++i)
    if (own[i] > 0) values.push_back(plain[i] / own[i]);
  return values;
}

double median(std::vector<double> values) { return percentile(values, 0.5); }

double share(std::int64_t part, std::int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
}

ordered_json StrategyBench::json() const {
  auto list = ordered_json::array();
  for (const Cell& own : cells_) {
    const auto ratio = ratios(plain(own).decode_ms, own.decode_ms);
    const double ms = median(own.decode_ms);
    const auto [low, high] = std::minmax_element(ratio.begin(), ratio.end());
    list.push_back({{"task", own.task},
                    {"strategy", strategies_[own.strategy].name},
                    {"tokens_per_second", ms > 0 ? 1000 * static_cast<double>(own.tokens) / ms : 0},
                    {"ratio", median(ratio)},
                    {"ratio_min", *low},
                    {"ratio_max", *high},
                    {"whole_ratio", median(ratios(plain(own).whole_ms, own.whole_ms))},
                    {"tokens", own.tokens},
                    {"target_passes", own.passes},
                    {"drafted", own.drafted},
                    {"accepted", own.accepted},
                    {"same_tokens", own.same}});
  }
  return {{"strategies", list}};
}

std::string StrategyBench::text() const {
  char line[256];
  std::snprintf(line, sizeof line, "%-10s %-28s %9s %7s %15s %7s %8s %8s %6s\n", "task", "strategy", "tokens/s",
                "x plain", "(min-max)", "whole", "tok/pass", "accepted", "same");
  std::string text = line;
  for (const Cell& own : cells_) {
    const auto ratio = ratios(plain(own).decode_ms, own.decode_ms);
    const auto [low, high] = std::minmax_element(ratio.begin(), ratio.end());
    const double ms = median(own.decode_ms);
    std::snprintf(line, sizeof line, "%-10.40s %-28.60s %9.1f %6.2fx (%5.2f - %5.2f) %6.2fx %8.2f %7.0f%% %6s\n",
                  own.task.c_str(), strategies_[own.strategy].name.c_str(),
                  ms > 0 ? 1000 * static_cast<double>(own.tokens) / ms : 0, median(ratio), *low, *high,
                  median(ratios(plain(own).whole_ms, own.whole_ms)), share(own.tokens, own.passes),
                  100 * share(own.accepted, own.drafted), own.same ? "yes" : "NO");
    text += line;
  }
  return text +
         "\nx plain: time of plain decoding after the first token over the strategy's, median of the rounds; whole: "
         "with the "
         "prompt.\n";
}

}  // namespace

Result<void> bench_strategies(const Arguments& arguments, std::shared_ptr<const Model> model, Engine& engine) {
  return StrategyBench(arguments, std::move(model), engine).run();
}

}  // namespace kinglet
