#pragma once

#include "reactor/base/result.h"

namespace basalt {

/// What this kernel's io_uring can do beyond Linux 5.19, which is the least we run on. Each may be
/// forced off, so that the way without it is tested on a kernel that has it. A value.
struct UringFeatures {
    /// Completions run only when the reactor asks for them (SINGLE_ISSUER and DEFER_TASKRUN, 6.1).
    /// Without: COOP_TASKRUN, where any system call of the thread may run them.
    bool defer_taskrun = true;
    /// One request accepts many connections (5.19). Without: it is armed again after each.
    bool multishot_accept = true;
    /// One request receives for the life of a socket (6.0). Without: armed again after each.
    bool multishot_receive = true;
    /// Receive buffers are given to the kernel through shared memory (5.19). Without: by requests.
    bool buffer_ring = true;
    /// Memory may be pinned once and for all (READ_FIXED, WRITE_FIXED). Without: at each I/O.
    bool registered_memory = true;
    /// Files may be looked up in a table of the ring (IOSQE_FIXED_FILE), and one that is taken out
    /// is let go at once (6.13). Before, it stayed open, locked and claimed until all older
    /// requests that used the table had ended, until 6.3 a second longer. Without: the descriptor.
    bool registered_files = true;

    /// Tries each on a ring of its own; takes well under a millisecond. Errors: kNotSupported
    /// (kernel before 5.19, or built without io_uring), kPermissionDenied (switched off by
    /// kernel.io_uring_disabled or a seccomp filter), kNoMemory.
    [[nodiscard]] static Result<UringFeatures> probe();

    /// What is on in both.
    [[nodiscard]] UringFeatures operator&(const UringFeatures& other) const;

    bool operator==(const UringFeatures&) const = default;
};

}  // namespace basalt
