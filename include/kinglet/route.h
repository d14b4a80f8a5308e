// Whole inputs are routed between a cheap model and an accurate one by how sure the cheap one is (E-LANG, Akbari et al.
// 2022): its answer stays where its score reaches a threshold that was calibrated on data with known answers.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/checkpoint.h"
#include "kinglet/result.h"

namespace kinglet {

/// How sure a model is, from the logits of its K >= 2 possible answers: higher is surer. Registered by its file in
/// src/decode/route/scores.
struct RouteScore {
  std::string_view name;
  std::string_view paper;
  std::string_view help;
  double (*score)(std::span<const float> logits);
};
std::span<const RouteScore* const> route_scores();
Result<const RouteScore*> find_route_score(std::string_view name);

/// One item of the calibration.
struct RoutedItem {
  double score = 0;  ///< of the cheap model
  bool swift_right = false, super_right = false;
  double swift_cost = 0, super_cost = 0;  ///< any unit, the same for both
};

/// What a threshold gives on the calibration data: items with score >= threshold keep the cheap model's answer.
struct RoutePoint {
  double threshold = 0;  ///< largest double: none is kept; lowest double: all are
  double share = 0;      ///< of the items that the cheap model answers
  double accuracy = 0;
  double cost = 0;  ///< a mean item: the cheap model's on all, the accurate one's on the rest
};

/// All different cuts, from none kept to all. kInvalidArgument without items or with a score that is NaN.
Result<std::vector<RoutePoint>> route_curve(std::span<const RoutedItem> items);
/// Mean accuracy over the share of items that the accurate model answers, 0 to 1. Random routing has the mean of both
/// models' accuracies.
double area_under(std::span<const RoutePoint> curve);

/// What a threshold is chosen for.
enum class RouteGoal {
  kBest,   ///< the highest accuracy, then the lowest cost
  kSuper,  ///< the lowest cost with at least the accurate model's accuracy
  kShare   ///< the least share of at least so much for the cheap model
};
const RoutePoint& choose_point(std::span<const RoutePoint> curve, RouteGoal goal, double share);

/// A calibrated pair on disk: a GGUF file of metadata with the whole curve, so that the threshold can be moved later.
struct RouteFile {
  std::string swift, swift_sha256, super, super_sha256;  ///< models as they were named; empty: logits from elsewhere
  std::string score;                                     ///< of route_scores()
  bool generates = false;                                ///< scores are means over the tokens of an answer
  std::int64_t steps = 0;                                ///< of them the first so many; 0: all
  double threshold = 0;
  double swift_cost = 0, super_cost = 0;  ///< a mean item
  std::vector<RoutePoint> curve;          ///< ascending by share, at most 512 points
};
bool is_route_file(const Checkpoint& checkpoint);
/// kCorrupt where something is missing or out of range. Who uses it compares the checksums.
Result<RouteFile> read_route_file(const Checkpoint& checkpoint);
Result<void> write_route_file(const std::string& path, const RouteFile& route);

}  // namespace kinglet
