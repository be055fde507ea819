#pragma once

#include <atomic>
#include <cstdint>

#include "nvmf/wire/status.h"

namespace basalt::nvmf {

class Request;

/// The states of Namespace Write Protection (NVMe Base Specification) that there are. Permanent is
/// not: whoever configures the target can always end the protection.
enum class WriteProtect : uint8_t { kNone = 0, kProtected = 1, kUntilPowerCycle = 2 };

/// Whether a namespace is write protected. All cores look at it before they let a command change
/// blocks, and it changes almost never, so it stays in their caches.
///
/// Life: that of the namespace. Owner: Target. Any core may change it.
class WriteProtection {
  public:
    /// It may be protected from the start, as a host has left it (kProtected outlives a power
    /// cycle; what keeps it is the target's configuration).
    explicit WriteProtection(bool is_protected = false)
        : state_(static_cast<uint8_t>(is_protected ? WriteProtect::kProtected
                                                   : WriteProtect::kNone)) {}

    [[nodiscard]] WriteProtect state() const {
        return static_cast<WriteProtect>(state_.load(std::memory_order_acquire));
    }
    [[nodiscard]] bool is_protected() const { return state() != WriteProtect::kNone; }

    /// Status: Feature Not Changeable, if it is protected until a power cycle.
    [[nodiscard]] NvmeStatus change(WriteProtect to);

  private:
    std::atomic<uint8_t> state_;
};

// Feature 84h: FeatureGetter and FeatureSetter of features.h. Setting completes later, when no
// command that was let through before is left with the device, on any core.
[[nodiscard]] NvmeStatus get_write_protection(Request& request, bool wants_default);
[[nodiscard]] NvmeStatus set_write_protection(Request& request);

}  // namespace basalt::nvmf
