#include "replication/wire/lists.h"

#include "bdev/store/checksum.h"
#include "replication/wire/bytes.h"

namespace basalt::replication::wire {

size_t encode_window(std::span<const WindowEntry> entries, std::span<std::byte> out) {
    Writer writer(out);
    for (const WindowEntry& entry : entries) {
        if (writer.size() + kWindowEntryBytes > out.size()) {
            break;
        }
        writer.put_number(entry.number);
        writer.put(entry.range.first);
        writer.put(entry.range.count);
        writer.put(uint32_t{0});
    }
    return writer.size();
}

Status decode_window(std::span<const std::byte> payload, uint32_t crc, Window& window) {
    if (payload.size() % kWindowEntryBytes != 0) {
        return Errc::kProtocol;
    }
    if (bdev::store::crc32c(payload) != crc) {
        return Errc::kDataCorrupt;
    }
    Reader reader(payload);
    for (size_t i = 0; i < payload.size() / kWindowEntryBytes; ++i) {
        WindowEntry entry;
        entry.number = reader.get_number();
        entry.range.first = reader.get<uint64_t>();
        entry.range.count = reader.get<uint32_t>();
        const auto reserved = reader.get<uint32_t>();
        if (entry.number.is_none() || entry.range.count > kRangeBlocksMax ||
            entry.range.end() < entry.range.first || reserved != 0) {
            return Errc::kProtocol;
        }
        if (window.is_full()) {
            return Errc::kNoMemory;
        }
        window.add(entry);
    }
    return kOk;
}

size_t encode_dirty(const BlockBitmap& bitmap, uint64_t& from, std::span<std::byte> out) {
    Writer writer(out);
    while (writer.size() + kRunBytes <= out.size()) {
        const uint64_t first = bitmap.next(from);
        if (first >= bitmap.blocks()) {
            from = bitmap.blocks();
            return writer.size();
        }
        const uint64_t end = bitmap.next_clear(first);
        writer.put(first);
        writer.put(end - first);
        from = end;
    }
    from = bitmap.next(from);
    return writer.size();
}

Status decode_dirty(std::span<const std::byte> payload, uint32_t crc, BlockBitmap& bitmap) {
    if (payload.size() % kRunBytes != 0) {
        return Errc::kProtocol;
    }
    if (bdev::store::crc32c(payload) != crc) {
        return Errc::kDataCorrupt;
    }
    Reader reader(payload);
    uint64_t before = 0;
    for (size_t i = 0; i < payload.size() / kRunBytes; ++i) {
        const auto first = reader.get<uint64_t>();
        const auto count = reader.get<uint64_t>();
        if (first < before || count == 0 || first >= bitmap.blocks() ||
            count > bitmap.blocks() - first) {
            return Errc::kProtocol;
        }
        bitmap.set_run(first, count);
        before = first + count;
    }
    return kOk;
}

}  // namespace basalt::replication::wire
