// Matrices as tensor trains (matrix product operators): the row and column numbers are split into digits, and a matrix
// is a chain of small tensors, one for each pair of digits, joined by bonds.
//
// For N sites, outputs = o_1 ... o_N and inputs = i_1 ... i_N (train_digits); output o has the digits (p_1, ..., p_N),
// the first the most significant, input i the digits (q_1, ..., q_N), and
//   W[o, i] = sum over bonds c_1..c_{N-1} of A_1[p_1, q_1, c_1] A_2[c_1, p_2, q_2, c_2] ... A_N[c_{N-1}, p_N, q_N]
// Site s is stored as the tensor MATRIX.s (s from 0) with rows (c_{s-1}, c_s) and columns (p_s, q_s): [bonds, o_s *
// i_s]. Two sites are a sum of Kronecker products, not a product of two thin matrices (arXiv 2401.14109).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace kinglet {

/// The codec in kinglet.factors (kinglet/factors.h).
inline constexpr std::string_view kTensorTrainCodec = "tensor-train";
inline constexpr int kMostTrainSites = 4;

/// A number as the product of `sites` factors of 2 and more with the least sum, in ascending order; nothing where there
/// is none (a prime), or above 2^24.
std::optional<std::vector<std::int64_t>> train_digits(std::int64_t number, int sites);

struct TrainShape {
  std::vector<std::int64_t> outputs, inputs;  ///< o_s, i_s
  std::vector<std::int64_t> bonds;            ///< N + 1, the first and the last 1
  int sites() const { return static_cast<int>(outputs.size()); }
  std::int64_t rows(int site) const;     ///< c_{s-1} * c_s, of the stored tensor
  std::int64_t columns(int site) const;  ///< o_s * i_s
  std::int64_t parameters() const;
  /// Products of one multiplication of a row by a train of two sites, right to left.
  std::int64_t products() const;
};

/// The shape of a matrix with its bonds still 1; nothing where a side cannot be split.
std::optional<TrainShape> train_shape(std::int64_t outputs, std::int64_t inputs, int sites);

/// The largest bond behind site s that can hold anything: the smaller side of the cut.
std::int64_t full_bond(const TrainShape& shape, int site);

/// Row `output` of W [inputs] from the sites' values (as stored).
void train_row(const TrainShape& shape, std::span<const std::vector<float>> sites, std::int64_t output, float* row);

}  // namespace kinglet
