#include "reactor/io/posix_stream_files.h"

#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reactor/base/assert.h"

namespace basalt {

namespace {

/// What may be in a pipe at once, if the system lets us: fewer pauses for both sides.
constexpr int kPipeBytes = 1 << 20;

Error open_error(int error_number) {
    switch (error_number) {
        case EEXIST: return Error(Errc::kExists, 0, error_number);
        case ENXIO: return Error(Errc::kTryAgain, 0, error_number);  // A pipe that nobody reads.
        case EISDIR: return Error(Errc::kInvalidArgument, 0, error_number);
        case ENOTDIR: return Error(Errc::kNotFound, 0, error_number);
        default: return Error::from_errno(error_number);
    }
}

int fd_of(FileHandle handle) {
    BASALT_ASSERT(handle.is_valid());
    return static_cast<int>(handle.id);
}

Result<size_t> moved(ssize_t bytes) {
    if (bytes >= 0) {
        return static_cast<size_t>(bytes);
    }
    if (errno == EAGAIN || errno == EINTR) {
        return Errc::kTryAgain;
    }
    return errno == EPIPE ? Error(Errc::kConnectionClosed, 0, errno) : Error::from_errno(errno);
}

}  // namespace

Result<StreamInfo> PosixStreamFiles::open(const std::string& path, StreamUse use) {
    // The kind first: to open a device may do something.
    struct stat status {};
    const bool is_there = stat(path.c_str(), &status) == 0;
    if (is_there && !S_ISREG(status.st_mode) && !S_ISFIFO(status.st_mode)) {
        return Errc::kInvalidArgument;
    }
    StreamInfo info;
    info.is_pipe = is_there && S_ISFIFO(status.st_mode);
    int flags = O_CLOEXEC | O_NONBLOCK | (use == StreamUse::kRead ? O_RDONLY : O_WRONLY);
    if (use == StreamUse::kWrite && !info.is_pipe) {
        flags |= O_CREAT | O_EXCL;
    }
    const int fd = ::open(path.c_str(), flags, S_IRUSR | S_IWUSR);
    if (fd < 0) {
        return open_error(errno);
    }
    if (fstat(fd, &status) != 0 || S_ISFIFO(status.st_mode) != info.is_pipe) {
        ::close(fd);
        return Errc::kBusy;  // Somebody has put something else there meanwhile.
    }
    if (info.is_pipe) {
        static_cast<void>(fcntl(fd, F_SETPIPE_SZ, kPipeBytes));  // Best effort.
    } else {
        static_cast<void>(fcntl(fd, F_SETFL, 0));  // io_uring is to wait for the disk.
    }
    info.handle.id = fd;
    return info;
}

Result<size_t> PosixStreamFiles::read_now(FileHandle pipe, std::span<std::byte> out) {
    return moved(::read(fd_of(pipe), out.data(), out.size()));
}

Result<size_t> PosixStreamFiles::write_now(FileHandle pipe, std::span<const std::byte> data) {
    return moved(::write(fd_of(pipe), data.data(), data.size()));
}

void PosixStreamFiles::close(FileHandle handle) {
    ::close(fd_of(handle));
}

}  // namespace basalt
