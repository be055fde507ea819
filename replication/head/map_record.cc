#include "replication/head/map_record.h"

#include <algorithm>

#include "bdev/store/checksum.h"
#include "replication/wire/bytes.h"

namespace basalt::replication {

namespace {

constexpr std::array<char, 8> kMagic{'B', 'S', 'L', 'T', 'M', 'A', 'P', '2'};
constexpr size_t kSumOffset = 36 + 8 + 16 + 8 + 16 * kReplicasMax;

}  // namespace

void encode_map_record(const MapRecord& record, std::span<std::byte, kMapSlotBytes> slot) {
    std::fill(slot.begin(), slot.end(), std::byte{0});
    wire::Writer out(slot);
    out.put(kMagic);
    out.put(record.volume.bytes);
    out.put(record.epoch.raw());
    out.put(record.set.bits());
    out.put(record.change);
    out.put(record.holder.bytes);
    out.put(record.lease_us);
    for (const bdev::Uuid& drive : record.drives) {
        out.put(drive.bytes);
    }
    BASALT_ASSERT(out.size() == kSumOffset);
    out.put(bdev::store::crc32c(slot.first(kSumOffset)));
}

Result<MapRecord> decode_map_record(std::span<const std::byte, kMapSlotBytes> slot) {
    if (std::all_of(
            slot.begin(), slot.end(), [](std::byte byte) { return byte == std::byte{0}; })) {
        return Errc::kNotFound;
    }
    wire::Reader in(slot);
    const auto magic = in.get<std::array<char, 8>>();
    MapRecord record;
    record.volume.bytes = in.get<std::array<uint8_t, 16>>();
    record.epoch = Epoch(in.get<uint64_t>());
    record.set = ReplicaSet(in.get<uint32_t>());
    record.change = in.get<uint64_t>();
    record.holder.bytes = in.get<std::array<uint8_t, 16>>();
    record.lease_us = in.get<uint64_t>();
    for (bdev::Uuid& drive : record.drives) {
        drive.bytes = in.get<std::array<uint8_t, 16>>();
    }
    if (magic != kMagic || in.get<uint32_t>() != bdev::store::crc32c(slot.first(kSumOffset)) ||
        record.epoch == Epoch{} || record.set.empty() ||
        !ReplicaSet::all(kReplicasMax).contains(record.set)) {
        return Errc::kDataCorrupt;
    }
    return record;
}

}  // namespace basalt::replication
