#include "compress/job.h"

#include <algorithm>

#include "base/file.h"
#include "base/memory_info.h"
#include "base/sha256.h"
#include "base/try.h"
#include "compress/calibration/calibration_text.h"
#include "compress/held_out.h"
#include "compress/plan/planner.h"
#include "compress/plan/results.h"
#include "compress/planned_checkpoint.h"
#include "compress/recipe/yaml.h"

namespace kinglet {
namespace {

constexpr std::uint64_t kMostText = 64 << 20;       // of the calibration text: far more than calibration reads
constexpr std::uint64_t kUsualMemory = 2ull << 30;  // so that a 7B model passes on a small machine
constexpr std::uint64_t kLeastMemory = 64ull << 20;

/// One step of the recipe with what it works on.
struct Step {
  std::unique_ptr<Pass> pass;
  PassContext context;
  PassPlan plan;
  double loss = 0;  ///< predicted by the planner; 0: not known
  CorrectedLoss corrected;
};

/// Replaces the step by one with every choice made; what an earlier run chose is read from `work` (null: a dry run).
Result<void> choose(const Job& job, const Recipe& recipe, RecipeStep& step, std::size_t index, PassContext& context,
                    const Folder* work, const TimeLimit* limit, double& loss) {
  if (!needs_plan(recipe, step)) return {};
  const std::string name = "step" + std::to_string(index) + ".yaml";
  if (work) {
    KINGLET_TRY(const std::string text, work->read(name));
    if (!text.empty()) {
      KINGLET_TRY(const Recipe chosen, parse_recipe(text, work->file(name)));
      if (chosen.steps.size() != 1) return fail(ErrorCode::kCorrupt, "expected one step", "", work->file(name));
      step = chosen.steps[0];
      return {};
    }
  }
  context.progress = [&job](double share) { job.progress("planning", static_cast<std::uint64_t>(share * 1000), 1000); };
  KINGLET_TRY(PlannedStep planned, plan_step(context, recipe, step, limit));
  step = std::move(planned.step);
  loss = planned.loss;
  if (!work) return {};
  Recipe chosen;
  chosen.steps.push_back(step);
  return work->write(name, recipe_text(chosen));
}

Result<std::unique_ptr<Step>> begin_step(const Job& job, Recipe& recipe, std::size_t index, const Checkpoint& from,
                                         const Folder* work, const TimeLimit* limit) {
  auto step = std::make_unique<Step>();
  PassContext& context = step->context;
  context = context_of(job, recipe, from, index, work ? work->path() : "");
  const RecipeStep asked = recipe.steps[index];
  KINGLET_CHECK(choose(job, recipe, recipe.steps[index], index, context, work, limit, step->loss));
  step->corrected = corrected_loss(context, asked, step->loss);
  context.progress = [](double) {};
  const RecipeStep& said = recipe.steps[index];
  KINGLET_TRY(const PassOptions options, pass_options(said, recipe.place));
  const PassDescriptor& descriptor = *find_pass(said.pass);
  if (descriptor.accepts) KINGLET_CHECK(descriptor.accepts(from, options));
  KINGLET_TRY(step->pass, descriptor.make(options));
  KINGLET_TRY(step->plan, step->pass->plan(context));
  return step;
}

std::vector<TensorInfo> infos_of(const PassPlan& plan) {
  std::vector<TensorInfo> infos;
  for (const PassPlan::Tensor& tensor : plan.tensors)
    infos.push_back({tensor.name, tensor.type, tensor.shape,
                     tensor.type->row_bytes(static_cast<std::uint64_t>(tensor.elements())), tensor.codec,
                     tensor.stored_bytes});
  return infos;
}

void describe(const Job& job, const Step& step, ShrinkPlan& plan) {
  const std::vector<TensorInfo> infos = infos_of(step.plan);
  plan.bytes = GgufWriter::predicted_bytes(step.plan.metadata, writer_plans(step.plan));
  plan.after = count_bits(infos);
  plan.tensors.clear();
  for (const TensorInfo& info : infos) {
    const TensorInfo* before = job.source->find(info.name);
    plan.tensors.push_back({info.name, before ? std::string(before->type->name) : std::string(),
                            std::string(info.stored_type()), info.shape, before ? before->file_bytes() : 0,
                            info.file_bytes()});
  }
}

void add_step(const Job& job, const Step& step, ShrinkPlan& plan) {
  plan.memory_bytes = std::max(plan.memory_bytes, step.plan.memory_bytes);
  plan.seconds += step.plan.seconds;
  if (step.loss > 0) {
    (is_encoder(*job.source) ? plan.predicted_cosine_distance : plan.predicted_kl) = step.corrected.loss;
    plan.earlier_results = step.corrected.results;
  }
  plan.planned_loss = step.loss;  // what comes after a planned step would be measured with it
  plan.notes.insert(plan.notes.end(), step.plan.notes.begin(), step.plan.notes.end());
}

/// What the next step holds at once must fit.
Result<void> check_memory(const Job& job, const Step& step, const std::string& pass) {
  const std::uint64_t allowed = job.options.memory_bytes ? job.options.memory_bytes : available_memory();
  if (allowed == 0 || step.plan.memory_bytes <= allowed) return {};
  return fail(ErrorCode::kExhausted,
              pass + " needs about " + std::to_string(step.plan.memory_bytes) + " bytes of memory here, and " +
                  std::to_string(allowed) + " may be used",
              "The pass quantize needs little: steps: [quantize] in a recipe, or --type T.");
}

Result<void> check_disk(const std::string& folder, std::uint64_t bytes) {
  // Finished tensors and the file that is joined from them stand side by side for a moment.
  const auto free = free_space(folder);
  if (free && *free < 2 * bytes)
    return fail(ErrorCode::kExhausted,
                "the disk has " + std::to_string(*free) + " bytes free; this needs " + std::to_string(2 * bytes),
                "Free space, or write to another disk.", folder);
  return {};
}

Result<void> run_blocks(const Job& job, Step& step, StepStore& store, const std::string& activity) {
  std::uint64_t total = 0, done = 0;
  for (int block = 0; block < step.plan.blocks; ++block) total += store.block_bytes(block);
  for (int block = 0; block < step.plan.blocks; ++block) {
    if (job.cancelled()) return fail(ErrorCode::kCancelled, "interrupted");
    const std::uint64_t bytes = store.block_bytes(block);
    const auto report = [&](double share) {
      job.progress(activity, done + static_cast<std::uint64_t>(share * static_cast<double>(bytes)), total);
    };
    step.context.progress = report;
    report(0);
    store.enter(block);
    if (store.block_finished(block)) {
      KINGLET_CHECK(step.pass->skip(step.context, block, store));
    } else {
      KINGLET_CHECK(step.pass->run(step.context, block, store));
      if (!store.block_finished(block))
        return fail(ErrorCode::kInternal, "pass " + activity + " left tensors of block " + std::to_string(block));
    }
    done += bytes;
    report(0);
  }
  return {};
}

/// Rounding with compensation makes up for what a change of the structure has lost; nothing does after it.
void note_order(const Job& job) {
  const auto& steps = job.recipe.steps;
  for (std::size_t i = 1; i < steps.size(); ++i) {
    const PassDescriptor *before = find_pass(steps[i - 1].pass), *after = find_pass(steps[i].pass);
    if (!before || !after || after->stage >= before->stage) continue;
    job.note("step " + std::to_string(i + 1) + " (" + steps[i].pass + ") changes what step " + std::to_string(i) +
             " (" + steps[i - 1].pass + ") has already " + (before->stage == PassStage::kCoding ? "coded" : "rounded") +
             "; put it first, so that the rounding can make up for what it loses");
  }
}

}  // namespace

PassContext context_of(const Job& job, const Recipe& recipe, const Checkpoint& from, std::size_t index,
                       const std::string& work_folder) {
  PassContext context;
  context.source = &from;
  context.recipe = &recipe;
  Recipe before;
  before.steps.assign(recipe.steps.begin(), recipe.steps.begin() + static_cast<std::ptrdiff_t>(index));
  context.source_digest = index == 0 ? job.digest : sha256(job.digest + recipe_text(before)).hex();
  context.text = job.text;
  context.seed = recipe.seed;
  context.pool = job.pool.get();
  context.memory_bytes = job.memory;
  context.work_folder = work_folder;
  context.cache_folder = job.options.cache_folder.empty() ? work_folder : job.options.cache_folder;
  context.cancelled = [&job] { return job.cancelled(); };
  context.note = [&job](std::string_view text) { job.note(text); };
  context.progress = [](double) {};
  return context;
}

Result<Job> prepare_job(const ShrinkOptions& options) {
  Job job(options);
  KINGLET_TRY(job.source, open_checkpoint(options.source));
  job.text_name = job.recipe.text.empty() ? "built-in mix" : job.recipe.text;
  SplitText split;
  if (job.recipe.text.empty()) {
    split = built_in_text();
  } else {
    KINGLET_TRY(const std::string text, read_file(job.recipe.text, kMostText));
    if (text.size() < 1000)
      return fail(ErrorCode::kInvalidArgument,
                  "the calibration text has " + std::to_string(text.size()) + " bytes, expected 1,000 or more",
                  "Some tens of kB of text like what the model will read are enough.", job.recipe.text);
    split = split_text(text);
  }
  job.text = std::move(split.calibration);
  for (auto& [name, text] : split.parts) job.held_out.push_back({name + " (held out)", std::move(text)});
  if (split.parts.empty() && !split.held_out.empty())
    job.held_out.push_back({job.text_name + " (held-out part)", std::move(split.held_out)});
  job.pool = std::make_unique<ThreadPool>(options.threads);
  job.memory = options.memory_bytes;
  if (job.memory == 0) {
    const std::uint64_t free = available_memory();
    job.memory = free ? std::clamp(free / 2, kLeastMemory, kUsualMemory) : kUsualMemory;
  }
  const std::uint64_t total = job.source->file_bytes();
  const auto go_on = [&](std::uint64_t done) {
    job.progress("reading", std::min(done, total), total);
    return !job.cancelled();
  };
  KINGLET_TRY(job.digest, checkpoint_digest(*job.source, go_on));
  if (job.recipe.steps.empty()) job.recipe.steps = usual_steps(*job.source);
  const bool planned = std::any_of(job.recipe.steps.begin(), job.recipe.steps.end(),
                                   [&](const RecipeStep& step) { return needs_plan(job.recipe, step); });
  note_order(job);
  if (has_target(job.recipe) && !planned)
    return fail(ErrorCode::kInvalidArgument, "the recipe has a target and names every type itself",
                "Leave out the targets, or the type of the step that stores matrices.", job.recipe.place);
  return job;
}

std::string job_key(const Job& job) {
  Recipe recipe = job.recipe;
  recipe.text.clear();  // the text counts, not its place
  std::string text = job.text;
  for (const ReportText& each : job.held_out) text += each.text;
  return "kinglet shrink 2\nsource " + job.digest + "\ntext " + sha256(text).hex() + "\n" + recipe_text(recipe);
}

ShrinkPlan empty_plan(const Job& job) {
  ShrinkPlan plan;
  plan.recipe = job.recipe;
  plan.source_bytes = job.source->file_bytes();
  plan.before = count_bits(job.source->tensors());
  return plan;
}

Result<ShrinkPlan> plan_recipe(const Job& job, const Recipe& asked, const TimeLimit* limit) {
  ShrinkPlan plan = empty_plan(job);
  plan.recipe = asked;
  std::vector<std::unique_ptr<Step>> steps;
  std::vector<std::unique_ptr<PlannedCheckpoint>> made;
  for (std::size_t i = 0; i < asked.steps.size(); ++i) {
    const Checkpoint& from = made.empty() ? *job.source : static_cast<const Checkpoint&>(*made.back());
    KINGLET_TRY(steps.emplace_back(), begin_step(job, plan.recipe, i, from, nullptr, limit));
    Step& step = *steps.back();
    add_step(job, step, plan);
    describe(job, step, plan);
    made.push_back(
        std::make_unique<PlannedCheckpoint>(step.plan.metadata, infos_of(step.plan), *step.pass, step.context));
  }
  return plan;
}

Result<ShrinkPlan> run_recipe(const Job& job, const Recipe& asked, const Folder& folder, const TimeLimit* limit) {
  ShrinkPlan plan = empty_plan(job);
  plan.recipe = asked;
  KINGLET_CHECK(make_folders(folder.path()));
  std::unique_ptr<Checkpoint> before;
  for (std::size_t i = 0; i < asked.steps.size(); ++i) {
    const bool last = i + 1 == asked.steps.size();
    const std::string joined = folder.file(last ? "model.gguf" : "step" + std::to_string(i) + ".gguf");
    KINGLET_TRY(const auto step, begin_step(job, plan.recipe, i, before ? *before : *job.source, &folder, limit));
    add_step(job, *step, plan);
    describe(job, *step, plan);
    if (!file_exists(joined)) {
      KINGLET_CHECK(check_memory(job, *step, asked.steps[i].pass));
      KINGLET_CHECK(check_disk(folder.path(), plan.bytes));
      KINGLET_TRY(const auto store, StepStore::open(folder, static_cast<int>(i), step->plan));
      KINGLET_CHECK(run_blocks(job, *step, *store, asked.steps[i].pass));
      KINGLET_CHECK(store->assemble(joined, [&](std::uint64_t done) -> Result<void> {
        job.progress("writing", done, plan.bytes);
        if (job.cancelled()) return fail(ErrorCode::kCancelled, "interrupted");
        return {};
      }));
      KINGLET_CHECK(store->remove());
    }
    if (!last) {
      KINGLET_TRY(before, open_checkpoint(joined));
    }
  }
  return plan;
}

}  // namespace kinglet
