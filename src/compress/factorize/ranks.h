// How many of its singular values each matrix keeps.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kinglet/block_type.h"
#include "kinglet/result.h"

namespace kinglet {

/// A matrix that may become two factors.
struct RankedMatrix {
  std::string name;
  std::int64_t outputs = 0, inputs = 0;
  std::uint64_t bytes = 0;            ///< as it is
  const BlockType* type = nullptr;    ///< of the factors
  std::int64_t rank = 0;              ///< 0: it stays whole
  std::vector<double> energies = {};  ///< squared singular values, where ranks are chosen by them
  double sensitivity = 1;             ///< what a relative error costs

  std::int64_t full_rank() const { return std::min(outputs, inputs); }
  std::uint64_t factor_bytes(std::int64_t of_rank) const;
  /// Share of the squared outputs that a rank loses.
  double lost(std::int64_t of_rank) const;
};

/// One of the ways to say how much is kept.
struct RankRule {
  double ratio = 0;   ///< below 1: of the break-even rank; 1 and above: the rank itself
  double energy = 0;  ///< share of the squared outputs to keep
  std::int64_t multiple = 32;
  double min_gain = 0.1;  ///< a matrix that does not become smaller by this share stays whole
  bool force = false;     ///< factors even where they are larger
};

/// The type that a factor with rows of `columns` values gets: `type`, or the next that fits.
const BlockType* factor_type(const BlockType& type, std::int64_t columns);

/// Sets the rank of each matrix by ratio or energy.
void choose_ranks(const RankRule& rule, std::span<RankedMatrix> matrices);

/// Sets the ranks with the least summed loss at `bytes` or fewer for all of these matrices. kInvalidArgument where the
/// smallest ranks are larger.
Result<void> choose_ranks_within(const RankRule& rule, std::uint64_t bytes, std::span<RankedMatrix> matrices);

}  // namespace kinglet
