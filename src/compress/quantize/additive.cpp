#include "compress/quantize/additive.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>

#include "base/thread_pool.h"
#include "compress/calibration/moments.h"
#include "compress/quantize/cheapest_entry.h"
#include "compress/quantize/clusters.h"
#include "model/additive_format.h"

namespace kinglet {
namespace {

constexpr int kGroup = kAdditiveGroup, kEntries = kAdditiveEntries;
constexpr double kLeastGain = 0.01;

/// One matrix on its way: float entries, the errors E = target - matrix and their products E H.
class Fit {
 public:
  Fit(std::span<const float> targets, std::int64_t rows, std::int64_t inputs, std::span<const float> moment,
      const AdditiveOptions& options, ThreadPool& pool)
      : targets_(targets),
        rows_(static_cast<std::size_t>(rows)),
        inputs_(static_cast<std::size_t>(inputs)),
        groups_(inputs_ / kGroup),
        books_(static_cast<std::size_t>(options.books)),
        moment_(moment),
        pool_(pool) {
    codes_.resize(rows_ * groups_ * books_);
    entries_.resize(books_ * kEntries * kGroup);
    scales_.resize(rows_);
    errors_.resize(rows_ * inputs_);
    products_.resize(rows_ * inputs_);
    target_products_.resize(rows_ * inputs_);
    multiply_plain(targets_, moment_, inputs, inputs, pool_, target_products_);
  }

  void cluster(const AdditiveOptions& options);
  void choose_codes(std::uint64_t seed);
  void improve_entries();
  void fit_scales();
  void round_entries();
  double loss() const;
  AdditiveMatrix result() const;

 private:
  const float* entry(std::size_t book, std::uint8_t code) const {
    return entries_.data() + (book * kEntries + code) * kGroup;
  }
  std::uint8_t* codes_of(std::size_t row, std::size_t group) {
    return codes_.data() + (row * groups_ + group) * books_;
  }
  void each_row(const std::function<void(std::size_t)>& work);
  void refresh();
  void choose_row(std::size_t row, std::span<const std::size_t> order, std::span<const EntrySearch> searches,
                  std::span<const float> norms);
  void move(std::size_t row, std::size_t group, const float* change);
  std::vector<float> entry_norms() const;

  std::span<const float> targets_;
  std::size_t rows_, inputs_, groups_, books_;
  std::span<const float> moment_;
  ThreadPool& pool_;
  std::vector<std::uint8_t> codes_;
  std::vector<float> entries_, scales_, errors_, products_, target_products_;
  float step_ = 0;  ///< of the rounded entries, once they are
};

void Fit::each_row(const std::function<void(std::size_t)>& work) {
  std::atomic<std::size_t> next{0};
  pool_.run([&](int) {
    for (std::size_t row = next++; row < rows_; row = next++) work(row);
  });
}

/// Rows normalised by their size; each codebook clusters what those before it left.
void Fit::cluster(const AdditiveOptions& options) {
  std::vector<float> rest(targets_.begin(), targets_.end());
  each_row([&](std::size_t row) {
    float* from = rest.data() + row * inputs_;
    double sum = 0;
    for (std::size_t k = 0; k < inputs_; ++k) sum += double(from[k]) * from[k];
    scales_[row] = static_cast<float>(std::sqrt(sum / static_cast<double>(inputs_)));
    const float inverse = scales_[row] > 0 ? 1 / scales_[row] : 0;
    for (std::size_t k = 0; k < inputs_; ++k) from[k] *= inverse;
  });
  std::vector<std::uint8_t> nearest(rows_ * groups_);
  for (std::size_t m = 0; m < books_; ++m) {
    const std::span<float> book(entries_.data() + m * kEntries * kGroup, kEntries * kGroup);
    cluster_groups(rest, {.rounds = options.clusterings, .seed = options.seed + m}, pool_, book, nearest);
    each_row([&](std::size_t row) {
      for (std::size_t g = 0; g < groups_; ++g) {
        const std::uint8_t code = nearest[row * groups_ + g];
        codes_of(row, g)[m] = code;
        for (int k = 0; k < kGroup; ++k) rest[row * inputs_ + g * kGroup + k] -= entry(m, code)[k];
      }
    });
  }
  refresh();
}

void Fit::refresh() {
  each_row([&](std::size_t row) {
    for (std::size_t g = 0; g < groups_; ++g) {
      for (int k = 0; k < kGroup; ++k) {
        float sum = 0;
        for (std::size_t m = 0; m < books_; ++m) sum += entry(m, codes_of(row, g)[m])[k];
        const std::size_t at = row * inputs_ + g * kGroup + static_cast<std::size_t>(k);
        errors_[at] = targets_[at] - scales_[row] * sum;
      }
    }
  });
  multiply_plain(errors_, moment_, static_cast<std::int64_t>(inputs_), static_cast<std::int64_t>(inputs_), pool_,
                 products_);
}

double Fit::loss() const {
  double total = 0;
  for (std::size_t row = 0; row < rows_; ++row) {
    double sum = 0;
    for (std::size_t at = row * inputs_; at < (row + 1) * inputs_; ++at) sum += double(errors_[at]) * products_[at];
    total += sum;
  }
  return total;
}

/// c H_gg c^T of each group, codebook and entry c.
std::vector<float> Fit::entry_norms() const {
  std::vector<float> norms(groups_ * books_ * kEntries);
  std::atomic<std::size_t> next{0};
  pool_.run([&](int) {
    for (std::size_t g = next++; g < groups_; g = next++) {
      for (std::size_t c = 0; c < books_ * kEntries; ++c) {
        const float* e = entries_.data() + c * kGroup;
        float sum = 0;
        for (int i = 0; i < kGroup; ++i) {
          const float* h = moment_.data() + (g * kGroup + static_cast<std::size_t>(i)) * inputs_ + g * kGroup;
          float inner = 0;
          for (int k = 0; k < kGroup; ++k) inner += h[k] * e[k];
          sum += e[i] * inner;
        }
        norms[g * books_ * kEntries + c] = sum;
      }
    }
  });
  return norms;
}

/// One pass over the groups of every row in a random order: each code becomes the best for all others.
void Fit::choose_codes(std::uint64_t seed) {
  std::vector<std::size_t> order(groups_);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::mt19937_64 random(seed);
  for (std::size_t i = groups_; i > 1; --i) std::swap(order[i - 1], order[random() % i]);
  const std::vector<float> norms = entry_norms();
  std::vector<EntrySearch> searches;
  for (std::size_t m = 0; m < books_; ++m)
    searches.emplace_back(std::span(entries_).subspan(m * kEntries * kGroup, kEntries * kGroup));
  each_row([&](std::size_t row) { choose_row(row, order, searches, norms); });
}

/// Replacing c by c' moves the error by -d, d = scale (c' - c): the loss changes by d H_gg d^T - 2 d (E H)_g^T, which
/// is scale^2 c' H_gg c'^T - 2 c' v^T and a constant, v = scale (E H)_g + scale^2 c H_gg.
void Fit::choose_row(std::size_t row, std::span<const std::size_t> order, std::span<const EntrySearch> searches,
                     std::span<const float> norms) {
  const float scale = scales_[row];
  const float* products = products_.data() + row * inputs_;
  for (std::size_t g : order) {
    for (std::size_t m = 0; m < books_; ++m) {
      std::uint8_t& code = codes_of(row, g)[m];
      const float* old = entry(m, code);
      float v[kGroup];
      for (std::size_t i = 0; i < kGroup; ++i) {
        const float* h = moment_.data() + (g * kGroup + i) * inputs_ + g * kGroup;
        float sum = 0;
        for (int k = 0; k < kGroup; ++k) sum += h[k] * old[k];
        v[i] = 2 * (scale * products[g * kGroup + i] + scale * scale * sum);
      }
      const float* norm = norms.data() + (g * books_ + m) * kEntries;
      const std::uint8_t best = searches[m].cheapest(norm, scale * scale, v);
      const auto cost = [&](std::uint8_t c) {
        float sum = scale * scale * norm[c];
        for (int k = 0; k < kGroup; ++k) sum -= entry(m, c)[k] * v[k];
        return sum;
      };
      if (!(cost(best) < cost(code))) continue;
      float change[kGroup];
      for (int k = 0; k < kGroup; ++k) change[k] = scale * (entry(m, best)[k] - old[k]);
      code = best;
      move(row, g, change);
    }
  }
}

/// Adds `change` to the matrix, so takes it from the error.
void Fit::move(std::size_t row, std::size_t group, const float* change) {
  float* products = products_.data() + row * inputs_;
  const float* h = moment_.data() + group * kGroup * inputs_;
  for (std::size_t k = 0; k < kGroup; ++k) errors_[row * inputs_ + group * kGroup + k] -= change[k];
  for (std::size_t k = 0; k < inputs_; ++k) {
    float sum = 0;
    for (std::size_t i = 0; i < kGroup; ++i) sum += change[i] * h[i * inputs_ + k];
    products[k] -= sum;
  }
}

/// Solves the symmetric positive definite system in place of b (Cholesky).
void solve_small(double (&a)[kGroup][kGroup], double (&b)[kGroup]) {
  for (int j = 0; j < kGroup; ++j) {
    for (int k = 0; k < j; ++k)
      for (int i = j; i < kGroup; ++i) a[i][j] -= a[i][k] * a[j][k];
    const double pivot = std::sqrt(std::max(a[j][j], 1e-30));
    for (int i = j; i < kGroup; ++i) a[i][j] /= pivot;
  }
  for (int i = 0; i < kGroup; ++i) {
    for (int k = 0; k < i; ++k) b[i] -= a[i][k] * b[k];
    b[i] /= a[i][i];
  }
  for (int i = kGroup - 1; i >= 0; --i) {
    for (int k = i + 1; k < kGroup; ++k) b[i] -= a[k][i] * b[k];
    b[i] /= a[i][i];
  }
}

/// Moves all entries along the gradient, each scaled by the curvature of its own uses, as far as is best: the loss
/// along a line is a parabola.
void Fit::improve_entries() {
  struct Uses {
    double curvature[kGroup][kGroup] = {}, gradient[kGroup] = {};
  };
  std::vector<Uses> uses(books_ * kEntries);
  for (std::size_t row = 0; row < rows_; ++row) {
    for (std::size_t g = 0; g < groups_; ++g) {
      for (std::size_t m = 0; m < books_; ++m) {
        Uses& use = uses[m * kEntries + codes_of(row, g)[m]];
        for (std::size_t i = 0; i < kGroup; ++i) {
          use.gradient[i] += double(scales_[row]) * products_[row * inputs_ + g * kGroup + i];
          const float* h = moment_.data() + (g * kGroup + i) * inputs_ + g * kGroup;
          for (int k = 0; k < kGroup; ++k) use.curvature[i][k] += double(scales_[row]) * scales_[row] * h[k];
        }
      }
    }
  }
  std::vector<float> direction(entries_.size());
  for (std::size_t c = 0; c < uses.size(); ++c) {
    double trace = 0;
    for (int i = 0; i < kGroup; ++i) trace += uses[c].curvature[i][i];
    if (!(trace > 0)) continue;
    for (int i = 0; i < kGroup; ++i) uses[c].curvature[i][i] += 1e-4 * trace;
    solve_small(uses[c].curvature, uses[c].gradient);
    for (std::size_t i = 0; i < kGroup; ++i) direction[c * kGroup + i] = static_cast<float>(uses[c].gradient[i]);
  }
  std::vector<float> change(errors_.size()), change_products(errors_.size());
  each_row([&](std::size_t row) {
    for (std::size_t g = 0; g < groups_; ++g)
      for (std::size_t m = 0; m < books_; ++m)
        for (std::size_t k = 0; k < kGroup; ++k)
          change[row * inputs_ + g * kGroup + k] +=
              scales_[row] * direction[(m * kEntries + codes_of(row, g)[m]) * kGroup + k];
  });
  multiply_plain(change, moment_, static_cast<std::int64_t>(inputs_), static_cast<std::int64_t>(inputs_), pool_,
                 change_products);
  double slope = 0, curvature = 0;
  for (std::size_t at = 0; at < change.size(); ++at) {
    slope += double(change[at]) * products_[at];
    curvature += double(change[at]) * change_products[at];
  }
  if (!(curvature > 0) || !(slope > 0)) return;
  const auto step = static_cast<float>(slope / curvature);
  for (std::size_t i = 0; i < entries_.size(); ++i) entries_[i] += step * direction[i];
  for (std::size_t at = 0; at < change.size(); ++at) {
    errors_[at] -= step * change[at];
    products_[at] -= step * change_products[at];
  }
}

/// Each row's best: s + (q H e^T) / (q H q^T), with s q = target - e.
void Fit::fit_scales() {
  each_row([&](std::size_t row) {
    double along = 0, square = 0;
    for (std::size_t at = row * inputs_; at < (row + 1) * inputs_; ++at) {
      const double value = double(targets_[at]) - errors_[at];
      along += value * products_[at];
      square += value * (double(target_products_[at]) - products_[at]);
    }
    if (!(square > 0) || scales_[row] == 0) return;
    const auto factor = static_cast<float>(along / square);
    for (std::size_t at = row * inputs_; at < (row + 1) * inputs_; ++at) {
      const float value = targets_[at] - errors_[at], product = target_products_[at] - products_[at];
      errors_[at] -= factor * value;
      products_[at] -= factor * product;
    }
    scales_[row] *= 1 + factor;
  });
}

/// To multiples of one step, so that all sums fit int8.
void Fit::round_entries() {
  float total = 0;
  for (std::size_t m = 0; m < books_; ++m) {
    float largest = 0;
    for (std::size_t i = 0; i < kEntries * kGroup; ++i)
      largest = std::max(largest, std::fabs(entries_[m * kEntries * kGroup + i]));
    total += largest;
  }
  // Every codebook may round up by half a step.
  const float room = static_cast<float>(kAdditiveLargest) - 0.5f * static_cast<float>(books_);
  step_ = total > 0 ? total / room : 1;
  for (float& value : entries_) value = std::nearbyint(value / step_);
  for (float& scale : scales_) scale *= step_;
  refresh();
}

AdditiveMatrix Fit::result() const {
  AdditiveMatrix matrix;
  matrix.rows = static_cast<std::int64_t>(rows_);
  matrix.inputs = static_cast<std::int64_t>(inputs_);
  matrix.books = static_cast<int>(books_);
  matrix.codes = codes_;
  matrix.scales = scales_;
  matrix.entries.resize(entries_.size());
  for (std::size_t i = 0; i < entries_.size(); ++i) matrix.entries[i] = static_cast<std::int8_t>(entries_[i]);
  return matrix;
}

}  // namespace

AdditiveMatrix fit_additive(std::span<const float> targets, std::int64_t rows, std::int64_t inputs,
                            std::span<const float> moment, const AdditiveOptions& options, ThreadPool& pool,
                            AdditiveReport* report) {
  constexpr int kEntrySteps = 4;
  AdditiveReport ignored;
  AdditiveReport& steps = report ? *report : ignored;
  Fit fit(targets, rows, inputs, moment, options, pool);
  fit.cluster(options);
  double before = steps.first = fit.loss();
  for (int round = 0; round < options.rounds; ++round) {
    fit.choose_codes(options.seed + static_cast<std::uint64_t>(round));
    steps.after_codes.push_back(fit.loss());
    for (int i = 0; i < kEntrySteps; ++i) fit.improve_entries();
    steps.after_entries.push_back(fit.loss());
    fit.fit_scales();
    steps.after_scales.push_back(fit.loss());
    if (!(steps.after_scales.back() < before * (1 - kLeastGain))) break;
    before = steps.after_scales.back();
  }
  fit.round_entries();
  fit.choose_codes(options.seed + static_cast<std::uint64_t>(options.rounds));
  fit.fit_scales();
  steps.stored = fit.loss();
  return fit.result();
}

void decode_additive(const AdditiveMatrix& matrix, float* out) {
  const auto books = static_cast<std::size_t>(matrix.books), groups = static_cast<std::size_t>(matrix.inputs / kGroup);
  for (std::size_t row = 0; row < static_cast<std::size_t>(matrix.rows); ++row) {
    for (std::size_t g = 0; g < groups; ++g) {
      for (std::size_t k = 0; k < kGroup; ++k) {
        int sum = 0;
        for (std::size_t m = 0; m < books; ++m)
          sum += matrix.entries[(m * kEntries + matrix.codes[(row * groups + g) * books + m]) * kGroup + k];
        *out++ = matrix.scales[row] * static_cast<float>(sum);
      }
    }
  }
}

}  // namespace kinglet
