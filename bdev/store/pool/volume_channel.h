#pragma once

#include <cstdint>
#include <memory>

#include <sys/uio.h>

#include "bdev/core/bdev.h"
#include "bdev/leaf/bounce_memory.h"
#include "bdev/store/partition_io.h"
#include "bdev/store/pool/range_gate.h"
#include "bdev/store/pool/volume.h"
#include "reactor/msg/event.h"

namespace basalt::bdev::store {

/// Requests of one channel under way; more wait in line.
inline constexpr uint32_t kVolumeOperations = 256;

/// A volume on one core. Cuts a request into steps, each of which one partition can do, and has the
/// core of that partition do them, one after the other.
///
///   submit -> [line] -> start -> [line for a buffer] -> step ==message==> arrive -> [gate] -> work
///                                                        ^                                     |
///                                                        +------- step_done <==message== leave +
///
/// A step on this core's own partition needs no message. A write of less than whole blocks reads
/// the blocks at its edges first and puts them together with the host's data (work), inside of the
/// gate, so that no other write of these blocks comes between.
///
/// Owner: whoever opened it. Core: the one it was opened on; between arrive and leave an operation
/// belongs to the partition's core.
class VolumeChannel final : public BdevChannel {
  public:
    VolumeChannel(Reactor& here,
                  Volume& volume,
                  uint32_t sector_bytes,
                  std::unique_ptr<BounceMemory> bounce);
    VolumeChannel(const VolumeChannel&) = delete;
    VolumeChannel& operator=(const VolumeChannel&) = delete;
    ~VolumeChannel() override;

    void submit(IoRequest& request) override;

  private:
    struct Operation;

    // On this core.
    void start(Operation& operation, IoRequest& request);
    void with_buffer(Operation& operation);
    void step(Operation& operation);
    void step_done(Operation& operation);
    void finish(Operation& operation, Status outcome);
    [[nodiscard]] Status outcome_of(const Operation& operation) const;
    [[nodiscard]] bool needs_buffer(const Operation& operation) const;

    // On the partition's core, whose reactor is `there`.
    void arrive(Operation& operation, Reactor& there);
    [[nodiscard]] Status judge(const Operation& operation) const;
    void work(Operation& operation);
    void worked(Operation& operation);
    void leave(Operation& operation);
    static void put_together(Operation& operation);

    Reactor& here_;
    Volume& volume_;
    const uint32_t sector_bytes_;
    std::unique_ptr<BounceMemory> bounce_;
    std::unique_ptr<Operation[]> operations_;
    Operation* free_ = nullptr;
    HeldRequests line_;
};

}  // namespace basalt::bdev::store
