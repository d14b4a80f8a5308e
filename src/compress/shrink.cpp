// From a target to a file under its name with its report.
#include "kinglet/shrink.h"

#include "base/file.h"
#include "base/memory_info.h"
#include "base/try.h"
#include "compress/job.h"
#include "kinglet/report.h"

namespace kinglet {
namespace {

constexpr std::size_t kReportWindows = 24;  // the standard error of a mean divergence is then a few percent

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
Result<bool> make_report(const Job& job, const ShrinkPlan& plan, const Folder& folder) {
  if (const std::string why = why_not_measured(job, plan); !why.empty()) {
    job.note(why);
    return false;
  }
  CompareOptions options;
  options.text = job.held_out;
  options.text_name = job.text_name + " (held-out part)";
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
  report.title = source + " shrunk to " + result;
  report.models[1].path = job.options.output;
  report.tensors = plan.tensors;
  report.recipe = recipe_text(plan.recipe);
  report.notes = plan.notes;
  if (!job.options.command.empty()) report.commands.push_back(job.options.command);
  KINGLET_CHECK(folder.write("report.json", report_json(report)));
  KINGLET_CHECK(folder.write("report.html", report_html(report)));
  KINGLET_CHECK(folder.write("report.txt", report_table(report)));
  return true;
}

}  // namespace

Result<ShrinkPlan> plan_shrink(const ShrinkOptions& options) {
  KINGLET_TRY(const Job job, prepare_job(options));
  return plan_recipe(job, job.recipe);
}

Result<ShrinkResult> shrink(const ShrinkOptions& options) {
  KINGLET_CHECK(check_output(options.output));
  KINGLET_TRY(const Job job, prepare_job(options));
  KINGLET_TRY(const auto work, WorkFolder::open(options.output + ".partial", job_key(job)));
  ShrinkResult result;
  result.resumed = work->resumed();
  result.output = options.output;
  KINGLET_TRY(result.plan, run_recipe(job, job.recipe, *work));
  if (options.report) {
    KINGLET_TRY(const bool measured, make_report(job, result.plan, *work));
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
