#include "replication/head/map_file.h"

#include <utility>

#include "reactor/base/log.h"
#include "reactor/file_call.h"
#include "replication/head/limits.h"

namespace basalt::replication {

MapFile::MapFile(Reactor& control, FileSystem& files, std::string path)
    : control_(control), files_(files), path_(std::move(path)) {}

MapFile::~MapFile() {
    if (!control_.is_abandoned()) {
        unlock();
    }
}

void MapFile::unlock() {
    if (file_.is_valid()) {
        files_.close(std::exchange(file_, {}));
    }
}

Task<Status> MapFile::open(uint64_t& size_bytes) {
    BASALT_ASSERT(!file_.is_valid());
    OpenOptions how;
    how.create_size_bytes = kMapFileBytes;
    while (!is_given_up_) {
        const Result<FileInfo> info = files_.open(path_, how);
        if (info) {
            file_ = info->handle;
            size_bytes = info->size_bytes;
            co_return kOk;
        }
        if (info.error().code != Errc::kBusy) {
            co_return info.error();
        }
        sleep_for pause(control_, kMapRetryNs);
        co_await pause;
    }
    co_return Errc::kCancelled;
}

Task<Result<std::optional<MapRecord>>> MapFile::lock() {
    uint64_t size_bytes = 0;
    const Status opened = co_await open(size_bytes);
    if (!opened) {
        co_return opened.error();
    }
    Result<std::optional<MapRecord>> newest = co_await read(size_bytes);
    if (!newest) {
        unlock();
    }
    co_return newest;
}

Task<Result<std::optional<MapRecord>>> MapFile::read(uint64_t size_bytes) {
    if (size_bytes != 0 && size_bytes != kMapFileBytes) {
        co_return Errc::kDataCorrupt;
    }
    std::optional<MapRecord> newest;
    uint32_t torn = 0;
    for (uint64_t number = 0; number < 2 && size_bytes != 0; ++number) {
        FileCall call(control_.storage(), FileRequest::Op::kRead, file_);
        call.set_memory(number * kMapSlotBytes, slot_.bytes);
        const Status outcome = co_await call;
        if (!outcome && outcome.error().code != Errc::kMediaError) {
            co_return outcome.error();
        }
        const Result<MapRecord> record =
            outcome ? decode_map_record(slot_.bytes) : Errc::kDataCorrupt;
        if (!record) {
            torn += record.error().code == Errc::kDataCorrupt ? 1U : 0U;
        } else if (!newest || newest->change < record->change) {
            newest = *record;
        }
    }
    if (!newest && torn == 2) {
        co_return Errc::kDataCorrupt;
    }
    co_return newest;  // None: new, or its first record was torn.
}

Task<bool> MapFile::write(MapRecord record) {
    encode_map_record(record, slot_.bytes);
    for (uint64_t copies = 0; copies < 2;) {
        if (is_given_up_) {
            co_return false;
        }
        FileCall call(control_.storage(), FileRequest::Op::kWriteDurable, file_);
        call.set_memory((record.change + copies) % 2 * kMapSlotBytes, slot_.bytes);
        const Status outcome = co_await call;
        if (outcome) {
            ++copies;
            continue;
        }
        BASALT_LOG(kError,
                   "replication",
                   "{} can't be written, so volume {} can't have epoch {}: {}; trying again",
                   path_,
                   record.volume.to_string(),
                   record.epoch.raw(),
                   describe(outcome.error().code));
        sleep_for pause(control_, kNsPerSecond);
        co_await pause;
    }
    co_return true;
}

}  // namespace basalt::replication
