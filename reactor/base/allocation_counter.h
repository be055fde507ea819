#pragma once

#include <cstdint>

namespace basalt {

/// Counts what the calling thread takes from the heap, through malloc and its family or operator
/// new, since it started. For tests and benchmarks that show that a path allocates nothing: a
/// program that links basalt_allocation_counter has its malloc replaced by a counting one.
[[nodiscard]] uint64_t thread_allocations();

/// False in sanitizer builds, whose own malloc can't be replaced: thread_allocations() stays 0.
[[nodiscard]] bool is_counting_allocations();

}  // namespace basalt
