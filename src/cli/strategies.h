// `kinglet bench --strategies`: every way of choosing tokens on the same tasks, beside plain decoding.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/command.h"
#include "kinglet/engine.h"

namespace kinglet {

/// A prompt of a task. `raw`: text to be continued; otherwise a user's message.
struct TaskPrompt {
  std::string task, text;
  bool raw = false;
};

/// What `--tasks` has: a line {"task","prompt"} (text to be continued) or {"task","messages"} (one user message) each;
/// without a file a small set of our own: "copy", "code" and "prose".
Result<std::vector<TaskPrompt>> strategy_tasks(const std::string& path);

/// Runs and prints the table, or with --json {"strategies":[…]}.
Result<void> bench_strategies(const Arguments& arguments, std::shared_ptr<const Model> model);

}  // namespace kinglet
