#include "replication/head/slot_file.h"

#include <utility>

#include "reactor/base/log.h"
#include "reactor/file_call.h"
#include "replication/head/limits.h"

namespace basalt::replication {

SlotFile::SlotFile(Reactor& control, FileSystem& files, std::string path, size_t slot_bytes)
    : control_(control), files_(files), path_(std::move(path)), slot_(slot_bytes / sizeof(Page)) {
    BASALT_ASSERT(slot_bytes > 0 && slot_bytes % sizeof(Page) == 0);
}

SlotFile::~SlotFile() {
    if (!control_.is_abandoned()) {
        unlock();
    }
}

void SlotFile::unlock() {
    if (file_.is_valid()) {
        files_.close(std::exchange(file_, {}));
    }
}

std::span<std::byte> SlotFile::slot() {
    return {slot_.front().bytes.data(), slot_.size() * sizeof(Page)};
}

Task<Status> SlotFile::lock(bool may_create) {
    BASALT_ASSERT(!file_.is_valid());
    const uint64_t whole_bytes = 2 * slot().size();
    OpenOptions how;
    how.create_size_bytes = may_create ? whole_bytes : 0;
    while (!is_given_up_) {
        const Result<FileInfo> info = files_.open(path_, how);
        if (info) {
            file_ = info->handle;
            is_empty_ = info->size_bytes == 0;
            if (!is_empty_ && info->size_bytes != whole_bytes) {
                unlock();
                co_return Errc::kDataCorrupt;
            }
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

Task<Status> SlotFile::read(uint64_t number) {
    FileCall call(control_.storage(), FileRequest::Op::kRead, file_);
    call.set_memory(number * slot().size(), slot());
    const Status outcome = co_await call;
    co_return outcome;
}

Task<bool> SlotFile::write(uint64_t change) {
    for (uint64_t copies = 0; copies < 2;) {
        if (is_given_up_) {
            co_return false;
        }
        FileCall call(control_.storage(), FileRequest::Op::kWriteDurable, file_);
        call.set_memory((change + copies) % 2 * slot().size(), slot());
        const Status outcome = co_await call;
        if (outcome) {
            ++copies;
            continue;
        }
        BASALT_LOG(kError,
                   "replication",
                   "{} can't be written, so nothing that it decides on goes on: {}; trying again",
                   path_,
                   describe(outcome.error().code));
        sleep_for pause(control_, kNsPerSecond);
        co_await pause;
    }
    co_return true;
}

}  // namespace basalt::replication
