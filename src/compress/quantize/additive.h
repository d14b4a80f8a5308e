// Additive codebooks learned for one matrix (AQLM, arXiv 2401.06118), so that its outputs on calibration inputs stay.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace kinglet {

class ThreadPool;

struct AdditiveOptions {
  int books = 2;         ///< codebooks of 256 entries of 8 weights: so many bits a weight, 1 to 4
  int rounds = 4;        ///< at most: codes, entries, scales in turn, until one gains less than a hundredth
  int clusterings = 10;  ///< rounds of k-means that the first entries come from
  std::uint64_t seed = 1;
};

/// weight[r][8 g + k] = scales[r] * sum over m of entries[(m * 256 + codes[(r * groups + g) * books + m]) * 8 + k].
struct AdditiveMatrix {
  std::int64_t rows = 0, inputs = 0;
  int books = 0;
  std::vector<std::uint8_t> codes;
  std::vector<std::int8_t> entries;  ///< the codebooks' largest magnitudes add up to at most 127
  std::vector<float> scales;
};

/// The loss, sum over rows of e H e^T, after each step.
struct AdditiveReport {
  double first = 0;                                              ///< of the clustering
  std::vector<double> after_codes, after_entries, after_scales;  ///< one a round
  double stored = 0;  ///< of what is stored: entries rounded to int8, codes chosen once more
};

/// Minimises the sum over rows of e H e^T, e = matrix - target, H = `moment` [inputs, inputs] (damped by the caller),
/// for `targets` [rows, inputs], inputs a multiple of 8. Deterministic for any number of threads.
AdditiveMatrix fit_additive(std::span<const float> targets, std::int64_t rows, std::int64_t inputs,
                            std::span<const float> moment, const AdditiveOptions& options, ThreadPool& pool,
                            AdditiveReport* report = nullptr);

/// The values: out[rows * inputs].
void decode_additive(const AdditiveMatrix& matrix, float* out);

}  // namespace kinglet
