// Eigenvalues and eigenvectors of a symmetric matrix.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace kinglet {

class ThreadPool;

struct SymmetricEigen {
  std::vector<double> values;   ///< [n], the largest first
  std::vector<double> vectors;  ///< [count, n]: row k is the unit eigenvector of values[k]
};

/// `matrix` [n, n] symmetric and finite (both triangles are read); the first `count` eigenvectors (Householder's
/// tridiagonal form, then implicit QL; Golub and Van Loan, Matrix Computations, 8.3). Errors are some 1e-15 of the
/// largest eigenvalue. The same bits for any number of threads.
SymmetricEigen symmetric_eigen(std::vector<double> matrix, std::int64_t n, std::int64_t count, ThreadPool& pool);

/// out [rows of a, rows of b] = a b^T; rows of `inner` values.
std::vector<double> product_transposed(std::span<const double> a, std::span<const double> b, std::int64_t inner,
                                       ThreadPool& pool);
/// a a^T, computed once for each pair.
std::vector<double> gram(std::span<const double> a, std::int64_t inner, ThreadPool& pool);

}  // namespace kinglet
