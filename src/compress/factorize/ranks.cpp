#include "compress/factorize/ranks.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/try.h"
#include "compress/factorize/low_rank.h"
#include "compress/plan/choices.h"
#include "kinglet/convert.h"

namespace kinglet {
namespace {

/// Whether factors of this rank are worth their second multiplication.
bool gains(const RankRule& rule, const RankedMatrix& matrix, std::int64_t rank) {
  return static_cast<double>(matrix.factor_bytes(rank)) <= (1 - rule.min_gain) * static_cast<double>(matrix.bytes);
}

/// A whole multiple, so that the second factor's rows are whole blocks; small ranks stay as they are.
std::int64_t down_to_multiple(std::int64_t rank, std::int64_t multiple) {
  return rank < multiple ? rank : rank / multiple * multiple;
}

std::int64_t rank_for_energy(const RankedMatrix& matrix, double energy) {
  const double all = std::accumulate(matrix.energies.begin(), matrix.energies.end(), 0.0);
  double kept = 0;
  std::int64_t rank = 0;
  while (rank < matrix.full_rank() && kept < energy * all) kept += matrix.energies[static_cast<std::size_t>(rank++)];
  return std::max<std::int64_t>(rank, 1);
}

}  // namespace

const BlockType* factor_type(const BlockType& type, std::int64_t columns) {
  return converted_type({.name = "factor", .type = find_block_type("F32"), .shape = {1, columns}}, type);
}

std::uint64_t RankedMatrix::factor_bytes(std::int64_t of_rank) const {
  const auto row = [&](std::int64_t columns) {
    return factor_type(*type, columns)->row_bytes(static_cast<std::uint64_t>(columns));
  };
  return static_cast<std::uint64_t>(of_rank) * row(inputs) + static_cast<std::uint64_t>(outputs) * row(of_rank);
}

double RankedMatrix::lost(std::int64_t of_rank) const {
  const double all = std::accumulate(energies.begin(), energies.end(), 0.0);
  const double left = std::accumulate(energies.begin() + of_rank, energies.end(), 0.0);
  return all > 0 ? left / all : 0;
}

void choose_ranks(const RankRule& rule, std::span<RankedMatrix> matrices) {
  for (RankedMatrix& matrix : matrices) {
    std::int64_t rank = 0;
    if (rule.energy > 0) {
      rank = rank_for_energy(matrix, rule.energy);
      if (rank > rule.multiple) rank = (rank + rule.multiple - 1) / rule.multiple * rule.multiple;
    } else {
      const auto limit = static_cast<double>(break_even_rank(matrix.outputs, matrix.inputs));
      rank = static_cast<std::int64_t>(rule.ratio < 1 ? std::floor(rule.ratio * limit) : rule.ratio);
      if (!rule.force) rank = down_to_multiple(rank, rule.multiple);
    }
    rank = std::min(rank, matrix.full_rank());
    matrix.rank = rank > 0 && (rule.force || gains(rule, matrix, rank)) ? rank : 0;
  }
}

Result<void> choose_ranks_within(const RankRule& rule, std::uint64_t bytes, std::span<RankedMatrix> matrices) {
  std::vector<TensorChoices> all(matrices.size());
  std::vector<std::vector<std::int64_t>> ranks(matrices.size());
  for (std::size_t i = 0; i < matrices.size(); ++i) {
    const RankedMatrix& matrix = matrices[i];
    all[i].name = matrix.name;
    for (std::int64_t rank = rule.multiple; rank <= matrix.full_rank() && gains(rule, matrix, rank);
         rank += rule.multiple) {
      ranks[i].push_back(rank);
      all[i].choices.push_back({matrix.type, matrix.factor_bytes(rank), matrix.sensitivity * matrix.lost(rank)});
    }
    ranks[i].push_back(0);
    all[i].choices.push_back({matrix.type, matrix.bytes, 0});
  }
  KINGLET_TRY(const auto chosen, allocate(all, bytes));
  for (std::size_t i = 0; i < matrices.size(); ++i) matrices[i].rank = ranks[i][chosen[i]];
  return {};
}

}  // namespace kinglet
