#include "keyring/key_files.h"

#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace basalt {

namespace {

// Closes a descriptor when it goes.
class OpenFile {
  public:
    explicit OpenFile(int fd) : fd_(fd) {}
    OpenFile(const OpenFile&) = delete;
    OpenFile& operator=(const OpenFile&) = delete;
    ~OpenFile() {
        if (fd_ >= 0) {
            close(fd_);
        }
    }
    [[nodiscard]] int fd() const { return fd_; }

  private:
    int fd_;
};

constexpr Error denied() {
    return Error(Errc::kPermissionDenied, 0, EPERM);
}

// The size of a file that satisfies the rules.
Result<size_t> check_file(int fd) {
    struct stat status {};
    if (fstat(fd, &status) != 0) {
        return Error::from_errno(errno);
    }
    constexpr mode_t kOthers = S_IRWXG | S_IRWXO;
    if (!S_ISREG(status.st_mode) || (status.st_mode & kOthers) != 0 || status.st_uid != geteuid()) {
        return denied();
    }
    const auto size = static_cast<size_t>(status.st_size);
    if (size > kKeyFileBytesMax) {
        return Error(Errc::kOutOfRange, 0, ENOBUFS);
    }
    return size;
}

// Never waits for the other end of a FIFO, and passes to no child.
int open_key(const std::string& path) {
    return open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

}  // namespace

Status PosixKeyFiles::check(const std::string& path) {
    if (!path.starts_with('/')) {
        return denied();
    }
    const OpenFile file(open_key(path));
    if (file.fd() < 0) {
        return Error::from_errno(errno);
    }
    BASALT_CHECK(check_file(file.fd()));
    return kOk;
}

Result<Secret> PosixKeyFiles::read(const std::string& path) {
    if (!path.starts_with('/')) {
        return denied();
    }
    const OpenFile file(open_key(path));
    if (file.fd() < 0) {
        return Error::from_errno(errno);
    }
    BASALT_TRY(const size_t size, check_file(file.fd()));
    Secret contents = Secret::zeroes(size);
    size_t done = 0;
    while (done < size) {
        const std::span<std::byte> rest = contents.writable().subspan(done);
        const ssize_t count = ::read(file.fd(), rest.data(), rest.size());
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return Error::from_errno(errno);
        }
        if (count == 0) {
            return Errc::kIo;  // It became shorter meanwhile: half a key is none.
        }
        done += static_cast<size_t>(count);
    }
    return contents;
}

void MemoryKeyFiles::put(const std::string& path, std::string_view contents) {
    files_.insert_or_assign(path, Secret(contents));
}

void MemoryKeyFiles::remove(const std::string& path) {
    files_.erase(path);
}

Status MemoryKeyFiles::check(const std::string& path) {
    return files_.contains(path) ? kOk : Status(Errc::kNotFound);
}

Result<Secret> MemoryKeyFiles::read(const std::string& path) {
    const auto found = files_.find(path);
    if (found == files_.end()) {
        return Errc::kNotFound;
    }
    return Secret(found->second.bytes());
}

}  // namespace basalt
