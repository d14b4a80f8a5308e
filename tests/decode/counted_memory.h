// What the test program has allocated by operator new. Not counted under ThreadSanitizer, whose runtime defines it too.
#pragma once

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KINGLET_TEST_COUNTS_ALLOCATIONS 0
#endif
#endif
#ifndef KINGLET_TEST_COUNTS_ALLOCATIONS
#define KINGLET_TEST_COUNTS_ALLOCATIONS 1
#endif

namespace kinglet::test {

/// Calls of operator new since the program began.
long allocations();
/// Bytes that are held now, as the allocator rounds them.
long held_bytes();
/// The most that were held at once since reset_peak().
long peak_bytes();
void reset_peak();

}  // namespace kinglet::test
