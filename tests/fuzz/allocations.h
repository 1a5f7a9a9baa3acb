// What a process takes from the heap, for the runner's bound on memory.
#pragma once

#include <cstdint>

namespace lowrank_fuzz {

/// Counts allocations from here on; once a process.
void count_allocations();

/// Bytes that were asked for from here on, given back or not.
void begin_sum();
std::int64_t sum();

/// The most bytes that were held at one time from begin_peak() to peak(), which takes longer. Of blocks of 8 MB and more their touched
/// pages count.
void begin_peak();
std::int64_t peak();

}  // namespace lowrank_fuzz
