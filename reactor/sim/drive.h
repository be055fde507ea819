#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include <sys/uio.h>

#include "reactor/base/result.h"
#include "reactor/sim/timeline.h"

namespace basalt::sim {

/// What a drive writes all or not at all, and the unit of what a crash may lose.
inline constexpr uint32_t kUnitBytes = 512;

struct DriveOptions {
    uint64_t size_bytes = uint64_t{64} << 20U;
    uint32_t alignment_bytes = 4096;  ///< Of offsets, lengths and memory; at least kUnitBytes.
    uint64_t allocated_bytes_max = UINT64_MAX;  ///< Then it is full (thin storage): kNoSpace.
    bool has_volatile_cache = true;             ///< Else every write is durable at once.
};

/// A simulated medium: sparse contents, what of them a power loss would keep, and the ways in which
/// drives lie. It acts at one instant, without delay; SimStorage gives it time. Survives crashes of
/// its node. Owner: World.
class Drive {
  public:
    Drive(Timeline& timeline, const DriveOptions& options)
        : timeline_(timeline), options_(options) {}

    [[nodiscard]] const DriveOptions& options() const { return options_; }
    [[nodiscard]] uint64_t allocated_bytes() const { return allocated_sectors_ * kSectorBytes; }

    /// Errors: kMediaError. Offsets and lengths are multiples of kUnitBytes, and inside.
    [[nodiscard]] Status read(uint64_t offset_bytes, const iovec* pieces, uint64_t length_bytes);

    enum class Durable : bool { kNo, kYes };

    /// Errors: kIo (an unknown part is written), kNoSpace (nothing is).
    [[nodiscard]] Status write(uint64_t offset_bytes,
                               const iovec* pieces,
                               uint64_t length_bytes,
                               Durable durable);

    /// Zeroes a range; `deallocate` gives the space back. Errors: as write().
    [[nodiscard]] Status zero(uint64_t offset_bytes,
                              uint64_t length_bytes,
                              bool deallocate,
                              Durable durable);

    /// Errors: kIo, after which no later flush will save what this one was to save.
    [[nodiscard]] Status flush();

    /// The power fails in the middle of a write: each unit of it is written or is not.
    void tear(uint64_t offset_bytes, const iovec* pieces, uint64_t length_bytes);

    /// The power fails: each unit that nothing made durable is there or is as it was.
    void lose_power();

    /// Flips one bit of what is stored at `offset_bytes`, as a failing medium does.
    void corrupt(uint64_t offset_bytes);
    /// Makes [offset, offset + length) unreadable (kMediaError) until it is written again.
    void damage(uint64_t offset_bytes, uint64_t length_bytes);

  private:
    static constexpr uint32_t kSectorBytes = 4096;
    static constexpr uint32_t kUnits = kSectorBytes / kUnitBytes;
    using SectorData = std::array<std::byte, kSectorBytes>;

    struct Sector {
        SectorData current{};                 // What a read returns.
        std::unique_ptr<SectorData> durable;  // What a crash leaves, where that may differ.
        uint8_t volatile_units = 0;           // Bit per unit: a flush will save it.
        uint8_t orphaned_units = 0;           // Bit per unit: no flush will, ever.
        uint8_t unreadable_units = 0;
        bool is_allocated = false;
    };

    [[nodiscard]] Sector& sector_of(uint64_t offset_bytes);
    [[nodiscard]] bool has_room(uint64_t offset_bytes, uint64_t length_bytes);
    void put_unit(uint64_t offset_bytes, const std::byte* data, Durable durable);
    void settle(Sector& sector, uint32_t unit, bool keep_current);
    void revert(uint64_t index);
    [[nodiscard]] uint64_t somewhere_else(uint64_t length_bytes);

    Timeline& timeline_;
    const DriveOptions options_;
    std::unordered_map<uint64_t, Sector> sectors_;  // By offset / kSectorBytes; looked up only.
    std::vector<uint64_t> volatile_sectors_;        // Indexes, oldest first; may repeat.
    std::vector<uint64_t> orphaned_sectors_;
    uint64_t allocated_sectors_ = 0;
};

}  // namespace basalt::sim
