#include "reactor/sim/sim_stream_files.h"

#include <algorithm>

#include "reactor/base/assert.h"

namespace basalt::sim {

namespace {

/// Of calls that find nothing to do though there is something.
constexpr uint64_t kOneInFew = 4;

}  // namespace

Result<StreamInfo> SimStreamFiles::open(const std::string& path, StreamUse use) {
    const auto found = pipes_.find(path);
    if (found == pipes_.end()) {
        OpenOptions options;
        options.read_only = true;
        Result<FileInfo> file = files_.open(path, options);
        if (use == StreamUse::kWrite) {
            if (file) {
                files_.close(file->handle);
                return Errc::kExists;
            }
            options.read_only = false;
            options.create_size_bytes = file_bytes_;
            file = files_.open(path, options);
        }
        if (!file) {
            return file.error();
        }
        return StreamInfo{file->handle, false};
    }
    SimPipe& pipe = *found->second;
    if (use == StreamUse::kWrite && pipe.readers == 0) {
        return Errc::kTryAgain;
    }
    ++(use == StreamUse::kRead ? pipe.readers : pipe.writers);
    const int64_t id = next_id_++;
    open_[id] = {&pipe, use};
    return StreamInfo{FileHandle{id}, true};
}

SimPipe& SimStreamFiles::pipe_of(FileHandle handle, StreamUse use) {
    const Open& open = open_.at(handle.id);
    BASALT_ASSERT(open.use == use);
    return *open.pipe;
}

size_t SimStreamFiles::some_of(size_t bytes) {
    return random_.below(kOneInFew) == 0 ? 1 + random_.below(bytes) : bytes;
}

Result<size_t> SimStreamFiles::read_now(FileHandle handle, std::span<std::byte> out) {
    SimPipe& pipe = pipe_of(handle, StreamUse::kRead);
    if (pipe.bytes.empty() && pipe.writers == 0) {
        return size_t{0};
    }
    if (pipe.bytes.empty() || random_.below(kOneInFew) == 0) {
        return Errc::kTryAgain;
    }
    const size_t count = some_of(std::min(out.size(), pipe.bytes.size()));
    const auto end = pipe.bytes.begin() + static_cast<ptrdiff_t>(count);
    std::copy(pipe.bytes.begin(), end, out.begin());
    pipe.bytes.erase(pipe.bytes.begin(), end);
    pipe.bytes_moved += count;
    return count;
}

Result<size_t> SimStreamFiles::write_now(FileHandle handle, std::span<const std::byte> data) {
    SimPipe& pipe = pipe_of(handle, StreamUse::kWrite);
    const uint64_t left = pipe.break_after_bytes - pipe.bytes_moved;
    if (pipe.readers == 0 || left <= pipe.bytes.size()) {
        return Errc::kConnectionClosed;
    }
    const size_t room = std::min<uint64_t>(SimPipe::kBytesMax, left) - pipe.bytes.size();
    if (room == 0 || random_.below(kOneInFew) == 0) {
        return Errc::kTryAgain;
    }
    const size_t count = some_of(std::min(data.size(), room));
    pipe.bytes.insert(pipe.bytes.end(), data.begin(), data.begin() + static_cast<ptrdiff_t>(count));
    return count;
}

void SimStreamFiles::close(FileHandle handle) {
    const auto found = open_.find(handle.id);
    if (found == open_.end()) {
        files_.close(handle);
        return;
    }
    --(found->second.use == StreamUse::kRead ? found->second.pipe->readers
                                             : found->second.pipe->writers);
    open_.erase(found);
}

}  // namespace basalt::sim
