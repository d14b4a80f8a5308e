// Items with known answers, as a cheap and an accurate model answer them.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kinglet/engine.h"
#include "kinglet/route.h"

namespace kinglet {

struct RouteModels {
  std::shared_ptr<Engine> swift, super;  ///< both null: the data has logits
  bool raw = false;                      ///< prompts are text to be continued, without a chat template
  std::int64_t max_tokens = 32, steps = 0;
};

/// One line of the data, judged. `scores` has one for each of route_scores().
struct JudgedItem {
  RoutedItem item;
  std::vector<double> scores;
  double swift_ms = 0, super_ms = 0;
};

struct JudgedData {
  std::vector<JudgedItem> items;
  bool generates = false;   ///< answers are texts; otherwise one of several choices
  bool has_answers = true;  ///< false: "right" means: the accurate model's answer
  std::vector<RoutedItem> with_score(std::size_t score) const;
};

/// Reads `path`: a line is {"swift":[logits],"super":[logits],"label":N}, {"prompt","choices":[texts],"label":N}, or
/// {"prompt","answer"} (the right answer is one that contains this text; without "answer" the accurate model's).
/// Costs are the weight bytes that a model reads for one row, in 1e9, times the rows it was fed. Errors: a line of none
/// of these forms, lines of different forms, fewer than two choices, logits that are not finite.
Result<JudgedData> judge_route_data(const std::string& path, const RouteModels& models);

}  // namespace kinglet
