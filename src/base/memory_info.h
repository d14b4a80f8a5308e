// What the machine has left.
#pragma once

#include <cstdint>

namespace kinglet {

/// Bytes that can be allocated without swapping: the least of MemAvailable and what the control group leaves; 0:
/// unknown.
std::uint64_t available_memory();

/// Gives freed memory back to the system, where the allocator can: before the memory of something else is measured.
void release_free_memory();

}  // namespace kinglet
