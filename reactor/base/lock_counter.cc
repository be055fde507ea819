#include "reactor/base/lock_counter.h"

#include <dlfcn.h>
#include <pthread.h>

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kIsCounting = false;
#else
constexpr bool kIsCounting = true;
#endif

thread_local uint64_t lock_count = 0;

}  // namespace

namespace basalt {

uint64_t thread_locks() {
    return lock_count;
}

bool is_counting_locks() {
    return kIsCounting;
}

}  // namespace basalt

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

namespace {

// glibc's own of that name. dlsym() takes its locks by glibc's inner names, not by these.
template <typename Function>
Function glibc(const char* name) {
    return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

}  // namespace

// Counts and passes on. Two threads may both look the real one up: they find the same.
// NOLINTNEXTLINE(cppcoreguidelines-macro-usage): the name makes the function.
#define BASALT_COUNTED_LOCK(name, type)                       \
    int name(type lock) noexcept {                            \
        static const auto real = glibc<int (*)(type)>(#name); \
        ++lock_count;                                         \
        return real(lock);                                    \
    }

extern "C" {

BASALT_COUNTED_LOCK(pthread_mutex_lock, pthread_mutex_t*)
BASALT_COUNTED_LOCK(pthread_mutex_trylock, pthread_mutex_t*)
BASALT_COUNTED_LOCK(pthread_rwlock_rdlock, pthread_rwlock_t*)
BASALT_COUNTED_LOCK(pthread_rwlock_tryrdlock, pthread_rwlock_t*)
BASALT_COUNTED_LOCK(pthread_rwlock_wrlock, pthread_rwlock_t*)
BASALT_COUNTED_LOCK(pthread_rwlock_trywrlock, pthread_rwlock_t*)
BASALT_COUNTED_LOCK(pthread_spin_lock, volatile pthread_spinlock_t*)
BASALT_COUNTED_LOCK(pthread_spin_trylock, volatile pthread_spinlock_t*)

}  // extern "C"

#endif
