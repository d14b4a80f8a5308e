// What one run of shrink shares between its steps and attempts, and the running of a recipe.
#pragma once

#include <memory>
#include <string>

#include "base/thread_pool.h"
#include "compress/plan/planner.h"
#include "compress/work_folder.h"
#include "kinglet/pass.h"
#include "kinglet/report.h"
#include "kinglet/shrink.h"

namespace kinglet {

struct Job {
  explicit Job(const ShrinkOptions& given) : options(given), recipe(given.recipe) {}

  const ShrinkOptions& options;
  Recipe recipe;
  std::unique_ptr<Checkpoint> source;
  std::string digest;                ///< of the source
  std::string text;                  ///< what passes calibrate on
  std::vector<ReportText> held_out;  ///< what results are judged by: other parts of the same texts
  std::string text_name;
  std::unique_ptr<ThreadPool> pool;
  std::uint64_t memory = 0;

  bool cancelled() const { return options.cancelled && options.cancelled(); }
  void note(std::string_view text) const {
    if (options.note) options.note(text);
  }
  void progress(std::string_view activity, std::uint64_t done, std::uint64_t total) const {
    if (options.progress) options.progress(activity, done, total);
  }
};

/// Opens, hashes and reads what the options name, and checks the recipe against the source.
Result<Job> prepare_job(const ShrinkOptions& options);

/// What the work of a recipe is known by: work of another key is not gone on with.
std::string job_key(const Job& job);

/// The source as it is, nothing done yet.
ShrinkPlan empty_plan(const Job& job);

/// Plans every step of a recipe without writing. A time limit counts for the steps whose types are chosen.
Result<ShrinkPlan> plan_recipe(const Job& job, const Recipe& recipe, const TimeLimit* limit = nullptr);

/// Runs every step of a recipe and joins the last one's tensors to folder/model.gguf; what `folder` already has is not
/// made again.
Result<ShrinkPlan> run_recipe(const Job& job, const Recipe& recipe, const Folder& folder,
                              const TimeLimit* limit = nullptr);

/// What a pass is given to work on `from`, the source or what an earlier step made of it. `work_folder` may be "".
PassContext context_of(const Job& job, const Recipe& recipe, const Checkpoint& from, std::size_t index,
                       const std::string& work_folder);

}  // namespace kinglet
