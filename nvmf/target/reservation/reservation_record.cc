#include "nvmf/target/reservation/reservation_record.h"

#include <algorithm>
#include <cstring>

#include "nvmf/target/limits.h"
#include "nvmf/wire/digest.h"
#include "nvmf/wire/le.h"

namespace basalt::nvmf {

namespace {

constexpr std::array<char, 8> kMagic{'B', 'S', 'L', 'T', 'R', 'S', 'V', '1'};

struct RecordHead {
    std::array<char, 8> magic{};
    Le64 number;
    std::array<uint8_t, 16> uuid{};
    HostId holder{};
    Le32 generation;
    Le16 count;
    uint8_t type = 0;
    uint8_t persists = 0;
    Le32 checksum;
    Le32 zero;
};
static_assert(sizeof(RecordHead) == 64);
static_assert(offsetof(RecordHead, checksum) == 56);

struct RecordEntry {
    HostId host{};
    Le64 key;
    Le64 zero;
};
static_assert(sizeof(RecordEntry) == 32);
static_assert(sizeof(RecordHead) + kRegistrantsMax * sizeof(RecordEntry) <= kReservationSlotBytes);

uint32_t checksum_of(RecordHead head, std::span<const std::byte> entries) {
    head.checksum.set(0);
    Crc32c digest;
    digest.update(std::as_bytes(std::span(&head, 1)));
    digest.update(entries);
    return digest.value();
}

/// What the machine takes for granted; a record that passes the checksum has it unless it is a
/// forgery.
bool is_sound(const ReservationState& state) {
    if (static_cast<uint8_t>(state.type) > kReservationTypeMax) {
        return false;
    }
    for (size_t i = 0; i < state.registrants.size(); ++i) {
        if (state.find(state.registrants[i].host) != &state.registrants[i]) {
            return false;
        }
    }
    if (state.type == ReservationType::kNone) {
        return true;
    }
    return is_all_registrants(state.type) ? !state.registrants.empty()
                                          : state.is_registered(state.holder);
}

}  // namespace

void encode_record(const ReservationRecord& record,
                   std::span<std::byte, kReservationSlotBytes> out) {
    const ReservationState& state = record.state;
    BASALT_ASSERT(state.registrants.size() <= kRegistrantsMax);
    std::fill(out.begin(), out.end(), std::byte{0});
    RecordHead head;
    head.magic = kMagic;
    head.number.set(record.number);
    head.uuid = record.uuid.bytes;
    size_t offset = sizeof(head);
    if (state.persists) {
        head.holder = state.holder;
        head.generation.set(state.generation);
        head.count.set(static_cast<uint16_t>(state.registrants.size()));
        head.type = static_cast<uint8_t>(state.type);
        head.persists = 1;
        for (const Registrant& registrant : state.registrants) {
            RecordEntry entry;
            entry.host = registrant.host;
            entry.key.set(registrant.key);
            std::memcpy(out.data() + offset, &entry, sizeof(entry));
            offset += sizeof(entry);
        }
    }
    head.checksum.set(checksum_of(head, out.subspan(sizeof(head), offset - sizeof(head))));
    std::memcpy(out.data(), &head, sizeof(head));
}

Result<ReservationRecord> decode_record(std::span<const std::byte, kReservationSlotBytes> slot) {
    if (std::all_of(slot.begin(), slot.end(), [](std::byte b) { return b == std::byte{0}; })) {
        return Errc::kNotFound;
    }
    RecordHead head;
    std::memcpy(&head, slot.data(), sizeof(head));
    if (head.magic != kMagic || head.count.get() > kRegistrantsMax) {
        return Errc::kDataCorrupt;
    }
    const auto entries = slot.subspan(sizeof(head), head.count.get() * sizeof(RecordEntry));
    if (checksum_of(head, entries) != head.checksum.get()) {
        return Errc::kDataCorrupt;
    }
    ReservationRecord record;
    record.number = head.number.get();
    record.uuid.bytes = head.uuid;
    record.state.generation = head.generation.get();
    record.state.type = static_cast<ReservationType>(head.type);
    record.state.holder = head.holder;
    record.state.persists = head.persists != 0;
    for (size_t i = 0; i < head.count.get(); ++i) {
        RecordEntry entry;
        std::memcpy(&entry, entries.data() + i * sizeof(entry), sizeof(entry));
        record.state.registrants.push_back({entry.host, entry.key.get()});
    }
    if (!is_sound(record.state)) {
        return Errc::kDataCorrupt;
    }
    return record;
}

}  // namespace basalt::nvmf
