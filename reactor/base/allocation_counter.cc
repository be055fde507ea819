#include "reactor/base/allocation_counter.h"

#include <cerrno>
#include <cstddef>

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kIsCounting = false;
#else
constexpr bool kIsCounting = true;
#endif

// Of the initial-exec kind, because this one needs no allocation itself.
__attribute__((tls_model("initial-exec"))) thread_local uint64_t allocation_count = 0;

}  // namespace

namespace basalt {

uint64_t thread_allocations() {
    return allocation_count;
}

bool is_counting_allocations() {
    return kIsCounting;
}

}  // namespace basalt

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

// glibc, "Replacing malloc": a program may define these; operator new is built on them. The
// __libc_ names are glibc's own versions.
extern "C" {

// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming): not our names.
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* memory, size_t size);
void* __libc_memalign(size_t alignment, size_t size);
void __libc_free(void* memory);
// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)

void* malloc(size_t size) {
    ++allocation_count;
    return __libc_malloc(size);
}

void* calloc(size_t count, size_t size) {
    ++allocation_count;
    return __libc_calloc(count, size);
}

void* realloc(void* memory, size_t size) {
    ++allocation_count;
    return __libc_realloc(memory, size);
}

void* memalign(size_t alignment, size_t size) {
    ++allocation_count;
    return __libc_memalign(alignment, size);
}

void* aligned_alloc(size_t alignment, size_t size) {
    return memalign(alignment, size);
}

int posix_memalign(void** out, size_t alignment, size_t size) {
    *out = memalign(alignment, size);
    return *out == nullptr ? ENOMEM : 0;
}

void free(void* memory) {
    __libc_free(memory);
}

}  // extern "C"

#endif
