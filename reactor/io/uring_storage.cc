#include "reactor/io/uring_storage.h"

#include <algorithm>
#include <cerrno>

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>

#include "reactor/base/assert.h"

namespace basalt {

namespace {

constexpr size_t kRegisteredBytesMax = size_t{1} << 30;

// A system call moves at most 2 GiB less a page (read(2)); a round number below keeps alignment.
constexpr size_t kTransferBytesMax = size_t{1} << 30;

bool is_transfer(FileRequest::Op op) {
    return op == FileRequest::Op::kRead || op == FileRequest::Op::kWrite ||
           op == FileRequest::Op::kWriteDurable;
}

bool is_transient(int32_t result) {
    return result == -EINTR || result == -EAGAIN;
}

// A registered handle: the place in the table, plus one, above the descriptor.
constexpr uint32_t kPlaceShift = 32;

bool is_registered(FileHandle file) {
    return file.is_valid() && file.id >> kPlaceShift != 0;
}

uint32_t place_of(FileHandle registered) {
    BASALT_ASSERT(is_registered(registered));
    return static_cast<uint32_t>(registered.id >> kPlaceShift) - 1;
}

/// What an entry's field for the descriptor says.
int entry_fd(FileHandle file) {
    return static_cast<int>(is_registered(file) ? place_of(file) : file.id);
}

}  // namespace

UringStorage::UringStorage(UringRing& ring, const UringFeatures& features)
    : ring_(ring), features_(features) {}

UringStorage::~UringStorage() {
    BASALT_ASSERT(in_flight() == 0);
}

// ---- registered memory

bool UringStorage::can_register_more() const {
    return features_.registered_memory && registered_count_ < kRegisteredMax;
}

void UringStorage::register_memory(std::span<std::byte> memory) {
    if (can_register_more() && !has_table_) {
        has_table_ = io_uring_register_buffers_sparse(&ring_.native(), kRegisteredMax) == 0;
    }
    while (has_table_ && can_register_more() && !memory.empty()) {
        const std::span<std::byte> part =
            memory.first(std::min(memory.size(), kRegisteredBytesMax));
        const iovec native{.iov_base = part.data(), .iov_len = part.size()};
        const int error = io_uring_register_buffers_update_tag(
            &ring_.native(), registered_count_, &native, nullptr, 1);
        if (error < 0) {
            return;  // Best effort: these transfers pin their pages each time.
        }
        registered_[registered_count_++] = part;
        memory = memory.subspan(part.size());
    }
}

uint32_t UringStorage::registered_index(const std::byte* memory, size_t length) const {
    for (uint32_t i = 0; i < registered_count_; ++i) {
        const std::byte* begin = registered_[i].data();
        const std::byte* end = begin + registered_[i].size();
        if (memory >= begin && memory < end && length <= static_cast<size_t>(end - memory)) {
            return i;
        }
    }
    return kNotRegistered;
}

// ---- registered files

FileHandle UringStorage::register_file(FileHandle file) {
    BASALT_ASSERT(file.is_valid());
    BASALT_ASSERT(!is_registered(file));
    if (features_.registered_files && !has_file_table_) {
        has_file_table_ = io_uring_register_files_sparse(&ring_.native(), kFilesMax) == 0;
    }
    auto* const free = std::find(is_place_taken_.begin(), is_place_taken_.end(), false);
    if (!has_file_table_ || free == is_place_taken_.end()) {
        return file;
    }
    const int64_t place = free - is_place_taken_.begin();
    const int fd = static_cast<int>(file.id);
    if (io_uring_register_files_update(&ring_.native(), static_cast<unsigned>(place), &fd, 1) !=
        1) {
        return file;  // Best effort: each request looks up the descriptor.
    }
    *free = true;
    return FileHandle{(place + 1) << kPlaceShift | file.id};
}

void UringStorage::unregister_file(FileHandle registered) {
    if (!is_registered(registered)) {
        return;
    }
    const uint32_t place = place_of(registered);
    BASALT_ASSERT(is_place_taken_[place]);
    const int nothing = -1;
    const int updated = io_uring_register_files_update(&ring_.native(), place, &nothing, 1);
    BASALT_ASSERT(updated == 1);  // Or another thread than the reactor's.
    is_place_taken_[place] = false;
}

// ---- files

void UringStorage::submit(FileRequest& request) {
    BASALT_ASSERT(!is_transfer(request.op) || request.piece_count > 0);
    BASALT_ASSERT(request.length_bytes > 0 || request.op == FileRequest::Op::kFlush);
    request.progress_bytes = 0;
    ++in_flight_;
    queue(request);
}

void UringStorage::queue(FileRequest& request) {
    const int fd = entry_fd(request.file);
    io_uring_sqe& sqe = ring_.next_sqe();
    switch (request.op) {
        case FileRequest::Op::kRead:
        case FileRequest::Op::kWrite:
        case FileRequest::Op::kWriteDurable: queue_transfer(request, sqe); break;
        case FileRequest::Op::kFlush: io_uring_prep_fsync(&sqe, fd, IORING_FSYNC_DATASYNC); break;
        case FileRequest::Op::kPunchHole:
        case FileRequest::Op::kZeroRange: {
            // progress_bytes says that this file system has no FALLOC_FL_ZERO_RANGE: see
            // complete().
            const bool zero =
                request.op == FileRequest::Op::kZeroRange && request.progress_bytes == 0;
            io_uring_prep_fallocate(
                &sqe,
                fd,
                FALLOC_FL_KEEP_SIZE | (zero ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE),
                static_cast<off_t>(request.offset_bytes),
                static_cast<off_t>(request.length_bytes));
            break;
        }
    }
    if (is_registered(request.file)) {
        sqe.flags |= IOSQE_FIXED_FILE;
        ++fixed_file_requests_;
    }
    sqe.user_data = reinterpret_cast<uint64_t>(&request) | kUringFileTag;
}

void UringStorage::queue_transfer(FileRequest& request, io_uring_sqe& sqe) {
    // The first piece not done, and how much of it is.
    uint32_t index = 0;
    size_t done_bytes = request.progress_bytes;
    while (done_bytes >= request.pieces[index].iov_len) {
        done_bytes -= request.pieces[index].iov_len;
        ++index;
        BASALT_ASSERT(index < request.piece_count);
    }
    const iovec& piece = request.pieces[index];
    if (done_bytes > 0 || index + 1 == request.piece_count) {
        // The user's array is const: the rest of a piece half done goes alone, then the others.
        queue_single(request,
                     sqe,
                     static_cast<std::byte*>(piece.iov_base) + done_bytes,
                     std::min(piece.iov_len - done_bytes, kTransferBytesMax));
    } else {
        const int fd = entry_fd(request.file);
        const uint64_t offset = request.offset_bytes + request.progress_bytes;
        const uint32_t count = request.piece_count - index;
        if (request.op == FileRequest::Op::kRead) {
            io_uring_prep_readv(&sqe, fd, &piece, count, offset);
        } else {
            io_uring_prep_writev(&sqe, fd, &piece, count, offset);
        }
    }
    if (request.op == FileRequest::Op::kWriteDurable) {
        sqe.rw_flags = RWF_DSYNC;
    }
}

void UringStorage::queue_single(FileRequest& request,
                                io_uring_sqe& sqe,
                                std::byte* memory,
                                size_t length) {
    const int fd = entry_fd(request.file);
    const uint64_t offset = request.offset_bytes + request.progress_bytes;
    const auto length_bytes = static_cast<uint32_t>(length);
    const uint32_t registered = registered_index(memory, length);
    const bool is_read = request.op == FileRequest::Op::kRead;
    if (registered == kNotRegistered) {
        if (is_read) {
            io_uring_prep_read(&sqe, fd, memory, length_bytes, offset);
        } else {
            io_uring_prep_write(&sqe, fd, memory, length_bytes, offset);
        }
        return;
    }
    ++fixed_transfers_;
    if (is_read) {
        io_uring_prep_read_fixed(
            &sqe, fd, memory, length_bytes, offset, static_cast<int>(registered));
    } else {
        io_uring_prep_write_fixed(
            &sqe, fd, memory, length_bytes, offset, static_cast<int>(registered));
    }
}

void UringStorage::complete(uint64_t user_data, UringCompletion completion, Reactor& here) {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): as it went in.
    auto& request = *reinterpret_cast<FileRequest*>(user_data);
    const int32_t result = completion.result;
    request.status = kOk;
    if (is_transient(result)) {
        queue(request);
        return;
    }
    if (result == -EOPNOTSUPP && request.op == FileRequest::Op::kZeroRange &&
        request.progress_bytes == 0) {
        request.progress_bytes = 1;  // Punching zeroes as well, only the space is not kept.
        queue(request);
        return;
    }
    if (result < 0) {
        request.status = Error::from_errno(-result);
    } else if (is_transfer(request.op)) {
        request.progress_bytes += static_cast<uint64_t>(result);
        BASALT_ASSERT(request.progress_bytes <= request.length_bytes);
        if (request.progress_bytes < request.length_bytes) {
            if (result > 0) {
                queue(request);
                return;
            }
            request.status = Errc::kIo;  // The file ends here.
        }
    }
    --in_flight_;
    request.done.run(here);
}

// ---- NVMe commands

void UringStorage::submit(PassthroughRequest& request) {
    if (!passthrough_) {
        passthrough_ = std::make_unique<UringPassthrough>(ring_, features_);
    }
    passthrough_->submit(request);
}

}  // namespace basalt
