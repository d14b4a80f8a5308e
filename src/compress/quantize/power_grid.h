// The exponent of power-exponent quantization: how far off values are for an exponent, and the search for the best one
// (PowerQuant, arXiv 2301.09858, step 1).
#pragma once

#include <cstdint>
#include <functional>
#include <span>

namespace kinglet {

/// Codes of `bits` bits, symmetric: q = sign(w) round(P (|w| / m)^a) with P = 2^(bits-1) - 1 and m the largest
/// magnitude; value = sign(q) m (|q| / P)^(1/a). bits 2..8, exponent 0.3..1.2.
class PowerGrid {
 public:
  PowerGrid(int bits, double exponent);
  int most() const { return most_; }  ///< P
  double exponent() const { return exponent_; }
  int encode(double value, double peak) const;
  double decode(int code, double peak) const { return code < 0 ? -peak * levels_[-code] : peak * levels_[code]; }
  /// decode(a, 1) * decode(b, 1) = product(a * b): powers keep products, so that integers can be multiplied first.
  double product(std::int64_t codes) const;

 private:
  int most_;
  double exponent_;
  double levels_[128];  ///< of the codes 0..P
};

/// Relative squared error of values in blocks of `block`, each with the scale that is best for its codes, of the best
/// of some ranges from m down to 0.7 m. Weights (may be empty) repeat: one for each of `weights.size()` values.
double power_error(std::span<const float> values, std::span<const float> weights, std::size_t block, int bits,
                   double exponent);

struct PowerMinimum {
  double exponent = 1, error = 0;
  int evaluations = 0;
};

/// Golden-section search of the exponent on [low, high] to within 0.005.
PowerMinimum search_exponent(const std::function<double(double)>& error, double low, double high);

}  // namespace kinglet
