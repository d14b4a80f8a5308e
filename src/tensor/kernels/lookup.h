// Products by table look-up for the types U1 to U4 (T-MAC, arXiv 2407.00088): a code is a sum over its bits,
// code = sum of 2^p s_p with s_p = 1 or -1, so a product of codes and activations is a sum over bit planes of sums of
// signed activations, and a sum of four of those is one of 16, which are tabulated once for a row of activations and
// used by all outputs. Four bits of a plane are the index.
//
// Unlike T-MAC's, the tables are exact: activations are int8, so a sum has 10 bits and is kept as two bytes, each of
// them looked up; what comes out are the integers that the plain kernels compute, and the same bits of the result.
//
// The tables of a block of 32 inputs, kLookupBytes bytes: for h = 0, 1 and i = 0..3 the sums over the inputs
// 16 h + 4 j + i, j = 0..3, where bit j of the index says plus. How they are split and ordered each instruction set
// knows for itself.
#pragma once

#include <cstddef>

namespace kinglet {

inline constexpr int kLookupBytes = 256;

/// More rows than this unpack the planes' codes instead, once for all rows.
inline constexpr int kLookupRows = 2;

/// What was measured, once a process, on this machine with the active instruction set: one row, tiles that lie in the
/// cache.
struct LookupChoice {
  double dot = 0, lookup = 0;  ///< nanoseconds for a block of 32 inputs and 16 outputs
  bool use = false;            ///< look-up was faster by a tenth; KINGLET_KERNEL=dot|lookup decides otherwise
};
/// For codes of `bits` = 1 to 4 bits. The first call takes about a millisecond.
const LookupChoice& lookup_choice(int bits);

}  // namespace kinglet
