#include "compress/factorize/symmetric_eigen.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <numeric>

#include "base/thread_pool.h"
#include "compress/quantize/rounding_kernels.h"

namespace kinglet {
namespace {

using Doubles = std::vector<double>;
constexpr std::size_t kRotations = 1 << 15;  // kept before they are applied: half a megabyte
constexpr std::size_t kParallel = 192;       // rows: with fewer, waking the threads takes longer
constexpr std::size_t kColumns = 32;         // of the eigenvectors, to which all of them are applied at once

double dot(const double* a, const double* b, std::size_t count) {
  constexpr double kNothing[kDotChains] = {};
  return rounding_kernels().dot_end(a, b, static_cast<std::int64_t>(count), kNothing);
}

/// The matrix as Q T Q^T: T's diagonal and the values beside it, and the reflections of Q.
struct Tridiagonal {
  std::size_t n = 0;
  Doubles diagonal, beside;  ///< [n]; beside[k] joins k and k + 1
  Doubles reflections;       ///< [n, n]: row k, from k + 1 on, is the vector v of I - scale v v^T
  Doubles scales;            ///< [n]
};

Tridiagonal tridiagonal(Doubles matrix, std::size_t n, ThreadPool& pool) {
  Tridiagonal t{n, Doubles(n), Doubles(n), Doubles(n * n), Doubles(n)};
  Doubles p(n);
  for (std::size_t k = 0; k + 1 < n; ++k) {
    const std::size_t first = k + 1, count = n - first;
    double* v = t.reflections.data() + k * n + first;
    std::copy_n(matrix.data() + k * n + first, count, v);
    const double norm = std::sqrt(dot(v, v, count));
    t.beside[k] = v[0] > 0 ? -norm : norm;
    if (norm == 0 || count == 1) {
      t.beside[k] = v[0];
      continue;
    }
    v[0] -= t.beside[k];
    const double scale = t.scales[k] = 2 / dot(v, v, count);
    const auto each_row = [&](const auto& work) {
      const auto rows = [&](WorkShare share) {
        for (auto i = static_cast<std::size_t>(share.begin); i < static_cast<std::size_t>(share.end); ++i)
          work(i, matrix.data() + (first + i) * n + first);
      };
      const auto all = static_cast<std::int64_t>(count);
      if (count < kParallel) return rows({0, all});
      pool.run([&](int thread) { rows(work_share(all, thread, pool.size())); });
    };
    each_row([&](std::size_t i, const double* row) { p[i] = scale * dot(row, v, count); });
    const double half = scale / 2 * dot(p.data(), v, count);
    for (std::size_t i = 0; i < count; ++i) p[i] -= half * v[i];
    each_row([&](std::size_t i, double* row) {
      const double a = v[i], b = p[i];
      for (std::size_t j = 0; j < count; ++j) row[j] -= a * p[j] + b * v[j];
    });
  }
  for (std::size_t k = 0; k < n; ++k) t.diagonal[k] = matrix[k * n + k];
  return t;
}

/// Turns rows `row` and `row` + 1.
struct Rotation {
  std::size_t row;
  double cosine, sine;
};

/// The eigenvectors of T as rows, from rotations of the identity's rows.
class RotatedRows {
 public:
  RotatedRows(std::size_t n, ThreadPool& pool) : n_(n), pool_(pool), rows_(n * n) {
    for (std::size_t i = 0; i < n; ++i) rows_[i * n + i] = 1;
  }
  void rotate(const Rotation& rotation) {
    pending_.push_back(rotation);
    if (pending_.size() >= kRotations) apply();
  }
  Doubles take() {
    apply();
    return std::move(rows_);
  }

 private:
  void apply() {
    const std::size_t blocks = (n_ + kColumns - 1) / kColumns;
    std::atomic<std::size_t> next{0};
    pool_.run([&](int) {
      for (std::size_t block = next++; block < blocks; block = next++) {
        const std::size_t begin = block * kColumns, end = std::min(begin + kColumns, n_);
        for (const Rotation& each : pending_) {
          double* a = rows_.data() + each.row * n_;
          double* b = a + n_;
          for (std::size_t c = begin; c < end; ++c) {
            const double upper = a[c], lower = b[c];
            b[c] = each.sine * upper + each.cosine * lower;
            a[c] = each.cosine * upper - each.sine * lower;
          }
        }
      }
    });
    pending_.clear();
  }

  std::size_t n_;
  ThreadPool& pool_;
  Doubles rows_;
  std::vector<Rotation> pending_;
};

/// One implicit QL step on the rows l..m of T.
void ql_step(Doubles& d, Doubles& e, std::size_t l, std::size_t m, RotatedRows& rows) {
  double g = (d[l + 1] - d[l]) / (2 * e[l]);
  g = d[m] - d[l] + e[l] / (g + std::copysign(std::hypot(g, 1.0), g));
  double sine = 1, cosine = 1, shift = 0;
  for (std::size_t i = m; i-- > l;) {
    const double f = sine * e[i], b = cosine * e[i];
    const double r = std::hypot(f, g);
    e[i + 1] = r;
    if (r == 0) {  // T splits here
      d[i + 1] -= shift;
      e[m] = 0;
      return;
    }
    sine = f / r;
    cosine = g / r;
    g = d[i + 1] - shift;
    const double turned = (d[i] - g) * sine + 2 * cosine * b;
    shift = sine * turned;
    d[i + 1] = g + shift;
    g = cosine * turned - b;
    rows.rotate({i, cosine, sine});
  }
  d[l] -= shift;
  e[l] = g;
  e[m] = 0;
}

Doubles diagonalise(Doubles& d, Doubles& e, std::size_t n, ThreadPool& pool) {
  RotatedRows rows(n, pool);
  constexpr int kMostSteps = 60;  // two or three are usual
  double size = 0;
  for (std::size_t i = 0; i < n; ++i) size = std::max(size, std::abs(d[i]) + std::abs(e[i]));
  for (std::size_t l = 0; l + 1 < n; ++l) {
    for (int step = 0; step < kMostSteps; ++step) {
      std::size_t m = l;
      while (m + 1 < n && std::abs(e[m]) > 1e-16 * (std::abs(d[m]) + std::abs(d[m + 1])) &&
             std::abs(e[m]) > 1e-18 * size)
        ++m;
      if (m == l) break;
      ql_step(d, e, l, m, rows);
    }
  }
  return rows.take();
}

}  // namespace

SymmetricEigen symmetric_eigen(Doubles matrix, std::int64_t size, std::int64_t count, ThreadPool& pool) {
  const auto n = static_cast<std::size_t>(size), wanted = static_cast<std::size_t>(std::min(count, size));
  Tridiagonal t = tridiagonal(std::move(matrix), n, pool);
  const Doubles rows = diagonalise(t.diagonal, t.beside, n, pool);
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return t.diagonal[a] != t.diagonal[b] ? t.diagonal[a] > t.diagonal[b] : a < b;
  });
  SymmetricEigen result{Doubles(n), Doubles(wanted * n)};
  for (std::size_t k = 0; k < n; ++k) result.values[k] = t.diagonal[order[k]];
  std::atomic<std::size_t> next{0};
  pool.run([&](int) {
    for (std::size_t k = next++; k < wanted; k = next++) {
      double* z = result.vectors.data() + k * n;
      std::copy_n(rows.data() + order[k] * n, n, z);
      for (std::size_t i = n - 1; i-- > 0;) {
        if (t.scales[i] == 0) continue;
        const double* v = t.reflections.data() + i * n + i + 1;
        const double share = t.scales[i] * dot(v, z + i + 1, n - i - 1);
        for (std::size_t j = 0; j + i + 1 < n; ++j) z[i + 1 + j] -= share * v[j];
      }
    }
  });
  return result;
}

Doubles product_transposed(std::span<const double> a, std::span<const double> b, std::int64_t inner, ThreadPool& pool) {
  constexpr std::size_t kBlock = 16;
  const auto k = static_cast<std::size_t>(inner);
  const std::size_t rows = a.size() / k, columns = b.size() / k;
  Doubles product(rows * columns);
  std::atomic<std::size_t> next{0};
  pool.run([&](int) {
    for (std::size_t first = kBlock * next++; first < rows; first = kBlock * next++) {
      const std::size_t last = std::min(first + kBlock, rows);
      for (std::size_t c = 0; c < columns; ++c) {
        for (std::size_t r = first; r < last; ++r)
          product[r * columns + c] = dot(a.data() + r * k, b.data() + c * k, k);
      }
    }
  });
  return product;
}

Doubles gram(std::span<const double> a, std::int64_t inner, ThreadPool& pool) {
  const auto k = static_cast<std::size_t>(inner);
  const std::size_t rows = a.size() / k;
  Doubles product(rows * rows);
  std::atomic<std::size_t> next{0};
  pool.run([&](int) {
    for (std::size_t i = next++; i < rows; i = next++) {
      const std::size_t r = rows - 1 - i;  // the longest rows first
      for (std::size_t c = 0; c <= r; ++c)
        product[r * rows + c] = product[c * rows + r] = dot(a.data() + r * k, a.data() + c * k, k);
    }
  });
  return product;
}

}  // namespace kinglet
