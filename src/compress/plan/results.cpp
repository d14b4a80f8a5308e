#include "compress/plan/results.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json.h"
#include "base/sha256.h"

namespace kinglet {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMostResults = 64;  // the last ones
constexpr std::uint64_t kMostFile = 1 << 16;
constexpr double kNear = 0.1;       // a vote counts 1 / (kNear + how far apart in the logarithm)
constexpr double kOwnWeight = 0.5;  // of the prediction as it is: a twentieth of a vote for the very same prediction

/// The step as it was asked for, whatever types were chosen for it.
std::string path_of(const PassContext& context, const RecipeStep& step) {
  if (context.cache_folder.empty()) return "";
  Recipe alone;
  alone.steps.push_back(step);
  return context.cache_folder + "/" +
         sha256("results 1 " + context.source_digest + " " + sha256(context.text).hex() + recipe_text(alone)).hex() +
         ".results.json";
}

Json read_results(const std::string& path) {
  if (path.empty() || !file_exists(path)) return Json::array();
  const auto text = read_file(path, kMostFile);
  if (!text) return Json::array();
  const auto value = parse_json(*text, path);
  return value && value->is_array() ? Json(*value) : Json::array();
}

}  // namespace

CorrectedLoss corrected_loss(const PassContext& context, const RecipeStep& step, double predicted) {
  CorrectedLoss corrected{predicted, 0};
  if (!(predicted > 0)) return corrected;
  double sum = 0, weights = kOwnWeight;
  for (const Json& each : read_results(path_of(context, step))) {
    if (!each.is_object()) continue;
    const double then = each.value("predicted", 0.0), measured = each.value("measured", 0.0);
    if (!(then > 0) || !(measured > 0)) continue;
    const double weight = 1 / (kNear + std::abs(std::log(predicted / then)));
    sum += weight * std::log(measured / then);
    weights += weight;
    ++corrected.results;
  }
  corrected.loss = predicted * std::exp(sum / weights);
  return corrected;
}

void keep_result(const PassContext& context, const RecipeStep& step, double predicted, double measured) {
  const std::string path = path_of(context, step);
  if (path.empty() || !(predicted > 0) || !(measured > 0) || !make_folders(context.cache_folder)) return;
  Json results = read_results(path);
  results.push_back({{"predicted", predicted}, {"measured", measured}});
  if (results.size() > kMostResults) results.erase(results.begin());
  if (auto file = AtomicFile::create(path); file && (*file)->write(dump_json(results, 1))) (void)(*file)->commit();
}

}  // namespace kinglet
