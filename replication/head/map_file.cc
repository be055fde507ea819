#include "replication/head/map_file.h"

#include <utility>

namespace basalt::replication {

MapFile::MapFile(Reactor& control, FileSystem& files, std::string path)
    : file_(control, files, std::move(path), kMapSlotBytes) {}

Task<Result<std::optional<MapRecord>>> MapFile::lock() {
    const Status locked = co_await file_.lock(true);
    if (!locked) {
        co_return locked.error();
    }
    Task<Result<std::optional<MapRecord>>> reading =
        file_.newest<MapRecord>([](std::span<const std::byte> slot) {
            return decode_map_record(slot.first<kMapSlotBytes>());
        });
    Result<std::optional<MapRecord>> newest = co_await reading;
    if (!newest) {
        file_.unlock();
    }
    co_return newest;
}

Task<bool> MapFile::write(MapRecord record) {
    encode_map_record(record, file_.slot().first<kMapSlotBytes>());
    const bool is_written = co_await file_.write(record.change);
    co_return is_written;
}

}  // namespace basalt::replication
