#include "compress/quantize/factor.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>

#include "base/thread_pool.h"
#include "compress/quantize/rounding_kernels.h"

namespace kinglet {

namespace {

constexpr std::int64_t kPanel = 32;   // columns that are finished together; a multiple of the chains
constexpr std::int64_t kPiece = 512;  // inputs of a product for which two panels stay in the cache
constexpr std::int64_t kColumns = 8;  // of the factor that are read side by side: a line of the cache

/// Lower triangle of doubles; rows begin at whole lines of the cache.
class Triangle {
 public:
  explicit Triangle(std::int64_t rows) : values_(static_cast<std::size_t>(offset(rows) + kDotChains)) {
    const auto address = reinterpret_cast<std::uintptr_t>(values_.data());
    first_ = values_.data() + (64 - address % 64) % 64 / sizeof(double);
  }
  double* row(std::int64_t i) { return first_ + offset(i); }

 private:
  static std::int64_t offset(std::int64_t i) {
    const std::int64_t whole = i / kDotChains, rest = i % kDotChains;
    return kDotChains * (whole + 1) * (kDotChains * whole / 2 + rest);
  }
  std::vector<double> values_;
  double* first_;
};

/// Cholesky's factor of the matrix in reversed order, panel by panel: the products with all finished columns first, for
/// tiles of 32 x 32, then column by column within the panel. Every sum is that of one row times another in eight
/// interleaved chains.
class Cholesky {
 public:
  Cholesky(std::span<const float> moment, std::int64_t inputs)
      : moment_(moment), inputs_(inputs), lower_(inputs), kernels_(rounding_kernels()) {}

  /// The first input whose pivot is not positive; none.
  std::optional<std::int64_t> run(ThreadPool& pool) {
    std::atomic<std::int64_t> next{0};
    const std::int64_t panels = (inputs_ + kPanel - 1) / kPanel;
    if (panels == 1) {  // from within a region, too
      std::vector<double> sums(kPanel * kPanel * kDotChains);
      tile(0, 0, sums);
      return bad_;
    }
    pool.run([&](int thread) {
      std::vector<double> sums(kPanel * kPanel * kDotChains);
      for (std::int64_t panel = 0; panel < panels; ++panel) {
        if (thread == 0) {
          tile(panel, panel, sums);
          next = panel + 1;
        }
        pool.barrier();
        if (bad_) return;
        for (std::int64_t i = next++; i < panels; i = next++) tile(i, panel, sums);
        pool.barrier();
      }
    });
    return bad_;
  }

  MomentFactor result(ThreadPool& pool) {
    const auto n = static_cast<std::size_t>(inputs_);
    MomentFactor factor{
        .inputs = inputs_, .triangle = std::vector<float>(n * (n - 1) / 2), .pivots = std::vector<float>(n)};
    std::atomic<std::int64_t> next{0};
    pool.run([&](int) {
      for (std::int64_t first = kColumns * next++; first < inputs_; first = kColumns * next++)
        copy(first, std::min(first + kColumns, inputs_), factor);
    });
    return factor;
  }

 private:
  void tile(std::int64_t rows, std::int64_t panel, std::vector<double>& sums) {
    const std::int64_t begin = panel * kPanel, end = std::min(begin + kPanel, inputs_);
    const std::int64_t first = rows * kPanel, last = std::min(first + kPanel, inputs_);
    std::fill(sums.begin(), sums.end(), 0.0);
    for (std::int64_t at = 0; at < begin; at += kPiece) {
      double* to = sums.data();
      for (std::int64_t r = first; r < first + kPanel; r += kDotRows) {
        for (std::int64_t c = begin; c < begin + kPanel; c += kDotColumns) {
          const double *left[kDotRows], *right[kDotColumns];
          for (int i = 0; i < kDotRows; ++i) left[i] = lower_.row(std::min(r + i, inputs_ - 1)) + at;
          for (int i = 0; i < kDotColumns; ++i) right[i] = lower_.row(std::min(c + i, inputs_ - 1)) + at;
          kernels_.dots(left, right, std::min(kPiece, begin - at), to);
          to += kDotRows * kDotColumns * kDotChains;
        }
      }
    }
    for (std::int64_t i = first; i < last; ++i) {
      for (std::int64_t j = begin; j < std::min(end, i + 1); ++j)
        finish(i, j, begin, sums.data() + place(i - first, j - begin));
    }
  }

  /// Where the chains of a row and a column of the tile begin.
  static std::int64_t place(std::int64_t row, std::int64_t column) {
    const std::int64_t block = row / kDotRows * (kPanel / kDotColumns) + column / kDotColumns;
    const std::int64_t within = row % kDotRows * kDotColumns + column % kDotColumns;
    return (block * kDotRows * kDotColumns + within) * kDotChains;
  }

  void finish(std::int64_t i, std::int64_t j, std::int64_t begin, const double* sums) {
    double* row = lower_.row(i);
    const double* other = lower_.row(j);
    const double wanted = moment_[static_cast<std::size_t>((inputs_ - 1 - i) * inputs_ + inputs_ - 1 - j)];
    const double rest = wanted - kernels_.dot_end(row + begin, other + begin, j - begin, sums);
    if (j < i) {
      row[j] = rest / other[j];
    } else if (rest > 0 && std::isfinite(rest)) {
      row[j] = std::sqrt(rest);
    } else if (!bad_) {
      bad_ = inputs_ - 1 - i;
    }
  }

  /// Columns [first, last) of the lower triangle, read backwards.
  void copy(std::int64_t first, std::int64_t last, MomentFactor& factor) {
    const std::int64_t n = inputs_;
    float* columns[kColumns];
    double pivots[kColumns];
    for (std::int64_t at = first; at < last; ++at) {
      const std::int64_t k = n - 1 - at;
      columns[at - first] = factor.triangle.data() + k * (k - 1) / 2;
      pivots[at - first] = lower_.row(at)[at];
      factor.pivots[static_cast<std::size_t>(k)] = static_cast<float>(pivots[at - first] * pivots[at - first]);
    }
    for (std::int64_t row = first + 1; row < n; ++row) {
      const double* from = lower_.row(row);
      for (std::int64_t at = first; at < std::min(last, row); ++at)
        columns[at - first][n - 1 - row] = static_cast<float>(from[at] / pivots[at - first]);
    }
  }

  std::span<const float> moment_;
  std::int64_t inputs_;
  Triangle lower_;
  const RoundingKernels& kernels_;
  std::optional<std::int64_t> bad_;  ///< set by the thread of a panel's first tile, read after a barrier
};

}  // namespace

Result<MomentFactor> factorise(std::span<const float> moment, std::int64_t inputs, ThreadPool& pool) {
  Cholesky cholesky(moment, inputs);
  if (const auto bad = cholesky.run(pool))
    return fail(ErrorCode::kInvalidArgument,
                "the second moments of the inputs are not positive definite at input " + std::to_string(*bad));
  return cholesky.result(pool);
}

void solve(const MomentFactor& factor, float* rows) {
  // Z U D U^T = R: first Y' U^T = R from the last input down, then Z U = Y' / D from the first up.
  constexpr int kLanes = kRoundingLanes;
  const RoundingKernels& kernels = rounding_kernels();
  for (std::int64_t k = factor.inputs - 1; k >= 0; --k) kernels.spread(factor.column(k), rows + k * kLanes, k, rows);
  for (std::int64_t k = 0; k < factor.inputs; ++k) {
    alignas(64) float sum[kLanes] = {};
    kernels.accumulate(factor.column(k), rows, k, sum);
    for (int lane = 0; lane < kLanes; ++lane) {
      rows[k * kLanes + lane] = rows[k * kLanes + lane] / factor.pivots[static_cast<std::size_t>(k)] - sum[lane];
    }
  }
}

}  // namespace kinglet
