#pragma once

#include <cstdint>

namespace basalt {

/// What the kernel says at the end (or at a step) of a request.
struct UringCompletion {
    int32_t result = 0;  ///< Bytes, a descriptor or the like; -errno when it failed.
    uint32_t flags = 0;  ///< IORING_CQE_F_*.
};

/// A request that the kernel holds: its address is the request's user data. Embedded in the object
/// that asked; stays where it is until its last completion.
struct UringOp {
    /// Called from the poll loop.
    using Complete = void (*)(UringOp& op, UringCompletion completion);

    explicit UringOp(Complete function) : complete(function) {}
    UringOp(const UringOp&) = delete;
    UringOp& operator=(const UringOp&) = delete;

    Complete complete;

    [[nodiscard]] uint64_t user_data() const { return reinterpret_cast<uint64_t>(this); }
};

/// User data of requests whose completion nobody wants to hear of (cancellations).
inline constexpr uint64_t kUringIgnored = 0;

/// Set in the user data of a FileRequest, which is its own operation: so the request, which other
/// rooms own, needs no member for the driver. The bit is free because both types are aligned.
inline constexpr uint64_t kUringFileTag = 1;

}  // namespace basalt
