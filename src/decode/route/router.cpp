#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/try.h"
#include "kinglet/route.h"

namespace kinglet {
namespace {

constexpr std::size_t kMostPoints = 512;
constexpr double kHighest = std::numeric_limits<double>::max();

}  // namespace

Result<const RouteScore*> find_route_score(std::string_view name) {
  std::string names;
  for (const RouteScore* score : route_scores()) {
    if (score->name == name) return score;
    names += (names.empty() ? "" : ", ") + std::string(score->name);
  }
  return fail(ErrorCode::kInvalidArgument, "there is no score '" + std::string(name) + "'", "Scores: " + names + ".");
}

Result<std::vector<RoutePoint>> route_curve(std::span<const RoutedItem> items) {
  if (items.empty()) return fail(ErrorCode::kInvalidArgument, "there are no items to calibrate with");
  std::vector<std::size_t> order(items.size());
  std::iota(order.begin(), order.end(), 0);
  double right = 0, cost = 0;
  for (const RoutedItem& item : items) {
    if (!std::isfinite(item.score)) return fail(ErrorCode::kInvalidArgument, "a score is not a finite number");
    right += item.super_right;
    cost += item.swift_cost + item.super_cost;
  }
  std::ranges::sort(order, [&](std::size_t a, std::size_t b) {
    return items[a].score != items[b].score ? items[a].score > items[b].score : a < b;
  });
  const auto count = static_cast<double>(items.size());
  std::vector<RoutePoint> curve = {{kHighest, 0, right / count, cost / count}};
  for (std::size_t i = 0; i < order.size(); ++i) {
    const RoutedItem& item = items[order[i]];
    right += item.swift_right - item.super_right;
    cost -= item.super_cost;
    // Equal scores stand on one side of every threshold.
    if (i + 1 < order.size() && items[order[i + 1]].score == item.score) continue;
    const bool all = i + 1 == order.size();
    curve.push_back({all ? -kHighest : item.score, static_cast<double>(i + 1) / count, right / count, cost / count});
  }
  return curve;
}

double area_under(std::span<const RoutePoint> curve) {
  double area = 0;
  for (std::size_t i = 1; i < curve.size(); ++i)
    area += (curve[i].share - curve[i - 1].share) * (curve[i].accuracy + curve[i - 1].accuracy) / 2;
  return area;
}

const RoutePoint& choose_point(std::span<const RoutePoint> curve, RouteGoal goal, double share) {
  const RoutePoint* best = &curve.front();
  const double enough = curve.front().accuracy - 1e-12;
  for (const RoutePoint& point : curve) {
    if (goal == RouteGoal::kShare) {
      if (point.share >= share) return point;
      best = &point;
    } else if (goal == RouteGoal::kSuper) {
      if (point.accuracy >= enough && point.share >= best->share) best = &point;
    } else if (point.accuracy >= best->accuracy - 1e-12) {
      best = &point;  // shares ascend: of equals the cheapest
    }
  }
  return *best;
}

bool is_route_file(const Checkpoint& checkpoint) {
  const auto type = checkpoint.metadata().string_or("general.type", "");
  return type && *type == "route";
}

Result<RouteFile> read_route_file(const Checkpoint& checkpoint) {
  const Metadata& metadata = checkpoint.metadata();
  const std::string path(checkpoint.path());
  if (!is_route_file(checkpoint))
    return fail(ErrorCode::kCorrupt, "this is no file of `kinglet route calibrate`", "", path);
  RouteFile route;
  KINGLET_TRY(route.swift, metadata.string_or("kinglet.route.swift", ""));
  KINGLET_TRY(route.swift_sha256, metadata.string_or("kinglet.route.swift_sha256", ""));
  KINGLET_TRY(route.super, metadata.string_or("kinglet.route.super", ""));
  KINGLET_TRY(route.super_sha256, metadata.string_or("kinglet.route.super_sha256", ""));
  KINGLET_TRY(route.score, metadata.string("kinglet.route.score"));
  KINGLET_CHECK(find_route_score(route.score));
  KINGLET_TRY(route.generates, metadata.flag_or("kinglet.route.generates", false));
  KINGLET_TRY(route.steps, metadata.integer_or("kinglet.route.steps", 0, 0, 1 << 20));
  KINGLET_TRY(route.threshold, metadata.number("kinglet.route.threshold", -kHighest, kHighest));
  KINGLET_TRY(route.swift_cost, metadata.number_or("kinglet.route.swift_cost", 0, 0, kHighest));
  KINGLET_TRY(route.super_cost, metadata.number_or("kinglet.route.super_cost", 0, 0, kHighest));
  std::vector<const std::vector<double>*> columns;
  for (const char* name : {"thresholds", "shares", "accuracies", "costs"}) {
    KINGLET_TRY(const auto* column, metadata.numbers(std::string("kinglet.route.curve.") + name));
    if (column == nullptr || column->empty() || column->size() != (columns.empty() ? column : columns[0])->size())
      return fail(ErrorCode::kCorrupt, "the curve's " + std::string(name) + " are missing or of another number", "",
                  path);
    columns.push_back(column);
  }
  for (std::size_t i = 0; i < columns[0]->size(); ++i) {
    const RoutePoint point{(*columns[0])[i], (*columns[1])[i], (*columns[2])[i], (*columns[3])[i]};
    const double before = route.curve.empty() ? 0 : route.curve.back().share;
    if (!(point.share >= before && point.share <= 1 && point.accuracy >= 0 && point.accuracy <= 1))
      return fail(ErrorCode::kCorrupt, "the curve's shares do not ascend, or leave 0 to 1", "", path);
    route.curve.push_back(point);
  }
  return route;
}

Result<void> write_route_file(const std::string& path, const RouteFile& route) {
  Metadata metadata;
  metadata.set_string("general.architecture", "kinglet-route");
  metadata.set_string("general.type", "route");
  for (const auto& [key, value] : {std::pair("swift", &route.swift), std::pair("swift_sha256", &route.swift_sha256),
                                   std::pair("super", &route.super), std::pair("super_sha256", &route.super_sha256)})
    if (!value->empty()) metadata.set_string(std::string("kinglet.route.") + key, *value);
  metadata.set_string("kinglet.route.score", route.score);
  metadata.set_flag("kinglet.route.generates", route.generates);
  metadata.set_integer("kinglet.route.steps", route.steps);
  const auto number = [&](const char* key, double value) {
    metadata.set_number(std::string("kinglet.route.") + key, value, MetadataType::kFloat64);
  };
  number("threshold", route.threshold);
  number("swift_cost", route.swift_cost);
  number("super_cost", route.super_cost);
  std::vector<double> columns[4];
  const std::size_t count = std::min(route.curve.size(), kMostPoints);
  for (std::size_t i = 0; i < count; ++i) {
    const RoutePoint& point = route.curve[count < 2 ? i : i * (route.curve.size() - 1) / (count - 1)];
    columns[0].push_back(point.threshold);
    columns[1].push_back(point.share);
    columns[2].push_back(point.accuracy);
    columns[3].push_back(point.cost);
  }
  const char* names[] = {"thresholds", "shares", "accuracies", "costs"};
  for (std::size_t i = 0; i < 4; ++i)
    metadata.set_numbers(std::string("kinglet.route.curve.") + names[i], std::move(columns[i]), MetadataType::kFloat64);
  KINGLET_TRY(const auto writer, GgufWriter::create(path, metadata, {}));
  return writer->finish();
}

}  // namespace kinglet
