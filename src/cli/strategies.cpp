#include "cli/strategies.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/interrupt.h"
#include "base/try.h"
#include "cli/output.h"
#include "cli/strategy_list.h"
#include "decode/prompt.h"
#include "kinglet/measure.h"

namespace kinglet {
namespace {

using nlohmann::ordered_json;

/// One strategy on all prompts of one task. Times are sums over the task's prompts, one entry a round.
struct Cell {
  std::string task;
  std::size_t strategy = 0;
  std::vector<double> decode_ms, whole_ms;
  std::int64_t tokens = 0, drafted = 0, accepted = 0, passes = 0;  ///< of the last round
  std::uint64_t weights = 0;                                       ///< bytes of the models that were read for them
  bool same = true;                                                ///< as plain decoding's tokens in every round
  double alike = 0;  ///< sum over the last round's answers: the share before the first token that is not plain's
  std::size_t answers = 0;
};

class StrategyBench {
 public:
  StrategyBench(const Arguments& arguments, std::shared_ptr<const Model> model)
      : arguments_(arguments), model_(std::move(model)) {}

  Result<void> run() {
    KINGLET_CHECK(prepare());
    const int rounds = arguments_.given("rounds") ? static_cast<int>(arguments_.integer("rounds")) : 3;
    for (int round = 0; round < rounds; ++round) {
      for (Cell& cell : cells_) {
        cell.tokens = cell.drafted = cell.accepted = cell.passes = 0;
        cell.weights = cell.answers = 0;
        cell.alike = 0;
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
  Result<void> one_prompt(std::size_t index, std::size_t first);
  Cell& cell(const std::string& task, std::size_t strategy);
  const Cell& plain(const Cell& cell) const;
  ordered_json json() const;
  std::string text() const;

  const Arguments& arguments_;
  std::shared_ptr<const Model> model_;
  std::vector<Strategy> strategies_;
  std::vector<TaskPrompt> prompts_;
  std::vector<std::vector<TokenId>> ids_;
  std::vector<Cell> cells_;
};

Result<void> StrategyBench::prepare() {
  KINGLET_TRY(prompts_, strategy_tasks(arguments_.given("tasks") ? arguments_.text("tasks") : ""));
  KINGLET_TRY(strategies_, open_strategies(arguments_, model_));
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

/// The share of `own` before the first token that is not `plain`'s.
double alike(const std::vector<TokenId>& own, const std::vector<TokenId>& plain) {
  const auto differs = std::mismatch(own.begin(), own.end(), plain.begin(), plain.end());
  const std::size_t longer = std::max(own.size(), plain.size());
  return longer == 0 ? 1 : static_cast<double>(differs.first - own.begin()) / static_cast<double>(longer);
}

/// Each strategy once, from `first` on; tokens are compared with plain decoding's.
Result<void> StrategyBench::one_prompt(std::size_t index, std::size_t first) {
  std::vector<std::vector<TokenId>> answers(strategies_.size());
  for (std::size_t i = 0; i < strategies_.size(); ++i) {
    const std::size_t at = (first + i) % strategies_.size();
    const std::uint64_t read = strategies_[at].weights_read();
    KINGLET_TRY(const Generation result, strategies_[at].answer(ids_[index], [&](const PromptMaker& maker) {
      return maker.from_text(prompts_[index].text);
    }));
    if (result.error) return tl::unexpected<Error>(*result.error);
    if (result.finish_reason == "cancelled") return fail(ErrorCode::kCancelled, "interrupted");
    Cell& own = cell(prompts_[index].task, at);
    own.decode_ms.back() += result.decode_ms;
    own.whole_ms.back() += result.prefill_ms + result.decode_ms;
    own.tokens += result.decode_tokens;
    own.drafted += result.drafted;
    own.accepted += result.accepted;
    own.passes += result.target_passes - 1;  // the first token comes with the prompt
    own.weights += strategies_[at].weights_read() - read;
    ++own.answers;
    answers[at] = result.token_ids;
  }
  for (std::size_t at = 0; at < strategies_.size(); ++at) {
    Cell& own = cell(prompts_[index].task, at);
    own.same = own.same && answers[at] == answers[0];
    own.alike += alike(answers[at], answers[0]);
  }
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
                    {"weight_bytes", own.weights},
                    {"same_tokens", own.same},
                    {"alike", own.alike / static_cast<double>(own.answers)}});
  }
  return {{"strategies", list}};
}

std::string StrategyBench::text() const {
  int width = 28;
  for (const Strategy& strategy : strategies_)
    width = std::max(width, static_cast<int>(std::min<std::size_t>(strategy.name.size(), 80)));
  char line[320];
  std::snprintf(line, sizeof line, "%-10s %-*s %9s %7s %15s %7s %8s %8s %8s %6s\n", "task", width, "strategy",
                "tokens/s", "x plain", "(min-max)", "whole", "tok/pass", "accepted", "MB/token", "same");
  std::string text = line;
  for (const Cell& own : cells_) {
    const auto ratio = ratios(plain(own).decode_ms, own.decode_ms);
    const auto [low, high] = std::minmax_element(ratio.begin(), ratio.end());
    const double ms = median(own.decode_ms);
    char same[16];
    std::snprintf(same, sizeof same, "%.2f", own.alike / static_cast<double>(own.answers));
    std::snprintf(line, sizeof line, "%-10.40s %-*.80s %9.1f %6.2fx (%5.2f - %5.2f) %6.2fx %8.2f %7.0f%% %8.1f %6s\n",
                  own.task.c_str(), width, strategies_[own.strategy].name.c_str(),
                  ms > 0 ? 1000 * static_cast<double>(own.tokens) / ms : 0, median(ratio), *low, *high,
                  median(ratios(plain(own).whole_ms, own.whole_ms)), share(own.tokens, own.passes),
                  100 * share(own.accepted, own.drafted),
                  own.tokens > 0 ? static_cast<double>(own.weights) / 1e6 / static_cast<double>(own.tokens) : 0,
                  own.same ? "yes" : same);
    text += line;
  }
  return text +
         "\nx plain: time of plain decoding after the first token over the strategy's, median of the rounds; whole: "
         "with the prompt.\nMB/token: weights of all models that take part, read for the prompt and the answer, for "
         "each "
         "token of the answer.\nsame: the tokens are plain decoding's; otherwise the share of an answer before the "
         "first "
         "that is not.\n";
}

}  // namespace

Result<void> bench_strategies(const Arguments& arguments, std::shared_ptr<const Model> model) {
  return StrategyBench(arguments, std::move(model)).run();
}

}  // namespace kinglet
