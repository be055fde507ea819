#include "reactor/base/assert.h"

#include <cstdio>
#include <cstdlib>

namespace basalt {

void assertion_failed(const char* condition, const char* file, int line) {
    std::fprintf(stderr, "basalt: assertion failed at %s:%d: %s\n", file, line, condition);
    std::fflush(stderr);
    std::abort();
}

}  // namespace basalt
