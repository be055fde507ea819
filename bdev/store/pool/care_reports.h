#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace basalt::bdev::store {

/// How a pool is scrubbed.
struct ScrubOptions {
    uint64_t bytes_a_second = 0;  ///< Read at most; 0: as fast as it goes, one step at a time.
};

/// What a scrub found to be bad.
struct ScrubFinding {
    std::string name;           ///< Whose it is; "": nobody's that is left.
    uint64_t first = 0;         ///< Block of the volume.
    uint64_t count = 0;         ///< Of a page of the mapping: all that it leads to.
    uint64_t device_block = 0;  ///< Where the first of them should be.
    bool is_page = false;
    uint32_t node = 0;
};

/// How far the last scrub since the pool was opened has come. Blocks are of 4096 bytes.
struct ScrubReport {
    static constexpr size_t kFindingsMax = 256;

    enum class State : uint8_t { kNone, kRunning, kDone, kStopped };

    State state = State::kNone;
    uint64_t blocks_total = 0;  ///< In use when it began.
    uint64_t blocks_read = 0;   ///< May come to more: what was written meanwhile.
    uint64_t pages_read = 0;
    uint64_t blocks_damaged = 0;
    uint64_t pages_damaged = 0;
    uint64_t began_ns = 0;  ///< The reactor's clock.
    uint64_t ended_ns = 0;
    std::vector<ScrubFinding> findings;  ///< The first ones, at most kFindingsMax.
};

/// Which ancestors a volume is made independent of.
enum class FlattenFrom : bool { kParent, kAll };

/// How far one that is being flattened has come.
struct FlattenReport {
    std::string name;
    uint64_t blocks_copied = 0;
    uint64_t blocks_passed = 0;  ///< Of size_blocks.
    uint64_t size_blocks = 0;
    bool is_stopped = false;  ///< It is to end.
};

}  // namespace basalt::bdev::store
