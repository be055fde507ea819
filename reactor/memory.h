#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "reactor/base/result.h"

namespace basalt {

/// Any NUMA node will do.
inline constexpr int32_t kAnyNumaNode = -1;

struct MemoryOptions {
    uint32_t hugepages = 0;  ///< Pages of 2 MiB to take at start; 0: ordinary pages.
    /// Address space for ordinary pages. Only what is touched is backed, but DPDK keeps 12 KiB of
    /// book for each MiB of it.
    uint64_t ordinary_bytes = uint64_t{1} << 30;
};

/// The memory that reactors take at start for buffers, rings and request pools, from DPDK's heap:
/// huge pages taken when the process starts, or ordinary pages that stay unbacked until touched.
/// Memory is taken, never given back: what allocates here lives as long as the process.
///
/// Life: init() once a process, before any other thread; never destroyed, as DPDK can't start
/// twice. Any thread may call allocate().
class HugeMemory {
  public:
    HugeMemory(const HugeMemory&) = delete;
    HugeMemory& operator=(const HugeMemory&) = delete;

    /// Starts DPDK's environment with only its heap: no PCI, no telemetry, no plugins, and the
    /// caller's CPU affinity and signal handlers as they were. Errors, explained in `problem` for
    /// the operator: kNoMemory (too few huge pages free: how many are missing and what to type),
    /// kExists (second call in this process), kNotSupported (DPDK refuses this machine).
    [[nodiscard]] static Result<HugeMemory*> init(const MemoryOptions& options,
                                                  std::string& problem);

    /// Zeroed memory at a multiple of `alignment_bytes` (a power of two), preferably on
    /// `numa_node`. Errors: kNoMemory.
    [[nodiscard]] Result<std::span<std::byte>> allocate(size_t size_bytes,
                                                        size_t alignment_bytes,
                                                        int32_t numa_node);

    [[nodiscard]] const MemoryOptions& options() const { return options_; }

  private:
    explicit HugeMemory(const MemoryOptions& options) : options_(options) {}

    const MemoryOptions options_;
};

/// What the kernel's pool of 2 MiB pages holds.
struct HugePagePool {
    uint64_t total = 0;
    uint64_t free = 0;
};

/// The text for an operator who asked for `wanted` pages when `pool` has fewer free: how many are
/// missing and the command that gets them.
[[nodiscard]] std::string describe_huge_page_shortage(uint64_t wanted, const HugePagePool& pool);

}  // namespace basalt
