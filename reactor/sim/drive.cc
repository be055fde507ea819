#include "reactor/sim/drive.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "reactor/base/assert.h"
#include "reactor/sim/piece_cursor.h"

namespace basalt::sim {

namespace {

constexpr std::array<std::byte, kUnitBytes> kZeroes{};

uint8_t unit_bit(uint64_t offset_bytes) {
    return static_cast<uint8_t>(1U << (offset_bytes / kUnitBytes % 8));
}

}  // namespace

Drive::Sector& Drive::sector_of(uint64_t offset_bytes) {
    return sectors_[offset_bytes / kSectorBytes];
}

bool Drive::has_room(uint64_t offset_bytes, uint64_t length_bytes) {
    if (options_.allocated_bytes_max == UINT64_MAX) {
        return true;
    }
    uint64_t needed = allocated_sectors_;
    const uint64_t end = (offset_bytes + length_bytes - 1) / kSectorBytes;
    for (uint64_t index = offset_bytes / kSectorBytes; index <= end; ++index) {
        const auto found = sectors_.find(index);
        needed += found == sectors_.end() || !found->second.is_allocated ? 1U : 0U;
    }
    return needed * kSectorBytes <= options_.allocated_bytes_max;
}

uint64_t Drive::somewhere_else(uint64_t length_bytes) {
    const uint64_t places = (options_.size_bytes - length_bytes) / kUnitBytes + 1;
    return timeline_.random().below(places) * kUnitBytes;
}

Status Drive::read(uint64_t offset_bytes, const iovec* pieces, uint64_t length_bytes) {
    const FaultOptions& faults = timeline_.faults;
    if (timeline_.roll(faults.read_error_ppm)) {
        return Error(Errc::kMediaError, 0, EIO);
    }
    if (timeline_.roll(faults.corrupt_ppm)) {
        corrupt(offset_bytes + timeline_.random().below(length_bytes));
    }
    if (timeline_.roll(faults.misdirected_read_ppm)) {
        offset_bytes = somewhere_else(length_bytes);
    }
    PieceCursor cursor(pieces);
    for (uint64_t end = offset_bytes + length_bytes; offset_bytes < end;
         offset_bytes += kUnitBytes) {
        const auto found = sectors_.find(offset_bytes / kSectorBytes);
        if (found == sectors_.end()) {
            cursor.copy_in(kZeroes.data(), kUnitBytes);
            continue;
        }
        if ((found->second.unreadable_units & unit_bit(offset_bytes)) != 0) {
            return Error(Errc::kMediaError, 0, EIO);
        }
        cursor.copy_in(&found->second.current[offset_bytes % kSectorBytes], kUnitBytes);
    }
    return kOk;
}

void Drive::put_unit(uint64_t offset_bytes, const std::byte* data, Durable durable) {
    Sector& sector = sector_of(offset_bytes);
    const size_t in_sector = offset_bytes % kSectorBytes;
    const uint8_t bit = unit_bit(offset_bytes);
    if (!sector.is_allocated) {
        sector.is_allocated = true;
        ++allocated_sectors_;
    }
    sector.unreadable_units = static_cast<uint8_t>(sector.unreadable_units & ~bit);
    const bool is_durable = durable == Durable::kYes || !options_.has_volatile_cache;
    if (!is_durable && sector.durable == nullptr) {
        sector.durable = std::make_unique<SectorData>(sector.current);
    }
    std::memcpy(&sector.current[in_sector], data, kUnitBytes);
    if (is_durable) {
        settle(sector, static_cast<uint32_t>(in_sector / kUnitBytes), true);
        return;
    }
    if (sector.volatile_units == 0) {
        volatile_sectors_.push_back(offset_bytes / kSectorBytes);
    }
    sector.volatile_units = static_cast<uint8_t>(sector.volatile_units | bit);
    sector.orphaned_units = static_cast<uint8_t>(sector.orphaned_units & ~bit);
}

void Drive::settle(Sector& sector, uint32_t unit, bool keep_current) {
    const auto others = static_cast<uint8_t>(~(1U << unit));
    sector.volatile_units &= others;
    sector.orphaned_units &= others;
    if (sector.durable == nullptr) {
        return;
    }
    std::byte* current = &sector.current[size_t{unit} * kUnitBytes];
    std::byte* durable = &(*sector.durable)[size_t{unit} * kUnitBytes];
    std::memcpy(keep_current ? durable : current, keep_current ? current : durable, kUnitBytes);
    if ((sector.volatile_units | sector.orphaned_units) == 0) {
        sector.durable.reset();
    }
}

Status Drive::write(uint64_t offset_bytes,
                    const iovec* pieces,
                    uint64_t length_bytes,
                    Durable durable) {
    const FaultOptions& faults = timeline_.faults;
    if (!has_room(offset_bytes, length_bytes)) {
        return Error::from_errno(ENOSPC);
    }
    if (timeline_.roll(faults.write_error_ppm)) {
        tear(offset_bytes, pieces, length_bytes);
        return Error::from_errno(EIO);
    }
    if (timeline_.roll(faults.lost_write_ppm)) {
        return kOk;
    }
    if (timeline_.roll(faults.misdirected_write_ppm)) {
        offset_bytes = somewhere_else(length_bytes);
    }
    PieceCursor cursor(pieces);
    std::array<std::byte, kUnitBytes> unit{};
    for (uint64_t end = offset_bytes + length_bytes; offset_bytes < end;
         offset_bytes += kUnitBytes) {
        cursor.copy_out(unit.data(), kUnitBytes);
        put_unit(offset_bytes, unit.data(), durable);
    }
    return kOk;
}

Status Drive::zero(uint64_t offset_bytes, uint64_t length_bytes, bool deallocate, Durable durable) {
    if (!deallocate && !has_room(offset_bytes, length_bytes)) {
        return Error::from_errno(ENOSPC);
    }
    const bool is_torn = timeline_.roll(timeline_.faults.write_error_ppm);
    for (uint64_t end = offset_bytes + length_bytes; offset_bytes < end;
         offset_bytes += kUnitBytes) {
        const bool is_known = sectors_.contains(offset_bytes / kSectorBytes);
        if ((is_torn && timeline_.random().chance(1, 2)) || (deallocate && !is_known)) {
            continue;
        }
        put_unit(offset_bytes, kZeroes.data(), durable);
        const bool is_last_unit = (offset_bytes + kUnitBytes) % kSectorBytes == 0;
        const bool began_before = offset_bytes + kUnitBytes >= kSectorBytes + (end - length_bytes);
        if (deallocate && !is_torn && is_last_unit && began_before) {
            Sector& sector = sector_of(offset_bytes);
            sector.is_allocated = false;
            --allocated_sectors_;
        }
    }
    return is_torn ? Status(Error::from_errno(EIO)) : kOk;
}

Status Drive::flush() {
    const bool fails = timeline_.roll(timeline_.faults.flush_error_ppm);
    for (const uint64_t index : volatile_sectors_) {
        Sector& sector = sectors_[index];
        if (fails) {
            // As Linux does it: the pages count as clean now, so nobody writes them again.
            sector.orphaned_units |= sector.volatile_units;
            sector.volatile_units = 0;
            orphaned_sectors_.push_back(index);
            continue;
        }
        for (uint32_t unit = 0; unit < kUnits; ++unit) {
            if ((sector.volatile_units & (1U << unit)) != 0) {
                settle(sector, unit, true);
            }
        }
    }
    volatile_sectors_.clear();
    return fails ? Status(Error::from_errno(EIO)) : kOk;
}

void Drive::tear(uint64_t offset_bytes, const iovec* pieces, uint64_t length_bytes) {
    if (!has_room(offset_bytes, length_bytes)) {
        return;
    }
    PieceCursor cursor(pieces);
    std::array<std::byte, kUnitBytes> unit{};
    for (uint64_t end = offset_bytes + length_bytes; offset_bytes < end;
         offset_bytes += kUnitBytes) {
        cursor.copy_out(unit.data(), kUnitBytes);
        if (timeline_.random().chance(1, 2)) {
            put_unit(offset_bytes, unit.data(), Durable::kNo);
        }
    }
}

void Drive::revert(uint64_t index) {
    Sector& sector = sectors_[index];
    // Mostly all of a sector or nothing: of what is written as one, one without the other is what
    // a format has to bear, and each unit by its own chance would hardly ever leave either whole.
    const bool is_torn = timeline_.random().below(4) == 0;
    const bool is_lost = timeline_.roll(timeline_.faults.crash_loss_ppm);
    for (uint32_t unit = 0; unit < kUnits; ++unit) {
        const uint32_t bit = 1U << unit;
        if ((sector.volatile_units & bit) != 0) {
            settle(sector,
                   unit,
                   is_torn ? !timeline_.roll(timeline_.faults.crash_loss_ppm) : !is_lost);
        } else if ((sector.orphaned_units & bit) != 0) {
            settle(sector, unit, false);
        }
    }
    // What came back may need the space that a lost deallocation gave away.
    if (!sector.is_allocated && std::any_of(sector.current.begin(),
                                            sector.current.end(),
                                            [](std::byte b) { return b != std::byte{0}; })) {
        sector.is_allocated = true;
        ++allocated_sectors_;
    }
}

void Drive::lose_power() {
    for (const uint64_t index : volatile_sectors_) {
        revert(index);
    }
    for (const uint64_t index : orphaned_sectors_) {
        revert(index);
    }
    volatile_sectors_.clear();
    orphaned_sectors_.clear();
}

void Drive::corrupt(uint64_t offset_bytes) {
    Sector& sector = sector_of(offset_bytes);
    const size_t in_sector = offset_bytes % kSectorBytes;
    const auto flipped = std::byte{1} << static_cast<int>(timeline_.random().below(8));
    sector.current[in_sector] ^= flipped;
    if (sector.durable != nullptr) {
        (*sector.durable)[in_sector] ^= flipped;
    }
}

void Drive::damage(uint64_t offset_bytes, uint64_t length_bytes) {
    for (uint64_t end = offset_bytes + length_bytes; offset_bytes < end;
         offset_bytes += kUnitBytes) {
        Sector& sector = sector_of(offset_bytes);
        sector.unreadable_units |= unit_bit(offset_bytes);
    }
}

}  // namespace basalt::sim
