// Second moments with their factors, in the orders of inputs that types are rounded in, without a second copy.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "compress/quantize/factor.h"
#include "kinglet/result.h"

namespace kinglet {

class ThreadPool;

enum class InputOrder {
  kNatural,
  kTrellis,  ///< coding order within each 32 inputs (tensor/quantize/trellis.h); inputs a multiple of 32
};

/// Moments lie in one order at a time and are moved in place; the factor of each order is made once and kept.
class OrderedMoments {
 public:
  /// `moment` [inputs, inputs], symmetric, natural order. Moments that were damped before are final.
  OrderedMoments(std::vector<float> moment, std::int64_t inputs);

  /// Adds `share` of the diagonal's mean to the diagonal.
  void damp(double share);
  /// As before damp(): a copy.
  std::vector<float> undamped();

  /// kInvalidArgument where the moments are not positive definite.
  Result<const MomentFactor*> factor(InputOrder order, ThreadPool& pool);
  /// [inputs, inputs], put into the order; valid until another is asked for.
  std::span<const float> moment(InputOrder order);
  std::int64_t inputs() const { return inputs_; }

 private:
  std::vector<float> moment_, diagonal_;  ///< the diagonal before damp()
  std::int64_t inputs_;
  InputOrder order_ = InputOrder::kNatural;
  std::optional<MomentFactor> factors_[2];
};

}  // namespace kinglet
