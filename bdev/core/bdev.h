#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "bdev/core/io_request.h"
#include "bdev/core/live.h"
#include "bdev/core/uuid.h"
#include "reactor/base/result.h"
#include "reactor/reactor.h"

namespace basalt::bdev {

/// How a device likes its requests, in blocks; 0 says nothing about that.
struct IoHints {
    BlockCount write_granularity{0};  ///< Writes of a multiple avoid read-modify-write.
    BlockCount write_alignment{0};    ///< Of their first block.
    BlockCount unmap_granularity{0};  ///< Unmaps of less give nothing back.
    BlockCount unmap_alignment{0};
    BlockCount optimal_write{0};  ///< The length of writes for the best throughput.
    BlockCount io_boundary{0};    ///< Requests that cross a multiple are slower.
};

/// What a block device is and can do. Constant while the device exists, but for what is Live, and
/// for the name, which only the control thread reads.
struct BdevInfo {
    std::string name;                  ///< Unique in the process; what RPC calls it.
    std::string product_name;          ///< Its kind, for people: "Malloc disk", "Null disk", …
    Uuid uuid;                         ///< The same for every front end that exports the device.
    uint32_t block_size_bytes = 4096;  ///< 512 or 4096.
    uint32_t physical_block_size_bytes = 4096;
    Live<BlockCount> block_count;
    uint32_t memory_alignment_bytes = 1;  ///< Of each piece of memory; a power of two.
    BlockCount transfer_max{0};           ///< Blocks of one read, write or compare; 0: no limit.
    BlockCount atomic_write_max{1};  ///< Blocks that are written all or not at all at power loss.
    BlockCount atomic_boundary{0};   ///< Unless they cross a multiple of this; 0: there is none.
    IoHints hints;
    std::array<bool, kIoOpCount> supports{};
    bool has_volatile_cache = false;  ///< A write without FUA may be lost until a flush.
    bool reads_zeroes_after_unmap = false;
    bool zeroes_may_deallocate = false;  ///< IoRequest::may_deallocate means something for zeroes.
    Live<bool> is_read_only;
    bool is_thin = false;               ///< Has fewer blocks behind it than it shows.
    bool is_memory = false;             ///< Copies data itself, or drops it: needs no alignment.
    bool supplies_read_memory = false;  ///< See IoRequest::wants_device_memory.

    [[nodiscard]] bool can(IoOp op) const { return supports[static_cast<uint32_t>(op)]; }

    /// Of a layer: what may change below changes here too. `below` is of the device under it.
    void follow(const BdevInfo& below) {
        block_count.follow(below.block_count);
        is_read_only.follow(below.is_read_only);
    }
};

/// How a device was made, for whoever writes configurations: the method that makes another like it
/// and its parameters as they are now, in order, in the API's names and units.
struct BdevConfig {
    using Value = std::variant<bool, uint64_t, std::string>;
    struct Parameter {
        std::string name;
        Value value;
    };

    std::string method;  ///< Empty: the device was not made by a method and is not written.
    std::vector<Parameter> parameters;
};

/// A device as one core uses it. Owner: whoever opened it. Core: the one it was opened on.
/// Destroyed with no request under way; or, where a simulated machine has lost its power, in any
/// state, and before the requests.
class BdevChannel {
  public:
    virtual ~BdevChannel() = default;

    /// Accepts a valid request (range, memory and operation fit BdevInfo: assert_valid) and
    /// completes it exactly once, later, from the poll loop. Never fails itself: a device that is
    /// short of something holds the request until it is not. One that was valid when somebody
    /// looked, and is not any more, because the device has become smaller or read-only, completes
    /// with kOutOfRange or kReadOnly.
    virtual void submit(IoRequest& request) = 0;
};

/// A block device: a leaf that has data, or a layer above another device. Made and destroyed on the
/// control thread; its channels live on the reactors. Owner: BdevRegistry. All channels are closed
/// before the device is destroyed.
class Bdev {
  public:
    virtual ~Bdev() = default;

    /// The same object for life; every core may read it (but the name).
    [[nodiscard]] virtual const BdevInfo& info() const = 0;

    /// The device below, or null for a leaf.
    [[nodiscard]] virtual Bdev* base() const { return nullptr; }

    /// Blocks that have something behind them now: fewer than block_count on a thin device that can
    /// tell. Any core, and never waits for the medium, but costs a system call: not for each I/O.
    [[nodiscard]] virtual BlockCount allocated_blocks() const {
        const Bdev* below = base();
        return below != nullptr ? below->allocated_blocks() : info().block_count;
    }

    /// How to make this device again. Control thread.
    [[nodiscard]] virtual BdevConfig describe() const { return {}; }

    /// Opens the device on `here`'s core, on that core. May allocate. The channel must have no
    /// request under way when it is destroyed, on the same core. Errors: kNoMemory, kIo.
    [[nodiscard]] virtual Result<std::unique_ptr<BdevChannel>> open_channel(Reactor& here) = 0;
};

/// Whether `above` is `below`, or a layer that stands on it, however high.
[[nodiscard]] inline bool stands_on(const Bdev& above, const Bdev& below) {
    const Bdev* at = &above;
    while (at != nullptr && at != &below) {
        at = at->base();
    }
    return at != nullptr;
}

}  // namespace basalt::bdev
