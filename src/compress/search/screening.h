// A start for an evolutionary search: levels chosen by what each of them loses alone, as far as losses add up.
#pragma once

#include <span>
#include <vector>

#include "compress/search/evolution.h"

namespace kinglet {

/// The point of the least summed loss ([item][level]) at `budget` bytes or fewer, or where it is `exact` at just these
/// bytes. By dynamic programming over bytes, in units of at most a 65,536th of the budget above the lowest levels;
/// where the sizes have no common divisor of that size, bytes are rounded up to units, which may leave a little unused.
/// Empty where no point fits, or where it would have to be `exact` and there is no such divisor.
SearchPoint least_loss(std::span<const SearchItem> items, std::span<const std::vector<double>> losses,
                       std::uint64_t budget, bool exact);

}  // namespace kinglet
