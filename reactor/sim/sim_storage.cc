#include "reactor/sim/sim_storage.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "reactor/base/assert.h"

namespace basalt::sim {

namespace {

// A registered handle: its place in the table, plus one, above the file's.
constexpr uint32_t kPlaceShift = 32;
constexpr int64_t kFileMask = (int64_t{1} << kPlaceShift) - 1;

}  // namespace

FileHandle SimStorage::register_file(FileHandle file) {
    SimFileSystem::Medium* medium = files_.find(file);
    BASALT_ASSERT(medium != nullptr);
    auto* const free = std::find(registered_.begin(), registered_.end(), FileHandle{});
    if (free == registered_.end()) {
        return file;
    }
    ++medium->registered;
    *free = FileHandle{(free - registered_.begin() + 1) << kPlaceShift | file.id};
    return *free;
}

void SimStorage::unregister_file(FileHandle registered) {
    if (!has_power_ || registered.id >> kPlaceShift == 0) {
        return;
    }
    SimFileSystem::Medium* medium = find(registered);
    BASALT_ASSERT(medium != nullptr);
    --medium->registered;
    registered_[static_cast<size_t>((registered.id >> kPlaceShift) - 1)] = FileHandle{};
}

SimFileSystem::Medium* SimStorage::find(FileHandle handle) {
    const int64_t place = handle.id >> kPlaceShift;
    if (!handle.is_valid() || place == 0) {
        return files_.find(handle);
    }
    // Not one of another core, and not one that was given back.
    BASALT_ASSERT(registered_[static_cast<size_t>(place - 1)] == handle);
    return files_.find(FileHandle{handle.id & kFileMask});
}

void SimStorage::submit(FileRequest& request) {
    start(Slot{&request, nullptr}, request.file);
}

void SimStorage::submit(PassthroughRequest& request) {
    start(Slot{nullptr, &request}, request.device);
}

void SimStorage::start(const Slot& slot, FileHandle handle) {
    if (!has_power_) {
        return;
    }
    SimFileSystem::Medium* medium = find(handle);
    BASALT_ASSERT(medium != nullptr);  // A request to a file that is not open.
    ++medium->in_flight;
    ++in_flight_;
    uint64_t index = slots_.size();
    if (free_slots_.empty()) {
        slots_.push_back(slot);
    } else {
        index = free_slots_.back();
        free_slots_.pop_back();
        slots_[index] = slot;
    }
    uint64_t delay_ns = kStorageNs + timeline_.up_to(timeline_.faults.storage_jitter_ns);
    if (timeline_.roll(timeline_.faults.storage_stall_ppm)) {
        delay_ns += timeline_.faults.storage_stall_ns;
    }
    if (is_flush(slot)) {
        // No flush promises anything about what is written while it is under way.
        execute(slot, *medium);
    }
    timeline_.after(delay_ns, *this, 0, index, 0);
}

void SimStorage::occur(uint32_t /*what*/, uint64_t a, uint64_t /*b*/) {
    if (!has_power_) {
        return;
    }
    const Slot slot = std::exchange(slots_[a], Slot{});
    free_slots_.push_back(a);
    if (slot.file != nullptr) {
        SimFileSystem::Medium& medium = *find(slot.file->file);
        if (!is_flush(slot)) {
            execute(slot, medium);
        }
        timeline_.trace(slot.file->offset_bytes ^ static_cast<uint64_t>(slot.file->op));
        timeline_.trace(static_cast<uint64_t>(slot.file->status.error().code));
        if (slot.file->op == FileRequest::Op::kRead && slot.file->status) {
            for (uint32_t i = 0; i < slot.file->piece_count; ++i) {
                const iovec& piece = slot.file->pieces[i];
                timeline_.trace({static_cast<const std::byte*>(piece.iov_base), piece.iov_len});
            }
        }
        --medium.in_flight;
        ready_.push_back(&slot.file->done);
        return;
    }
    SimFileSystem::Medium& medium = *find(slot.passthrough->device);
    if (!is_flush(slot)) {
        execute(slot, medium);
    }
    timeline_.trace(slot.passthrough->nvme_status);
    --medium.in_flight;
    ready_.push_back(&slot.passthrough->done);
}

bool SimStorage::is_flush(const Slot& slot) {
    return slot.file != nullptr ? slot.file->op == FileRequest::Op::kFlush
                                : NvmeDevice::is_flush(*slot.passthrough);
}

void SimStorage::execute(const Slot& slot, SimFileSystem::Medium& medium) {
    if (slot.file != nullptr) {
        slot.file->status = execute(*slot.file, medium);
    } else if (medium.nvme == nullptr) {
        slot.passthrough->status = Error(Errc::kNotSupported);
    } else {
        medium.nvme->execute(*slot.passthrough);
    }
}

Status SimStorage::execute(const FileRequest& request, SimFileSystem::Medium& medium) {
    if (medium.drive == nullptr) {
        return Error::from_errno(EINVAL);
    }
    Drive& drive = *medium.drive;
    if (request.op == FileRequest::Op::kFlush) {
        return drive.flush();
    }
    const uint64_t alignment = drive.options().alignment_bytes;
    uint64_t misaligned = request.offset_bytes | request.length_bytes;
    for (uint32_t i = 0; i < request.piece_count; ++i) {
        misaligned |= reinterpret_cast<uintptr_t>(request.pieces[i].iov_base);
        misaligned |= request.pieces[i].iov_len;
    }
    if (misaligned % alignment != 0 || request.length_bytes == 0) {
        return Error::from_errno(EINVAL);
    }
    const uint64_t size_bytes = drive.options().size_bytes;
    if (request.offset_bytes > size_bytes ||
        request.length_bytes > size_bytes - request.offset_bytes) {
        return Error(Errc::kIo);
    }
    if (request.op == FileRequest::Op::kRead) {
        return drive.read(request.offset_bytes, request.pieces, request.length_bytes);
    }
    if (medium.is_read_only) {
        return Error::from_errno(EROFS);
    }
    switch (request.op) {
        case FileRequest::Op::kWrite:
        case FileRequest::Op::kWriteDurable:
            return drive.write(request.offset_bytes,
                               request.pieces,
                               request.length_bytes,
                               request.op == FileRequest::Op::kWriteDurable ? Drive::Durable::kYes
                                                                            : Drive::Durable::kNo);
        case FileRequest::Op::kPunchHole:
        case FileRequest::Op::kZeroRange:
            return drive.zero(request.offset_bytes,
                              request.length_bytes,
                              request.op == FileRequest::Op::kPunchHole,
                              Drive::Durable::kNo);
        case FileRequest::Op::kRead:
        case FileRequest::Op::kFlush: break;
    }
    return Error(Errc::kNotSupported);
}

uint32_t SimStorage::poll(Reactor& here) {
    std::swap(ready_, running_);
    const auto count = static_cast<uint32_t>(running_.size());
    in_flight_ -= count;
    for (Event* done : running_) {
        done->run(here);
    }
    running_.clear();
    return count;
}

void SimStorage::abandon(const Slot& slot, bool tear) {
    if (slot.file != nullptr) {
        SimFileSystem::Medium* medium = find(slot.file->file);
        const FileRequest& request = *slot.file;
        const bool is_write =
            request.op == FileRequest::Op::kWrite || request.op == FileRequest::Op::kWriteDurable;
        if (tear && is_write && medium->drive != nullptr && !medium->is_read_only &&
            request.offset_bytes + request.length_bytes <= medium->drive->options().size_bytes) {
            medium->drive->tear(request.offset_bytes, request.pieces, request.length_bytes);
        } else if (!tear) {
            static_cast<void>(execute(request, *medium));
        }
    }
    if (slot.passthrough != nullptr) {
        SimFileSystem::Medium* medium = find(slot.passthrough->device);
        if (medium->nvme != nullptr && tear) {
            medium->nvme->tear(*slot.passthrough);
        }
    }
}

void SimStorage::power_off(bool tear) {
    has_power_ = false;
    for (const Slot& slot : slots_) {
        abandon(slot, tear);
    }
    slots_.clear();
    free_slots_.clear();
    ready_.clear();
    in_flight_ = 0;
}

}  // namespace basalt::sim
