#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

// Copies from and to memory that other cores may write at the same time.
//
// Hosts may write one block twice at once, or read it while it is written, and get any mixture of
// the bytes (NVM Command Set spec, atomicity beyond AWUN is nobody's promise). In C++ two memcpy
// calls that meet are undefined behaviour all the same. So the copy is one string instruction,
// which the language's memory model does not know and no sanitizer looks into; with ERMS
// (every x86-64 server since 2012) it is as fast as memcpy for blocks of 512 bytes and more.

namespace basalt::bdev {

#if defined(__x86_64__)

inline void copy_shared(std::byte* to, const std::byte* from, size_t size_bytes) {
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size_bytes) : : "memory");
}

inline void zero_shared(std::byte* to, size_t size_bytes) {
    asm volatile("rep stosb" : "+D"(to), "+c"(size_bytes) : "a"(0) : "memory");
}

#else

inline void copy_shared(std::byte* to, const std::byte* from, size_t size_bytes) {
    auto* target = reinterpret_cast<volatile uint8_t*>(to);
    const auto* source = reinterpret_cast<const volatile uint8_t*>(from);
    for (size_t i = 0; i < size_bytes; ++i) {
        __atomic_store_n(
            target + i, __atomic_load_n(source + i, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
    }
}

inline void zero_shared(std::byte* to, size_t size_bytes) {
    auto* target = reinterpret_cast<volatile uint8_t*>(to);
    for (size_t i = 0; i < size_bytes; ++i) {
        __atomic_store_n(target + i, uint8_t{0}, __ATOMIC_RELAXED);
    }
}

#endif

/// Whether the bytes are equal. `shared` is 8-byte aligned and `size_bytes` a multiple of 8;
/// `own` is the caller's, of any alignment.
inline bool equal_shared(const std::byte* shared, const std::byte* own, size_t size_bytes) {
    for (size_t i = 0; i < size_bytes; i += sizeof(uint64_t)) {
        uint64_t expected;
        std::memcpy(&expected, own + i, sizeof(expected));
        // A relaxed atomic load is an ordinary load to the processor.
        const auto* word = reinterpret_cast<const uint64_t*>(shared + i);
        if (__atomic_load_n(word, __ATOMIC_RELAXED) != expected) {
            return false;
        }
    }
    return true;
}

}  // namespace basalt::bdev
