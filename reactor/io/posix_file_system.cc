#include "reactor/io/posix_file_system.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "reactor/base/assert.h"

namespace basalt {

namespace {

constexpr uint32_t kLogicalBlockBytesMin = 512;
constexpr uint32_t kPageBytes = 4096;

Error open_error(int error_number) {
    switch (error_number) {
        case EISDIR: return Error(Errc::kInvalidArgument, 0, error_number);
        case ENOTDIR: return Error(Errc::kNotFound, 0, error_number);
        case EFBIG: return Error(Errc::kNoSpace, 0, error_number);
        case ETXTBSY: return Error(Errc::kBusy, 0, error_number);
        default: return Error::from_errno(error_number);
    }
}

bool is_usable(const struct stat& status) {
    return S_ISREG(status.st_mode) || S_ISBLK(status.st_mode) || S_ISCHR(status.st_mode);
}

/// A file being opened: closed, and removed if we made it, unless it is taken.
class OpeningFile {
  public:
    explicit OpeningFile(const std::string& path) : path_(path) {}
    OpeningFile(const OpeningFile&) = delete;
    OpeningFile& operator=(const OpeningFile&) = delete;
    ~OpeningFile() {
        if (fd_ < 0) {
            return;
        }
        if (is_created_) {
            unlink(path_.c_str());
        }
        ::close(fd_);
    }

    /// Errors: those of FileSystem::open().
    [[nodiscard]] Status open(const OpenOptions& options);

    [[nodiscard]] int fd() const { return fd_; }
    [[nodiscard]] bool is_direct() const { return is_direct_; }
    [[nodiscard]] int take() { return std::exchange(fd_, -1); }

  private:
    [[nodiscard]] Status open_with(int flags, const OpenOptions& options);

    const std::string& path_;
    int fd_ = -1;
    bool is_direct_ = false;
    bool is_created_ = false;
};

Status OpeningFile::open(const OpenOptions& options) {
    int flags = O_CLOEXEC | (options.read_only ? O_RDONLY : O_RDWR);
    // The kind first: opening a pipe would block, and O_EXCL claims a block device.
    struct stat status {};
    if (stat(path_.c_str(), &status) == 0) {
        if (!is_usable(status)) {
            return Errc::kInvalidArgument;
        }
        flags |= S_ISBLK(status.st_mode) && !options.read_only ? O_EXCL : 0;
        is_direct_ = options.direct && !S_ISCHR(status.st_mode);
    } else if (errno == ENOENT && options.create_size_bytes != 0 && !options.read_only) {
        flags |= O_CREAT | O_EXCL;
        is_direct_ = options.direct;
    } else {
        return open_error(errno);
    }
    if (is_direct_) {
        const Status direct = open_with(flags | O_DIRECT, options);
        if (direct || direct.error().error_number != EINVAL) {
            return direct;
        }
        is_direct_ = false;  // The file system has no direct I/O.
    }
    return open_with(flags, options);
}

Status OpeningFile::open_with(int flags, const OpenOptions& options) {
    fd_ = ::open(path_.c_str(), flags, S_IRUSR | S_IWUSR);
    if (fd_ < 0) {
        // A file system that refuses O_DIRECT may have made the file before that.
        const int error_number = errno;
        if ((flags & O_CREAT) != 0 && error_number == EINVAL) {
            unlink(path_.c_str());
        }
        return open_error(error_number);
    }
    if ((flags & O_CREAT) != 0) {
        is_created_ = true;
        if (ftruncate(fd_, static_cast<off_t>(options.create_size_bytes)) != 0) {
            return open_error(errno);
        }
    }
    return kOk;
}

Status lock(int fd, bool is_shared) {
    struct flock whole {};
    whole.l_type = is_shared ? F_RDLCK : F_WRLCK;
    whole.l_whence = SEEK_SET;
    if (fcntl(fd, F_OFD_SETLK, &whole) == 0) {
        return kOk;
    }
    if (errno == EAGAIN || errno == EACCES) {
        return Error(Errc::kBusy, 0, errno);
    }
    return Error(Errc::kNotSupported, 0, errno);
}

/// By trying, for kernels and file systems that don't tell (STATX_DIOALIGN is of Linux 6.1).
uint32_t find_alignment(int fd) {
    const std::unique_ptr<void, decltype(&std::free)> page(
        std::aligned_alloc(kPageBytes, kPageBytes), &std::free);
    BASALT_ASSERT(page != nullptr);
    // What an empty file answers says nothing.
    return pread(fd, page.get(), kLogicalBlockBytesMin, 0) == kLogicalBlockBytesMin
               ? kLogicalBlockBytesMin
               : kPageBytes;
}

uint32_t alignment_of(int fd, const struct stat& status) {
#ifdef STATX_DIOALIGN
    struct statx more {};
    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &more) == 0 &&
        (more.stx_mask & STATX_DIOALIGN) != 0 && more.stx_dio_offset_align != 0) {
        return std::max(more.stx_dio_offset_align, more.stx_dio_mem_align);
    }
#endif
    int logical_block_bytes = 0;
    if (S_ISBLK(status.st_mode) && ioctl(fd, BLKSSZGET, &logical_block_bytes) == 0) {
        return static_cast<uint32_t>(logical_block_bytes);
    }
    return find_alignment(fd);
}

/// A number from sysfs, 0 if there is none.
uint64_t read_queue_limit(dev_t device, const char* name) {
    // A partition has its queue with the whole disk, one directory up.
    for (const char* format :
         {"/sys/dev/block/%u:%u/queue/%s", "/sys/dev/block/%u:%u/../queue/%s"}) {
        char path[128];
        std::snprintf(path, sizeof(path), format, major(device), minor(device), name);
        if (std::FILE* file = std::fopen(path, "re")) {
            unsigned long long value = 0;
            const int read = std::fscanf(file, "%llu", &value);
            std::fclose(file);
            return read == 1 ? value : 0;
        }
    }
    return 0;
}

bool can_punch(int fd, const struct stat& status) {
    if (S_ISBLK(status.st_mode)) {
        // fallocate(2) punches a block device by write zeroes, and fails where it has no such
        // command.
        return read_queue_limit(status.st_rdev, "write_zeroes_max_bytes") > 0;
    }
    // Behind the end there is nothing to lose, and the answer is the same.
    return S_ISREG(status.st_mode) &&
           fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, status.st_size, kPageBytes) ==
               0;
}

Result<uint64_t> size_of(int fd, const struct stat& status) {
    if (S_ISREG(status.st_mode)) {
        return static_cast<uint64_t>(status.st_size);
    }
    uint64_t size_bytes = 0;
    if (S_ISBLK(status.st_mode) && ioctl(fd, BLKGETSIZE64, &size_bytes) != 0) {
        return Error(Errc::kIo, 0, errno);
    }
    return size_bytes;
}

}  // namespace

Result<FileInfo> PosixFileSystem::open(const std::string& path, const OpenOptions& options) {
    OpeningFile file(path);
    BASALT_CHECK(file.open(options));
    BASALT_CHECK(lock(file.fd(), options.read_only));
    struct stat status {};
    if (fstat(file.fd(), &status) != 0) {
        return Error(Errc::kIo, 0, errno);
    }
    FileInfo info;
    BASALT_TRY(info.size_bytes, size_of(file.fd(), status));
    info.alignment_bytes = file.is_direct() ? alignment_of(file.fd(), status) : 1;
    info.is_block_device = S_ISBLK(status.st_mode);
    info.allocation_bytes = static_cast<uint32_t>(status.st_blksize);
    info.can_punch = !options.read_only && can_punch(file.fd(), status);
    info.handle.id = file.take();
    return info;
}

Result<uint64_t> PosixFileSystem::size_bytes(FileHandle handle) {
    BASALT_ASSERT(handle.is_valid());
    const int fd = static_cast<int>(handle.id);
    struct stat status {};
    if (fstat(fd, &status) != 0) {
        return Error(Errc::kIo, 0, errno);
    }
    return size_of(fd, status);
}

Result<uint64_t> PosixFileSystem::allocated_bytes(FileHandle handle) {
    BASALT_ASSERT(handle.is_valid());
    const int fd = static_cast<int>(handle.id);
    struct stat status {};
    if (fstat(fd, &status) != 0) {
        return Error(Errc::kIo, 0, errno);
    }
    constexpr uint64_t kStatBlockBytes = 512;  // Whatever the file system's blocks are: stat(2).
    return S_ISREG(status.st_mode) ? static_cast<uint64_t>(status.st_blocks) * kStatBlockBytes
                                   : size_of(fd, status);
}

void PosixFileSystem::close(FileHandle handle) {
    BASALT_ASSERT(handle.is_valid());
    ::close(static_cast<int>(handle.id));
}

}  // namespace basalt
