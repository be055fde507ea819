#pragma once

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#endif

namespace basalt::test {

/// What is allocated while it lives may be leaked: a sequence whose machine loses its power never
/// ends. On the stack.
class MayLeak {
  public:
#if defined(__SANITIZE_ADDRESS__)
    MayLeak() {
        __lsan_disable();
    }
    ~MayLeak() {
        __lsan_enable();
    }
#else
    MayLeak() = default;
    ~MayLeak() = default;
#endif
    MayLeak(const MayLeak&) = delete;
    MayLeak& operator=(const MayLeak&) = delete;
};

}  // namespace basalt::test
