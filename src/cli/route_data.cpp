#include "cli/route_data.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>

#include "base/file.h"
#include "base/interrupt.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/try.h"
#include "cli/output.h"
#include "cli/text_lines.h"
#include "decode/follower.h"
#include "decode/prompt.h"
#include "decode/route/score_meter.h"
#include "decode/softmax.h"
#include "kinglet/generate.h"

namespace kinglet {
namespace {

using nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 30;

enum class Form { kLogits, kChoices, kText };

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// What one model said to one item.
struct Answer {
  std::size_t choice = 0;
  std::string text;
  std::vector<double> scores;
  double cost = 0, ms = 0;
};

Result<std::vector<double>> scores_of(std::span<const float> logits) {
  std::vector<double> scores;
  for (const float logit : logits)
    if (!std::isfinite(logit)) return fail(ErrorCode::kInvalidArgument, "a logit is not a finite number");
  for (const RouteScore* score : route_scores()) scores.push_back(score->score(logits));
  return scores;
}

class Judge {
 public:
  static Result<Judge> make(std::shared_ptr<Engine> engine, const RouteModels& models) {
    Judge judge(std::move(engine), models);
    // The engine owns the model; the alias only lends it.
    const std::shared_ptr<const Model> model(judge.engine_, &judge.engine_->model());
    KINGLET_TRY(judge.prompts_, PromptMaker::make(model, models.raw));
    return judge;
  }

  Result<Answer> choose(std::string_view prompt, const std::vector<std::string>& choices) {
    const auto start = Clock::now();
    KINGLET_TRY(std::vector<TokenId> text, prompts_->from_text(prompt));
    const std::size_t begin = text.size();
    std::vector<float> logits;
    const std::int64_t fed = follower_->rows();
    for (const std::string& choice : choices) {
      text.resize(begin);
      const auto ids = engine_->model().tokenizer().encode(choice);
      if (ids.empty() || begin == 0) return fail(ErrorCode::kInvalidArgument, "a choice or the prompt is empty");
      text.insert(text.end(), ids.begin(), ids.end());
      // Row i has the logits before the i-th token of the choice.
      KINGLET_CHECK(follower_->read(std::span<const TokenId>(text).first(text.size() - 1), ids.size()));
      double sum = 0;
      for (std::size_t i = 0; i < ids.size(); ++i) sum += follower_->row(i)[static_cast<std::size_t>(ids[i])];
      logits.push_back(static_cast<float>(sum / static_cast<double>(ids.size())));
    }
    Answer answer{.choice = argmax(logits),
                  .text = {},
                  .scores = {},
                  .cost = cost(follower_->rows() - fed),
                  .ms = milliseconds_since(start)};
    KINGLET_TRY(answer.scores, scores_of(logits));
    return answer;
  }

  Result<Answer> write(std::string_view prompt) {
    const auto start = Clock::now();
    const auto all = route_scores();
    const auto meter = std::make_shared<ScoreMeter>(std::vector<const RouteScore*>(all.begin(), all.end()), steps_);
    std::vector<GenerateRequest> requests(1);
    KINGLET_TRY(requests[0].prompt, prompts_->from_text(prompt));
    requests[0].options.max_tokens = max_tokens_;
    requests[0].processors.push_back(meter);
    KINGLET_TRY(const auto results, generate(*engine_, std::move(requests)));
    const Generation& result = results[0];
    if (result.error) return tl::unexpected<Error>(*result.error);
    if (result.finish_reason == "cancelled") return fail(ErrorCode::kCancelled, "interrupted");
    Answer answer{.choice = 0,
                  .text = result.text,
                  .scores = {},
                  .cost = cost(result.prompt_tokens + result.decode_tokens),
                  .ms = milliseconds_since(start)};
    for (std::size_t i = 0; i < all.size(); ++i) answer.scores.push_back(meter->mean(i));
    return answer;
  }

 private:
  Judge(std::shared_ptr<Engine> engine, const RouteModels& models)
      : engine_(std::move(engine)),
        follower_(std::make_unique<Follower>(*engine_)),
        max_tokens_(models.max_tokens),
        steps_(models.steps) {}
  double cost(std::int64_t rows) const {
    return static_cast<double>(rows) * static_cast<double>(engine_->model().bytes_per_token()) / 1e9;
  }

  std::shared_ptr<Engine> engine_;
  std::unique_ptr<Follower> follower_;
  std::optional<PromptMaker> prompts_;
  std::int64_t max_tokens_, steps_;
};

Result<std::vector<float>> logits_of(const ordered_json& line, const char* key) {
  std::vector<float> logits;
  for (const ordered_json& value : line[key]) {
    if (!value.is_number())
      return fail(ErrorCode::kInvalidArgument, std::string("'") + key + "' is no list of numbers");
    logits.push_back(value.get<float>());
  }
  if (logits.size() < 2)
    return fail(ErrorCode::kInvalidArgument, std::string("'") + key + "' has fewer than two logits");
  return logits;
}

std::optional<Form> form_of(const ordered_json& line) {
  const auto list = [&](const char* key) { return line.contains(key) && line[key].is_array(); };
  if (!line.is_object()) return std::nullopt;
  if (list("swift") && list("super")) return Form::kLogits;
  if (!line.contains("prompt") || !line["prompt"].is_string()) return std::nullopt;
  return list("choices") ? Form::kChoices : Form::kText;
}

class Reader {
 public:
  Reader(const RouteModels& models, JudgedData& data) : models_(models), data_(data) {}

  Result<void> read(const ordered_json& line) {
    const auto form = form_of(line);
    if (!form)
      return fail(ErrorCode::kInvalidArgument,
                  R"(expected {"swift","super","label"}, {"prompt","choices","label"} or {"prompt","answer"})");
    if (form_ && *form_ != *form) return fail(ErrorCode::kInvalidArgument, "the lines have different forms");
    if (!form_) KINGLET_CHECK(begin(*form));
    const bool known = *form == Form::kText ? line.contains("answer") : line.contains("label");
    if (data_.items.empty()) data_.has_answers = known;
    if (known != data_.has_answers)
      return fail(ErrorCode::kInvalidArgument, "some lines have the right answer and others do not");
    return *form == Form::kText ? text(line) : choice(line);
  }

 private:
  Result<void> begin(Form form) {
    form_ = form;
    data_.generates = form == Form::kText;
    if (form == Form::kLogits) return {};
    if (!models_.swift || !models_.super)
      return fail(ErrorCode::kInvalidArgument, "the data has prompts, which no model answers",
                  "Give --swift MODEL and --super MODEL.");
    KINGLET_TRY(swift_, Judge::make(models_.swift, models_));
    KINGLET_TRY(super_, Judge::make(models_.super, models_));
    return {};
  }

  Result<void> choice(const ordered_json& line) {
    Answer swift, super;
    std::size_t count = 0;
    if (*form_ == Form::kLogits) {
      KINGLET_TRY(const auto logits, logits_of(line, "swift"));
      KINGLET_TRY(const auto others, logits_of(line, "super"));
      if (others.size() != logits.size())
        return fail(ErrorCode::kInvalidArgument, "'swift' and 'super' have different lengths");
      KINGLET_TRY(swift.scores, scores_of(logits));
      KINGLET_CHECK(scores_of(others));
      swift.choice = argmax(logits);
      super.choice = argmax(others);
      swift.cost = line.contains("swift_cost") && line["swift_cost"].is_number() ? line["swift_cost"].get<double>() : 0;
      super.cost = line.contains("super_cost") && line["super_cost"].is_number() ? line["super_cost"].get<double>() : 1;
      count = logits.size();
    } else {
      std::vector<std::string> choices;
      for (const ordered_json& text : line["choices"]) {
        if (!text.is_string()) return fail(ErrorCode::kInvalidArgument, "a choice is no text");
        choices.push_back(text.get<std::string>());
      }
      if (choices.size() < 2) return fail(ErrorCode::kInvalidArgument, "there are fewer than two choices");
      const auto& prompt = line["prompt"].get_ref<const std::string&>();
      KINGLET_TRY(swift, swift_->choose(prompt, choices));
      KINGLET_TRY(super, super_->choose(prompt, choices));
      count = choices.size();
    }
    std::size_t label = super.choice;
    if (data_.has_answers) {
      if (!line["label"].is_number_integer() || line["label"].get<std::int64_t>() < 0 ||
          line["label"].get<std::uint64_t>() >= count)
        return fail(ErrorCode::kInvalidArgument, "'label' is not the number of a choice");
      label = line["label"].get<std::size_t>();
    }
    add(swift, super, swift.choice == label, super.choice == label);
    return {};
  }

  Result<void> text(const ordered_json& line) {
    const auto& prompt = line["prompt"].get_ref<const std::string&>();
    KINGLET_TRY(const Answer swift, swift_->write(prompt));
    KINGLET_TRY(const Answer super, super_->write(prompt));
    if (!data_.has_answers) {
      add(swift, super, swift.text == super.text, true);
      return {};
    }
    if (!line["answer"].is_string()) return fail(ErrorCode::kInvalidArgument, "'answer' is no text");
    const auto& right = line["answer"].get_ref<const std::string&>();
    add(swift, super, swift.text.find(right) != std::string::npos, super.text.find(right) != std::string::npos);
    return {};
  }

  void add(const Answer& swift, const Answer& super, bool swift_right, bool super_right) {
    data_.items.push_back({.item = {.score = 0,
                                    .swift_right = swift_right,
                                    .super_right = super_right,
                                    .swift_cost = swift.cost,
                                    .super_cost = super.cost},
                           .scores = swift.scores,
                           .swift_ms = swift.ms,
                           .super_ms = super.ms});
  }

  const RouteModels& models_;
  JudgedData& data_;
  std::optional<Form> form_;
  std::optional<Judge> swift_, super_;
};

}  // namespace

std::vector<RoutedItem> JudgedData::with_score(std::size_t score) const {
  std::vector<RoutedItem> routed;
  for (const JudgedItem& judged : items) {
    routed.push_back(judged.item);
    routed.back().score = judged.scores[score];
  }
  return routed;
}

Result<JudgedData> judge_route_data(const std::string& path, const RouteModels& models) {
  KINGLET_TRY(const std::string text, read_file(path, kMostBytes));
  JudgedData data;
  Reader reader(models, data);
  ProgressBar bar(quiet());
  const auto lines = text_lines(text);
  for (std::size_t number = 0; number < lines.size(); ++number) {
    if (interrupted()) return fail(ErrorCode::kCancelled, "interrupted");
    if (lines[number].find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string place = path + ":" + std::to_string(number + 1);
    KINGLET_TRY(const ordered_json line, parse_json(lines[number], place));
    if (auto read = reader.read(line); !read)
      return fail(read.error().code, read.error().message, read.error().hint, place);
    bar.update({.activity = "route", .done = number + 1, .total = lines.size()});
  }
  bar.finish();
  if (data.items.empty()) return fail(ErrorCode::kInvalidArgument, "there are no items", "", path);
  return data;
}

}  // namespace kinglet
