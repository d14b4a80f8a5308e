#include <nlohmann/json.hpp>

#include "base/progress.h"
#include "base/try.h"
#include "cli/command.h"
#include "cli/output.h"
#include "kinglet/store.h"

namespace kinglet {
namespace {

Result<void> run(const Arguments& arguments) {
  std::vector<StoredModel> models;
  for (const std::string& name : arguments.positional()) {
    KINGLET_TRY(StoredModel model, find_stored_model(name));
    models.push_back(std::move(model));
  }
  if (models.empty()) {
    KINGLET_TRY(models, stored_models());
  }
  ProgressBar bar(quiet());
  nlohmann::ordered_json checked = nlohmann::ordered_json::array();
  Result<void> first_error;
  for (const StoredModel& model : models) {
    auto result = verify_model(model, [&](std::string_view activity, std::uint64_t done, std::uint64_t total) {
      bar.update({.activity = activity, .done = done, .total = total, .unit = ProgressUnit::kBytes});
    });
    bar.finish();
    if (!result && result.error().code == ErrorCode::kCancelled) return result;
    checked.push_back({{"name", model.name}, {"good", result.has_value()}, {"bytes", model.bytes}});
    if (!result) checked.back()["error"] = result.error().text();
    if (!arguments.flag("json")) KINGLET_CHECK(print(model.name + (result ? ": good\n" : ": DAMAGED\n")));
    if (!result && first_error) first_error = std::move(result);
  }
  if (arguments.flag("json")) KINGLET_CHECK(print_json({{"models", checked}}));
  return first_error;
}

constexpr std::string_view kExamples[] = {
    "kinglet verify  # every model of the store",
    "kinglet verify smollm2-135m-instruct",
};

}  // namespace

extern const Command command_verify = {
    .name = "verify",
    .group = CommandGroup::kModels,
    .summary = "Check the models of the store against their checksums",
    .usage = "[NAME...] [options]",
    .description =
        "Reads the files of models again and compares their SHA-256 with what was recorded when they came. "
        "Ends with status 4 where one differs.",
    .options = {},
    .examples = kExamples,
    .min_positional = 0,
    .max_positional = -1,
    .run = run,
};

}  // namespace kinglet
