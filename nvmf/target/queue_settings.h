#pragma once

#include <cstddef>
#include <cstdint>

#include "nvmf/wire/status.h"

namespace basalt::nvmf {

/// What each queue of a controller must know of the features that its host has set. A value; the
/// controller's core sends it to the others when it changes.
struct QueueSettings {
    bool is_write_through = false;     ///< The write cache is switched off: each write is durable.
    bool has_retry_delays = false;     ///< The host heeds Command Retry Delay (ACRE).
    bool knows_copy_format_2 = false;  ///< The host has enabled source namespaces (CDFE).
    uint32_t version = 0;  ///< Goes up: what is on its way to a queue that moves may come late.
};

/// Host Behavior Support: the first byte of Copy Descriptor Formats Enable, and in it the bit of
/// format 2h (NVMe Base Specification, "Host Behavior Support").
inline constexpr size_t kHostBehaviorCdfe = 4;
inline constexpr uint8_t kCopyFormat2 = 1U << 2U;

/// Which of the Command Retry Delay Times a host should wait before it tries again; 0: none, it may
/// do so at once, or never (NVMe Base Specification, "Command Retry Delay").
[[nodiscard]] constexpr uint8_t retry_delay(NvmeStatus status) {
    if (status.ok() || status.dnr) {
        return 0;
    }
    if (status.is(status::kCommandInterrupted) || status.is(status::kTransientTransportError) ||
        status.is(status::kAbortLimitExceeded)) {
        return 1;
    }
    if (status.is(status::kNamespaceNotReady) || status.is(status::kInternalError) ||
        status.is(status::kAnaTransition)) {
        return 2;
    }
    return 0;
}

static_assert(retry_delay(status::kSuccess) == 0);
static_assert(retry_delay(status::kCommandInterrupted) == 1);
static_assert(retry_delay(status::kNamespaceNotReady) == 2);
static_assert(retry_delay(status::kNamespaceNotReady.with_dnr()) == 0);
static_assert(retry_delay(status::kAbortRequested) == 0);

}  // namespace basalt::nvmf
