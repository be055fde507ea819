#pragma once

namespace basalt {

/// Prints the failed condition with its place to standard error and aborts. Never returns.
[[noreturn]] void assertion_failed(const char* condition, const char* file, int line);

}  // namespace basalt

/// States what must hold if our own code is right; on in every build (a check costs about 0.1 ns).
/// Never for anything that a peer, a disk or an operator decides: that is a Result.
#define BASALT_ASSERT(condition)                                        \
    do {                                                                \
        if (!(condition)) [[unlikely]] {                                \
            ::basalt::assertion_failed(#condition, __FILE__, __LINE__); \
        }                                                               \
    } while (false)

/// The same for checks that cost O(n); on in debug, sanitizer and simulation builds.
#ifdef BASALT_SLOW_CHECKS
#define BASALT_ASSERT_SLOW(condition) BASALT_ASSERT(condition)
#else
#define BASALT_ASSERT_SLOW(condition) static_cast<void>(0)
#endif
