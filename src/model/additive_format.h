// Matrices of additive codebooks (AQLM, arXiv 2401.06118): eight consecutive inputs of an output are the output's scale
// times a sum of one entry of each of M codebooks, which the whole matrix shares.
//
// The factors (kinglet/factors.h) of a matrix [outputs, inputs], with inputs a multiple of 32 and M = 1..4:
//   0  I8  [outputs, M * inputs / 8]  codes, unsigned: of group g and codebook m at M g + m
//   1  I8  [M * 256, 8]               entries; the largest magnitudes of the codebooks add up to at most 127, so that
//                                     every sum is an int8
//   2  F32 [outputs]                  scales
// weight = scale * float(sum of entries).
#pragma once

#include <cstdint>
#include <string_view>

namespace kinglet {

inline constexpr std::string_view kAdditiveCodec = "additive";
inline constexpr int kAdditiveGroup = 8;      ///< inputs a code
inline constexpr int kAdditiveEntries = 256;  ///< of a codebook
inline constexpr int kAdditiveMostBooks = 4;
inline constexpr int kAdditiveBookBytes = kAdditiveEntries * kAdditiveGroup;
inline constexpr int kAdditiveLargest = 127;  ///< of the codebooks' largest magnitudes together

}  // namespace kinglet
