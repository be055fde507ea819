#pragma once

#include <cstdint>

namespace basalt {

/// Counts the locks that the calling thread takes, or tries to, since it started: mutexes (also
/// std::mutex), reader-writer and spin locks of POSIX, in our code and in libraries'. For tests and
/// benchmarks that show that a path takes none: a program that links basalt_allocation_counter has
/// the functions replaced by counting ones.
[[nodiscard]] uint64_t thread_locks();

/// False in sanitizer builds, which replace them too: thread_locks() stays 0.
[[nodiscard]] bool is_counting_locks();

}  // namespace basalt
