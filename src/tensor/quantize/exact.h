// Values that a type can express exactly (they were decoded from it, or are few and simple) are found again, so that
// encoding loses nothing twice. Off the grid the search costs a few divisions per value.
#pragma once

#include "tensor/quantize/block_fields.h"

namespace kinglet {

/// Fields of a block that decodes to exactly these finite values (zeros with their signs where that is possible), for
/// a type without a minimum. False: there is none.
bool find_exact_scales(const Grid& grid, const float* values, BlockFields& fields);

/// The same for a type with a minimum (a zero's sign is not kept). Values that need more than 24 bits to tell scale and
/// minimum apart may be missed.
bool find_exact_minimums(const Grid& grid, const float* values, BlockFields& fields);

}  // namespace kinglet
