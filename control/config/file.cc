#include "control/config/file.h"

#include <array>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <unistd.h>

namespace basalt::control {

namespace {

// Owns a file descriptor.
class Descriptor {
  public:
    explicit Descriptor(int fd) : fd_(fd) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() {
        if (fd_ >= 0) {
            close(fd_);
        }
    }
    [[nodiscard]] int get() const { return fd_; }

  private:
    int fd_;
};

Error fail(const std::string& path, std::string& problem) {
    const int error = errno;
    problem = path + ": " + std::strerror(error);
    return Error::from_errno(error);
}

}  // namespace

Result<std::string> read_file(const std::string& path, std::string& problem) {
    const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (file.get() < 0) {
        return fail(path, problem);
    }
    std::string text;
    std::array<char, 65536> chunk{};
    while (true) {
        const ssize_t size = read(file.get(), chunk.data(), chunk.size());
        if (size < 0 && errno == EINTR) {
            continue;
        }
        if (size < 0) {
            return fail(path, problem);
        }
        if (size == 0) {
            return text;
        }
        text.append(chunk.data(), static_cast<size_t>(size));
    }
}

Status make_sparse_file(const std::string& path, uint64_t size_bytes, std::string& problem) {
    const Descriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (file.get() < 0) {
        if (errno == EEXIST) {
            return kOk;
        }
        return fail(path, problem);
    }
    if (ftruncate(file.get(), static_cast<off_t>(size_bytes)) != 0) {
        const Error error = fail(path, problem);
        unlink(path.c_str());
        return error;
    }
    return kOk;
}

}  // namespace basalt::control
