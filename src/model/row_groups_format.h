// Matrices whose rows lie in groups, each of its own type. Their factors (kinglet/factors.h): 0 .. n - 1 are the groups
// [rows, inputs], their rows in the matrix's order; n, I8 [outputs], is the group of each row.
#pragma once

#include <string_view>

namespace kinglet {

inline constexpr std::string_view kRowGroupsCodec = "row-groups";

}  // namespace kinglet
