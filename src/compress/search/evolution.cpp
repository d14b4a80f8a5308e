#include "compress/search/evolution.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <string>

#include "base/try.h"

namespace kinglet {
namespace {

double mean(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) /
         static_cast<double>(std::max<std::size_t>(1, values.size()));
}

/// splitmix64 (Steele, Lea, Flood 2014).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  std::size_t below(std::size_t count) { return static_cast<std::size_t>(next() % count); }

 private:
  std::uint64_t state_;
};

constexpr int kMostChanges = 10;
constexpr double kLeastUse = 0.8;  ///< of the freed bytes

std::uint64_t mix(std::uint64_t seed, std::uint64_t a, std::uint64_t b) {
  return Random(Random(seed ^ a * 0x9E3779B97F4A7C15u).next() + b).next();
}

/// One item up, others down until the budget is kept. False where that takes too much.
bool switch_levels(std::span<const SearchItem> items, SearchPoint& point, std::uint64_t budget, Random& random,
                   bool exact) {
  std::vector<std::size_t> can_rise, can_fall;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (point[i] + 1 < static_cast<int>(items[i].bytes.size())) can_rise.push_back(i);
  }
  if (can_rise.empty()) return false;
  const std::size_t up = can_rise[random.below(can_rise.size())];
  const auto level = static_cast<std::size_t>(point[up]);
  const std::uint64_t added = items[up].bytes[level + 1] - items[up].bytes[level];
  ++point[up];
  std::uint64_t freed = 0, total = bytes_of(items, point);
  const auto saved = [&](std::size_t i) {
    const auto at = static_cast<std::size_t>(point[i]);
    return items[i].bytes[at] - items[i].bytes[at - 1];
  };
  for (int changes = 1; exact ? freed == 0 : total > budget; ++changes) {
    if (changes >= kMostChanges) return false;
    can_fall.clear();
    for (std::size_t i = 0; i < items.size(); ++i)
      if (i != up && point[i] > 0 && (!exact || saved(i) == added)) can_fall.push_back(i);
    if (can_fall.empty()) return false;
    const std::size_t down = can_fall[random.below(can_fall.size())];
    const std::uint64_t less = saved(down);
    --point[down];
    freed += less;
    total -= less;
  }
  // What stays unused must be little beside what was given up, and was not free before.
  return freed == 0 || static_cast<double>(added) >= kLeastUse * static_cast<double>(freed);
}

/// The points in order of their costs on the data, and the costs.
struct Ranked {
  std::vector<SearchPoint> points;
  std::vector<std::vector<double>> costs;
};

Result<Ranked> ranked(const std::vector<SearchPoint>& points, const SearchData& data, const SearchFitness& fitness) {
  std::vector<std::vector<double>> costs(points.size());
  std::vector<double> means(points.size());
  for (std::size_t i = 0; i < points.size(); ++i) {
    KINGLET_TRY(costs[i], fitness(points[i], data));
    means[i] = mean(costs[i]);
  }
  std::vector<std::size_t> order(points.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return means[a] != means[b] ? means[a] < means[b] : a < b; });
  Ranked result;
  for (const std::size_t i : order) {
    result.points.push_back(points[i]);
    result.costs.push_back(std::move(costs[i]));
  }
  return result;
}

/// Of the children the one that is left by all stages, or the parent where that is not beaten in the last of them.
Result<SearchPoint> select(std::vector<SearchPoint> points, const SearchState& state, const SearchOptions& options,
                           const SearchFitness& fitness) {
  SearchData data{.generation = state.generation};
  for (const SearchStage& stage : options.stages) {
    const bool last = &stage == &options.stages.back();
    data.tokens = stage.tokens;
    KINGLET_TRY(Ranked order, ranked(points, data, fitness));
    if (last) {
      KINGLET_TRY(const auto parent, fitness(state.parent, data));
      return beats(order.costs.front(), parent, options.certainty) ? order.points.front() : state.parent;
    }
    order.points.resize(std::min(order.points.size(), static_cast<std::size_t>(stage.survivors)));
    points = std::move(order.points);
    data.first += stage.tokens;
  }
  return state.parent;
}

}  // namespace

bool beats(std::span<const double> child, std::span<const double> parent, double certainty) {
  const auto count = static_cast<double>(parent.size());
  const double gain = mean(parent) - mean(child);
  double squares = 0;
  for (std::size_t i = 0; i < parent.size(); ++i) {
    const double off = parent[i] - child[i] - gain;
    squares += off * off;
  }
  return gain > 0 && gain >= certainty * std::sqrt(squares / (count * std::max(1.0, count - 1)));
}

std::uint64_t bytes_of(std::span<const SearchItem> items, const SearchPoint& point) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < items.size(); ++i) sum += items[i].bytes[static_cast<std::size_t>(point[i])];
  return sum;
}

SearchPoint mutate(std::span<const SearchItem> items, const SearchPoint& parent, std::uint64_t budget,
                   std::uint64_t random_seed, bool exact) {
  Random random(random_seed);
  SearchPoint child = parent;
  const std::size_t switches = 1 + std::min(random.below(3), random.below(3));
  for (std::size_t i = 0; i < switches; ++i) {
    if (!switch_levels(items, child, budget, random, exact)) return {};
  }
  return child == parent ? SearchPoint{} : child;
}

Result<SearchState> evolve(std::span<const SearchItem> items, SearchState state, const SearchOptions& options,
                           const SearchFitness& fitness,
                           const std::function<Result<void>(const SearchState&)>& journal) {
  if (bytes_of(items, state.parent) > options.budget) {
    return fail(ErrorCode::kInvalidArgument, "the search starts at " + std::to_string(bytes_of(items, state.parent)) +
                                                 " bytes, above the budget of " + std::to_string(options.budget));
  }
  while (state.generation < options.generations) {
    const auto generation = static_cast<std::uint64_t>(state.generation);
    std::vector<SearchPoint> points;
    std::set<SearchPoint> seen{state.parent};
    for (std::uint64_t attempt = 0; attempt < 64u * static_cast<std::uint64_t>(options.offspring) &&
                                    points.size() < static_cast<std::size_t>(options.offspring);
         ++attempt) {
      SearchPoint child =
          mutate(items, state.parent, options.budget, mix(options.seed, generation, attempt), options.exact);
      if (!child.empty() && seen.insert(child).second) points.push_back(std::move(child));
    }
    if (points.empty()) break;  // nowhere to go
    KINGLET_TRY(SearchPoint best, select(std::move(points), state, options, fitness));
    if (best != state.parent) ++state.accepted;
    state.parent = std::move(best);
    ++state.generation;
    KINGLET_CHECK(journal(state));
  }
  return state;
}

}  // namespace kinglet
