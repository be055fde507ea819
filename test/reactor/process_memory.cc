#include "test/reactor/process_memory.h"

#include <cstdio>
#include <string>

#include "reactor/base/assert.h"

namespace basalt {

HugeMemory& process_memory() {
    static HugeMemory* const memory = [] {
        std::string problem;
        const auto made = HugeMemory::init({}, problem);
        std::fputs(problem.c_str(), stderr);
        BASALT_ASSERT(made);
        return *made;
    }();
    return *memory;
}

}  // namespace basalt
