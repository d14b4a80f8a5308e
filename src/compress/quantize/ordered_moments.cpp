#include "compress/quantize/ordered_moments.h"

#include <algorithm>
#include <utility>

#include "base/try.h"
#include "tensor/quantize/trellis.h"

namespace kinglet {
namespace {

/// Rows and columns within each group of a symmetric matrix: what was at from[k] comes to k.
void reorder(std::vector<float>& matrix, std::size_t inputs, const std::size_t* from) {
  constexpr std::size_t kGroup = kTrellisGroup;
  std::vector<float> rows(kGroup * inputs);
  for (std::size_t first = 0; first < inputs; first += kGroup) {
    std::copy_n(matrix.data() + first * inputs, rows.size(), rows.data());
    for (std::size_t i = 0; i < kGroup; ++i) {
      const float* row = rows.data() + from[i] * inputs;
      float* to = matrix.data() + (first + i) * inputs;
      for (std::size_t j = 0; j < inputs; j += kGroup) {
        for (std::size_t k = 0; k < kGroup; ++k) to[j + k] = row[j + from[k]];
      }
    }
  }
}

}  // namespace

OrderedMoments::OrderedMoments(std::vector<float> moment, std::int64_t inputs)
    : moment_(std::move(moment)), inputs_(inputs) {}

void OrderedMoments::damp(double share) {
  const auto n = static_cast<std::size_t>(inputs_);
  moment(InputOrder::kNatural);
  double mean = 0;
  diagonal_.resize(n);
  for (std::size_t i = 0; i < n; ++i) {
    diagonal_[i] = moment_[i * n + i];
    mean += moment_[i * n + i] / static_cast<double>(n);
  }
  for (std::size_t i = 0; i < n; ++i) moment_[i * n + i] += static_cast<float>(share * mean + 1e-12);
  for (auto& factor : factors_) factor.reset();
}

std::vector<float> OrderedMoments::undamped() {
  moment(InputOrder::kNatural);
  std::vector<float> copy = moment_;
  for (std::size_t i = 0; i < diagonal_.size(); ++i) copy[i * diagonal_.size() + i] = diagonal_[i];
  return copy;
}

std::span<const float> OrderedMoments::moment(InputOrder order) {
  if (order != order_) {
    std::size_t from[kTrellisGroup];
    for (std::size_t k = 0; k < kTrellisGroup; ++k) {
      const auto input = static_cast<std::size_t>(kTrellisOrder[k]);
      from[order == InputOrder::kTrellis ? k : input] = order == InputOrder::kTrellis ? input : k;
    }
    reorder(moment_, static_cast<std::size_t>(inputs_), from);
    order_ = order;
  }
  return moment_;
}

Result<const MomentFactor*> OrderedMoments::factor(InputOrder order, ThreadPool& pool) {
  auto& kept = factors_[static_cast<int>(order)];
  if (!kept) {
    KINGLET_TRY(kept, factorise(moment(order), inputs_, pool));
  }
  return &*kept;
}

}  // namespace kinglet
