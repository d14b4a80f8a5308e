// From a target to a file under its name with its report.
#include "kinglet/shrink.h"

#include <algorithm>
#include <map>

#include "base/file.h"
#include "base/memory_info.h"
#include "base/try.h"
#include "compress/job.h"
#include "compress/plan/results.h"
#include "compress/report/parts.h"
#include "compress/targets.h"
#include "kinglet/report.h"

namespace kinglet {
namespace {

Result<void> check_output(const std::string& output) {
  if (output.empty()) return fail(ErrorCode::kInvalidArgument, "no output is named", "Give it with -o OUT.");
  if (folder_exists(output))
    return fail(ErrorCode::kInvalidArgument, "expected the name of a file to write, found a folder", "", output);
  return {};
}

/// The last part of a path, without slashes at its end.
std::string file_name(const std::string& path) {
  const std::size_t end = path.find_last_not_of('/');
  if (end == std::string::npos) return path;
  const std::size_t slash = path.rfind('/', end);
  return path.substr(slash + 1, end - slash);
}

/// Whether source and result can be run side by side; otherwise why not.
std::string why_not_measured(const Job& job, const ShrinkPlan& plan) {
  if (job.held_out.empty()) return "no report: there is no text; give one with --text";
  const std::uint64_t needed = job.source->file_bytes() + plan.bytes;
  const std::uint64_t allowed = job.options.memory_bytes ? job.options.memory_bytes : available_memory();
  if (allowed && needed > allowed)
    return "no report: the two models have " + std::to_string(needed) + " bytes, and the memory allows " +
           std::to_string(allowed);
  return "";
}

/// Measures the finished file and leaves the report in the work folder. A model that cannot be run has none: a note
/// says why.
Result<bool> make_report(const Job& job, const ShrinkPlan& plan, const std::vector<Attempt>& attempts,
                         const Folder& folder) {
  if (const std::string why = why_not_measured(job, plan); !why.empty()) {
    job.note(why);
    return false;
  }
  CompareOptions options;
  options.texts = job.held_out;
  options.windows = kReportWindows;
  options.threads = job.options.threads;
  options.progress = job.options.progress;
  const std::string& called = job.options.source_name;
  const std::string source = file_name(called.empty() ? job.options.source : called);
  const std::string result = file_name(job.options.output);
  auto measured = compare_models({{source, job.options.source}, {result, folder.file("model.gguf")}}, options);
  if (!measured) {
    Error error = std::move(measured).error();
    if (error.code == ErrorCode::kCancelled || error.code == ErrorCode::kIo || error.code == ErrorCode::kInternal)
      return tl::unexpected(std::move(error));
    job.note("no report: " + error.message);
    return false;
  }
  Report& report = *measured;
  if (const std::size_t last = plan.recipe.steps.size(); plan.planned_loss > 0 && last == job.recipe.steps.size()) {
    const ModelFigures& figures = report.models[1];
    const double loss = figures.embedding ? figures.embedding->mean : figures.quality->divergence->mean;
    keep_result(context_of(job, job.recipe, *job.source, last - 1, ""), job.recipe.steps.back(), plan.planned_loss,
                loss);
  }
  report.title = source + " shrunk to " + result;
  report.models[1].path = job.options.output;
  report.tensors = plan.tensors;
  report.recipe = recipe_text(plan.recipe);
  report.notes = plan.notes;
  for (const Attempt& attempt : attempts)
    if (attempt.kl > 0) report.candidates.push_back({"tried", attempt.bytes, attempt.kl});
  if (!job.options.command.empty()) report.commands.push_back(job.options.command);
  KINGLET_CHECK(folder.write("report.json", report_json(report)));
  KINGLET_CHECK(folder.write("report.html", report_html(report)));
  KINGLET_CHECK(folder.write("report.txt", report_table(report)));
  return true;
}

/// Runs the recipe, by trying sizes where its targets are measured ones.
Result<ShrinkPlan> run_targets(const Job& job, const Folder& folder, std::vector<Attempt>& attempts) {
  Recipe recipe = job.recipe;
  // No larger than the source; as large as that allows where only quality or speed count.
  std::uint64_t most = job.source->file_bytes();
  if (recipe.to_bytes) most = std::min(most, *recipe.to_bytes);
  SpeedModel model;
  TimeLimit limit;
  const TimeLimit* limited = nullptr;
  if (recipe.speed) {
    recipe.to_bytes = most;
    KINGLET_TRY(model, speed_model_of(job, folder));
    KINGLET_TRY(const SpeedTries tries, limit_for_speed(job, folder, model, recipe));
    attempts = tries.attempts;
    limit = {&model, tries.seconds};
    limited = &limit;
  }
  if (!recipe.max_kl) return run_recipe(job, recipe, folder, limited);
  ShrinkPlan plan;
  KINGLET_TRY(const Tries tries, run_for_quality(job, recipe, folder, *recipe.max_kl, most, limited, plan));
  attempts.insert(attempts.end(), tries.attempts.begin(), tries.attempts.end());
  return plan;
}

/// Tokens a second of source and result, from the times of the result's types. Nothing where a model is coded, cannot
/// be run here, or does not generate.
Result<void> predict_speed(const Job& job, ShrinkPlan& plan) {
  std::vector<TensorInfo> infos;
  std::map<std::int64_t, std::int64_t> weights;  // by row length
  TypeTimes wanted;
  for (const ShrunkTensor& tensor : plan.tensors) {
    const BlockType* type = find_block_type(tensor.to);
    if (type && tensor.shape.size() >= 2) type = fitting_block_type(*type, tensor.shape.back());
    if (!type) return {};
    infos.push_back({tensor.name, type, tensor.shape, tensor.bytes});
    if (tensor.shape.size() >= 2) weights[tensor.shape.back()] += infos.back().elements();
  }
  for (const TensorInfo& info : infos)
    if (info.shape.size() >= 2) wanted.want(*info.type, info.columns(), weights[info.columns()]);
  const auto model = measure_speed_model(context_of(job, plan.recipe, *job.source, 0, ""), std::move(wanted));
  if (!model) {
    if (model.error().code == ErrorCode::kCancelled) return tl::unexpected(Error(model.error()));
    return {};
  }
  plan.source_tokens_per_second = 1 / model->source_seconds;
  plan.tokens_per_second = 1 / model->seconds(infos);
  return {};
}

}  // namespace

Result<ShrinkPlan> plan_shrink(const ShrinkOptions& options) {
  KINGLET_TRY(const Job job, prepare_job(options));
  Recipe recipe = job.recipe;
  std::string note;
  if (recipe.max_kl || recipe.speed) {
    if (recipe.max_kl) {
      const std::uint64_t guess = std::min(job.source->file_bytes(), first_size_for_kl(job, *recipe.max_kl));
      recipe.to_bytes = std::min(guess, recipe.to_bytes.value_or(guess));
    }
    note = "the first size that would be tried: quality and speed are measured";
  }
  SpeedModel model;
  TimeLimit limit;
  if (recipe.speed) {
    KINGLET_TRY(model, speed_model_of(job, Folder("")));
    limit = {&model, first_limit(model, *recipe.speed)};
    recipe.to_bytes = std::min(job.source->file_bytes(), recipe.to_bytes.value_or(UINT64_MAX));
  }
  KINGLET_TRY(ShrinkPlan plan, plan_recipe(job, recipe, recipe.speed ? &limit : nullptr));
  KINGLET_CHECK(predict_speed(job, plan));
  if (!note.empty()) plan.notes.push_back(note);
  return plan;
}

Result<ShrinkResult> shrink(const ShrinkOptions& options) {
  KINGLET_CHECK(check_output(options.output));
  KINGLET_TRY(const Job job, prepare_job(options));
  KINGLET_TRY(const auto work, WorkFolder::open(options.output + ".partial", job_key(job)));
  ShrinkResult result;
  result.resumed = work->resumed();
  result.output = options.output;
  std::vector<Attempt> attempts;
  KINGLET_TRY(result.plan, run_targets(job, *work, attempts));
  if (options.report) {
    KINGLET_TRY(const bool measured, make_report(job, result.plan, attempts, *work));
    if (measured) {
      KINGLET_TRY(result.table, work->read("report.txt"));
      result.report = options.output + ".report.html";
      KINGLET_CHECK(move_file(work->file("report.json"), options.output + ".report.json"));
      KINGLET_CHECK(move_file(work->file("report.html"), result.report));
    }
  }
  KINGLET_CHECK(move_file(work->file("model.gguf"), options.output));
  KINGLET_CHECK(work->remove());
  return result;
}

}  // namespace kinglet
