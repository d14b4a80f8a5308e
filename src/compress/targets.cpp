#include "compress/targets.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json.h"
#include "base/try.h"
#include "compress/plan/planner.h"
#include "compress/report/parts.h"

namespace kinglet {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMostTries = 6;
constexpr double kNats = 1.35;  // what a bit a weight less costs in log(KL), close to log(4) of rounding errors

double parameters_of(const Job& job) { return static_cast<double>(count_bits(job.source->tensors()).parameters); }

/// A recipe whose quality is measured elsewhere.
Recipe at_size(const Recipe& recipe, std::uint64_t bytes) {
  Recipe sized = recipe;
  sized.to_bytes = bytes;
  sized.max_kl.reset();
  return sized;
}

/// The attempts so far, read and written as a whole.
class Journal {
 public:
  Journal(const Folder& folder, std::string name) : folder_(folder), name_(std::move(name)) {}

  Result<void> load() {
    KINGLET_TRY(const std::string text, folder_.read(name_));
    if (text.empty()) return {};
    KINGLET_TRY(const Json value, parse_json(text, folder_.file(name_)));
    if (!value.is_array()) return fail(ErrorCode::kCorrupt, "expected a list", "", folder_.file(name_));
    for (const Json& entry : value) {
      Attempt attempt;
      attempt.to_bytes = entry.value("to_bytes", std::uint64_t{0});
      attempt.bytes = entry.value("bytes", std::uint64_t{0});
      attempt.kl = entry.value("kl", 0.0);
      attempt.kl_upper = entry.value("kl_upper", 0.0);
      attempt.seconds = entry.value("seconds", 0.0);
      attempt.speed = entry.value("speed", 0.0);
      attempts.push_back(attempt);
    }
    return {};
  }
  Result<void> add(const Attempt& attempt) {
    attempts.push_back(attempt);
    Json value = Json::array();
    for (const Attempt& each : attempts)
      value.push_back({{"to_bytes", each.to_bytes},
                       {"bytes", each.bytes},
                       {"kl", each.kl},
                       {"kl_upper", each.kl_upper},
                       {"seconds", each.seconds},
                       {"speed", each.speed}});
    return folder_.write(name_, dump_json(value, 1));
  }

  std::vector<Attempt> attempts;

 private:
  const Folder& folder_;
  std::string name_;
};

/// The decode speed of a file as a multiple of the source's, in turns.
Result<double> relative_speed(const Job& job, const std::string& path) {
  KINGLET_TRY(const Subject source, load_subject(job.options.source, 512, job.options.threads));
  KINGLET_TRY(const Subject result, load_subject(path, 512, job.options.threads));
  KINGLET_CHECK(check_generates(*source.model));
  SpeedMeter before(*source.engine), after(*result.engine);
  const SpeedTest test{SpeedTest::Kind::kDecode, 0, "decode"};
  std::vector<double> ratios;
  for (int round = 0; round < 7; ++round) {
    KINGLET_TRY(const double slow, before.run(test));
    KINGLET_TRY(const double fast, after.run(test));
    ratios.push_back(fast / slow);
  }
  return percentile(ratios, 0.5);
}

Result<Evaluation> held_out_quality(const Job& job, const std::string& path) {
  KINGLET_TRY(const Subject source, load_subject(job.options.source, 512 + 64, job.options.threads));
  KINGLET_TRY(const Subject result, load_subject(path, 512 + 64, job.options.threads));
  KINGLET_CHECK(check_generates(*source.model));
  std::vector<std::size_t> text_of;
  KINGLET_TRY(const auto windows,
              report_windows(source.model->tokenizer(), job.held_out, 512, kReportWindows, text_of));
  EvaluateOptions how;
  how.worst = 0;
  how.progress = [&](std::uint64_t done, std::uint64_t total) { job.progress("comparing", done, total); };
  return evaluate(*result.engine, source.engine.get(), windows, how);
}

std::string size_text(std::uint64_t bytes) { return std::to_string(bytes) + " bytes"; }

/// The next size to try for a divergence: between the nearest sizes that failed and passed, or along the usual slope
/// from the only one there is. 0 where the bracket is tight.
std::uint64_t next_size(const Job& job, const std::vector<Attempt>& attempts, double kl, std::uint64_t most_bytes) {
  const Attempt* failed = nullptr;  // the largest that was too bad
  const Attempt* passed = nullptr;  // the smallest that was good
  for (const Attempt& each : attempts) {
    if (each.kl_upper > kl && (!failed || each.to_bytes > failed->to_bytes)) failed = &each;
    if (each.kl_upper <= kl && (!passed || each.to_bytes < passed->to_bytes)) passed = &each;
  }
  // A little inside the target, so that the next attempt is likely to be the last.
  const double goal = std::log(kl * 0.95);
  const double byte_slope = kNats * 8 / parameters_of(job);
  double next = 0;
  if (failed && passed) {
    if (static_cast<double>(passed->to_bytes - failed->to_bytes) < 0.01 * static_cast<double>(passed->to_bytes))
      return 0;
    const double low = std::log(failed->kl_upper), high = std::log(std::max(passed->kl_upper, 1e-9));
    const double share = std::clamp((low - goal) / std::max(low - high, 1e-6), 0.1, 0.9);
    next = static_cast<double>(failed->to_bytes) + share * static_cast<double>(passed->to_bytes - failed->to_bytes);
  } else if (const Attempt* only = failed ? failed : passed) {
    next = static_cast<double>(only->bytes) + (std::log(std::max(only->kl_upper, 1e-9)) - goal) / byte_slope;
    if (failed && failed->to_bytes >= most_bytes) return 0;
  }
  return static_cast<std::uint64_t>(std::clamp(next, 1.0, static_cast<double>(most_bytes)));
}

}  // namespace

std::uint64_t first_size_for_kl(const Job& job, double kl) {
  const double bits = std::clamp(4.1 - std::log(kl / 0.05) / kNats, 2.3, 8.0);
  return static_cast<std::uint64_t>(parameters_of(job) * bits / 8);
}

Result<SpeedModel> speed_model_of(const Job& job, const Folder& folder) {
  const std::string name = "times.json";
  SpeedModel model;
  std::string text;
  if (!folder.path().empty()) {
    KINGLET_TRY(text, folder.read(name));
  }
  if (!text.empty()) {
    KINGLET_TRY(const Json value, parse_json(text, folder.file(name)));
    if (!value.is_object() || !value.contains("types"))
      return fail(ErrorCode::kCorrupt, "expected times", "", folder.file(name));
    model.source_seconds = value.value("source_seconds", 0.0);
    model.scale = value.value("scale", 1.0);
    model.other_seconds = value.value("other_seconds", 0.0);
    KINGLET_TRY(model.times, TypeTimes::parse(dump_json(value["types"]), folder.file(name)));
    return model;
  }
  TypeTimes wanted;
  for (std::size_t i = 0; i < job.recipe.steps.size(); ++i) {
    if (!needs_plan(job.recipe, job.recipe.steps[i])) continue;
    PassContext context = context_of(job, job.recipe, *job.source, 0, folder.path());
    KINGLET_TRY(wanted, candidate_times(context, job.recipe.steps[i]));
  }
  const PassContext context = context_of(job, job.recipe, *job.source, 0, folder.path());
  job.progress("timing types", 0, 1);
  KINGLET_TRY(model, measure_speed_model(context, std::move(wanted)));
  if (folder.path().empty()) return model;
  KINGLET_TRY(Json types, parse_json(model.times.text(), name));
  const Json value = {{"source_seconds", model.source_seconds},
                      {"scale", model.scale},
                      {"other_seconds", model.other_seconds},
                      {"types", std::move(types)}};
  KINGLET_CHECK(folder.write(name, dump_json(value, 1)));
  return model;
}

double first_limit(const SpeedModel& model, double speed) { return model.source_seconds / (speed * 1.04); }

Result<SpeedTries> limit_for_speed(const Job& job, const Folder& folder, const SpeedModel& model,
                                   const Recipe& recipe) {
  Journal journal(folder, "speeds.json");
  KINGLET_CHECK(journal.load());
  const double speed = *recipe.speed;
  Recipe plain = recipe;
  plain.max_kl.reset();
  for (RecipeStep& step : plain.steps)
    if (needs_plan(recipe, step)) step = plain_step(step);
  SpeedTries tries;
  double next = first_limit(model, speed);
  double low = 0, high = 2 * model.source_seconds;  // fast enough; too slow
  for (std::size_t i = 0; i < kMostTries; ++i) {
    if (i >= journal.attempts.size()) {
      Attempt attempt;
      attempt.seconds = next;
      const TimeLimit limit{&model, next};
      const Folder inside(folder.file("speed" + std::to_string(i)));
      auto made = run_recipe(job, plain, inside, &limit);
      if (!made && made.error().code == ErrorCode::kQualityGate && low > 0) break;
      if (!made) return tl::unexpected(std::move(made).error().within("looking for types that are fast enough"));
      attempt.bytes = made->bytes;
      KINGLET_TRY(attempt.speed, relative_speed(job, inside.file("model.gguf")));
      KINGLET_CHECK(remove_folder(inside.path()));
      KINGLET_CHECK(journal.add(attempt));
      job.note(size_text(attempt.bytes) + ": " + std::to_string(attempt.speed) + "x of the source's speed");
    }
    const Attempt& attempt = journal.attempts[i];
    // Timings scatter by some percent: what is chosen has some to spare.
    if (attempt.speed >= speed * 1.03)
      low = std::max(low, attempt.seconds);
    else
      high = std::min(high, attempt.seconds);
    if (low > 0 && (attempt.speed < speed * 1.08 || high - low < 0.04 * low)) break;
    const double guess = attempt.seconds * attempt.speed / (speed * 1.05);
    next =
        low > 0 ? std::clamp(guess, low + 0.3 * (high - low), high - 0.3 * (high - low)) : std::min(guess, 0.95 * high);
  }
  tries.attempts = journal.attempts;
  if (low > 0) {
    tries.seconds = low;
    return tries;
  }
  const auto best = std::max_element(tries.attempts.begin(), tries.attempts.end(),
                                     [](const Attempt& a, const Attempt& b) { return a.speed < b.speed; });
  char text[128];
  std::snprintf(text, sizeof text,
                "nothing tried reaches %.2fx of the source's speed: the best was %.2fx at %llu bytes", speed,
                best->speed, static_cast<unsigned long long>(best->bytes));
  return fail(ErrorCode::kQualityGate, text);
}

Result<Tries> run_for_quality(const Job& job, const Recipe& recipe, const Folder& folder, double kl,
                              std::uint64_t most_bytes, const TimeLimit* limit, ShrinkPlan& plan) {
  Journal journal(folder, "qualities.json");
  KINGLET_CHECK(journal.load());
  const auto place = [&](std::size_t i) { return Folder(folder.file("try" + std::to_string(i))); };
  std::uint64_t next = std::min(first_size_for_kl(job, kl), most_bytes);
  std::size_t best = SIZE_MAX;
  for (std::size_t i = 0; i < kMostTries && next > 0; ++i) {
    if (i >= journal.attempts.size()) {
      Attempt attempt;
      attempt.to_bytes = next;
      auto made = run_recipe(job, at_size(recipe, next), place(i), limit);
      if (!made && made.error().code == ErrorCode::kInvalidArgument && best != SIZE_MAX) break;  // nothing is smaller
      if (!made) return tl::unexpected(std::move(made).error());
      attempt.bytes = made->bytes;
      KINGLET_TRY(const Evaluation quality, held_out_quality(job, place(i).file("model.gguf")));
      attempt.kl = quality.divergence->mean;
      attempt.kl_upper = attempt.kl + 1.96 * quality.divergence->standard_error;
      KINGLET_CHECK(journal.add(attempt));
      char text[128];
      std::snprintf(text, sizeof text, "%llu bytes: KL %.3g, at most %.3g",
                    static_cast<unsigned long long>(attempt.bytes), attempt.kl, attempt.kl_upper);
      job.note(text);
    }
    const Attempt& attempt = journal.attempts[i];
    if (attempt.kl_upper <= kl && (best == SIZE_MAX || attempt.bytes < journal.attempts[best].bytes)) {
      if (best != SIZE_MAX) KINGLET_CHECK(remove_folder(place(best).path()));
      best = i;
    } else {
      KINGLET_CHECK(remove_folder(place(i).path()));
    }
    if (best != SIZE_MAX && journal.attempts[best].kl_upper > 0.85 * kl) break;
    next = next_size(job, journal.attempts, kl, most_bytes);
  }
  Tries tries{journal.attempts, 0};
  if (best == SIZE_MAX) {
    const Attempt& last = journal.attempts.back();
    char text[160];
    std::snprintf(text, sizeof text, "no size tried keeps the divergence below %g: %llu bytes give %.3g, at most %.3g",
                  kl, static_cast<unsigned long long>(last.bytes), last.kl, last.kl_upper);
    return fail(ErrorCode::kQualityGate, text, "Allow more bytes, or a larger divergence.");
  }
  tries.chosen = journal.attempts[best].to_bytes;
  // Again, to know the plan: all of it is there.
  KINGLET_TRY(plan, run_recipe(job, at_size(recipe, tries.chosen), place(best), limit));
  if (!file_exists(folder.file("model.gguf")))
    KINGLET_CHECK(move_file(place(best).file("model.gguf"), folder.file("model.gguf")));
  return tries;
}

}  // namespace kinglet
