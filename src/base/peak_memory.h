// The most memory that this process had resident.
#pragma once

namespace kinglet {

/// Makes the kernel count the peak (VmHWM) anew. False where it does not let us.
bool clear_peak_memory();

}  // namespace kinglet
