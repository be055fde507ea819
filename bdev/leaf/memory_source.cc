#include "bdev/leaf/memory_source.h"

#include <cerrno>

#include <sys/mman.h>

#include "reactor/base/assert.h"

namespace basalt::bdev {

Result<std::span<std::byte>> AnonymousMemory::allocate(uint64_t size_bytes) {
    // MAP_NORESERVE: an operator may make a device larger than what is free, as with a sparse file.
    void* memory = mmap(nullptr,
                        size_bytes,
                        PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                        -1,
                        0);
    if (memory == MAP_FAILED) {
        return Error(Errc::kNoMemory, 0, errno);
    }
    return std::span(static_cast<std::byte*>(memory), size_bytes);
}

void AnonymousMemory::release(std::span<std::byte> memory) {
    const int failed = munmap(memory.data(), memory.size());
    BASALT_ASSERT(failed == 0);
}

bool AnonymousMemory::discard(std::span<std::byte> range) {
    return madvise(range.data(), range.size(), MADV_DONTNEED) == 0;
}

}  // namespace basalt::bdev
