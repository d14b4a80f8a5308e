// Evolutionary search over one level for each item under an exact budget of bytes (EvoPress, arXiv 2410.14649):
// offspring of one parent by a few level switches, chosen in stages on more and more data, the parent taking part in
// the last.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "kinglet/result.h"

namespace kinglet {

using SearchPoint = std::vector<int>;  ///< level of each item

struct SearchItem {
  std::vector<std::uint64_t> bytes;  ///< of each level, ascending
};

/// One round of a generation's selection: how many survive it, and on how many tokens they are compared.
struct SearchStage {
  int survivors = 1;
  std::int64_t tokens = 0;
};

struct SearchOptions {
  std::uint64_t budget = 0;  ///< bytes of all items together
  int generations = 60, offspring = 16;
  std::vector<SearchStage> stages;  ///< the last has one survivor
  std::uint64_t seed = 1;
  /// Each rise is paid by one fall of the same bytes, so that every point has those of the start: items of one size
  /// trade with each other.
  bool exact = false;
  /// A child replaces its parent where it is better by more than this many standard errors of their difference on the
  /// last stage's samples: the best of many children on little data is often best by chance.
  double certainty = 0;
};

struct SearchState {
  SearchPoint parent;
  int generation = 0;  ///< done
  int accepted = 0;    ///< generations that replaced the parent
  bool operator==(const SearchState&) const = default;
};

/// The data of one stage of a generation, all points of which are compared on it.
struct SearchData {
  int generation = 0;
  std::int64_t first = 0;  ///< tokens of the earlier stages, not to be read again: their survivors were chosen by them
  std::int64_t tokens = 0;
};

/// The cost on each sample of the data, lower being better; the same samples for all points.
using SearchFitness = std::function<Result<std::vector<double>>(const SearchPoint& point, const SearchData& data)>;

/// Whether the mean of `child` is below that of `parent` by more than `certainty` standard errors of the difference on
/// the same samples (0 for one sample).
bool beats(std::span<const double> child, std::span<const double> parent, double certainty);

std::uint64_t bytes_of(std::span<const SearchItem> items, const SearchPoint& point);

/// A child: one to three times (as min(U{1..3}, U{1..3})) some item goes a level up and others down until the budget is
/// kept, or, where it is `exact`, one other of the same step. Empty where none was found: too many changes, less than
/// 80 % of the freed bytes used, or equal to the parent.
SearchPoint mutate(std::span<const SearchItem> items, const SearchPoint& parent, std::uint64_t budget,
                   std::uint64_t random_seed, bool exact = false);

/// Goes on from `state`; `journal` sees it after each generation (a failure ends the search). Deterministic: each
/// generation's random numbers come from seed and generation alone. kInvalidArgument where the start is above budget.
Result<SearchState> evolve(std::span<const SearchItem> items, SearchState state, const SearchOptions& options,
                           const SearchFitness& fitness,
                           const std::function<Result<void>(const SearchState&)>& journal);

}  // namespace kinglet
