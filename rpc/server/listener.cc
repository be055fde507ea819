#include "rpc/server/listener.h"

#include <cerrno>
#include <cstring>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "rpc/limits.h"

namespace basalt::rpc {

namespace {

Error last_error() {
    return Error::from_errno(errno);
}

Result<sockaddr_un> unix_address(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof(address.sun_path)) {
        return Errc::kInvalidArgument;
    }
    std::memcpy(address.sun_path, path.data(), path.size());
    return address;
}

const sockaddr* generic(const auto& address) {
    return reinterpret_cast<const sockaddr*>(&address);
}

// Does somebody accept connections there? SPDK and others don't know our lock file.
bool is_listened_on(const sockaddr_un& address) {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return false;
    }
    // EAGAIN: a listener whose backlog is full.
    const bool listened = ::connect(fd, generic(address), sizeof(address)) == 0 || errno == EAGAIN;
    ::close(fd);
    return listened;
}

Status remove_stale_socket(const std::string& path, const sockaddr_un& address) {
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0) {
        return errno == ENOENT ? kOk : Status(last_error());
    }
    if (!S_ISSOCK(info.st_mode)) {
        return Errc::kExists;
    }
    if (is_listened_on(address)) {
        return Errc::kAddressInUse;
    }
    return ::unlink(path.c_str()) == 0 ? kOk : Status(last_error());
}

struct LoopbackAddress {
    sockaddr_storage storage{};
    socklen_t length = 0;
};

Result<LoopbackAddress> loopback_address(const std::string& text, uint16_t port) {
    LoopbackAddress out;
    auto* v4 = reinterpret_cast<sockaddr_in*>(&out.storage);
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&out.storage);
    if (::inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        out.length = sizeof(*v4);
        constexpr uint32_t kLoopbackNet = 127;
        if (ntohl(v4->sin_addr.s_addr) >> 24 != kLoopbackNet) {
            return Errc::kPermissionDenied;
        }
        return out;
    }
    if (::inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        out.length = sizeof(*v6);
        if (!IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr)) {
            return Errc::kPermissionDenied;
        }
        return out;
    }
    return Errc::kInvalidArgument;
}

}  // namespace

Result<Listener> Listener::open_unix(const std::string& path) {
    BASALT_TRY(const sockaddr_un address, unix_address(path));
    Listener listener;
    const std::string lock_path = path + ".lock";
    listener.lock_fd_ = ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (listener.lock_fd_ < 0) {
        return last_error();
    }
    if (::flock(listener.lock_fd_, LOCK_EX | LOCK_NB) != 0) {
        return errno == EWOULDBLOCK ? Error(Errc::kAddressInUse) : last_error();
    }
    BASALT_CHECK(remove_stale_socket(path, address));
    listener.fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener.fd_ < 0) {
        return last_error();
    }
    // On Linux bind() gives the file the socket's own mode: there is no moment with a wider one.
    if (::fchmod(listener.fd_, 0600) != 0 ||
        ::bind(listener.fd_, generic(address), sizeof(address)) != 0) {
        return last_error();
    }
    listener.path_ = path;
    if (::listen(listener.fd_, kListenBacklog) != 0) {
        return last_error();
    }
    return listener;
}

Result<Listener> Listener::open_tcp(const std::string& address, uint16_t port) {
    BASALT_TRY(const LoopbackAddress loopback, loopback_address(address, port));
    Listener listener;
    listener.fd_ =
        ::socket(loopback.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener.fd_ < 0) {
        return last_error();
    }
    const int on = 1;
    if (::setsockopt(listener.fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        ::bind(listener.fd_, generic(loopback.storage), loopback.length) != 0 ||
        ::listen(listener.fd_, kListenBacklog) != 0) {
        return last_error();
    }
    return listener;
}

uint16_t Listener::port() const {
    sockaddr_storage storage{};
    socklen_t length = sizeof(storage);
    if (::getsockname(fd_, reinterpret_cast<sockaddr*>(&storage), &length) != 0) {
        return 0;
    }
    if (storage.ss_family == AF_INET6) {
        return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port);
    }
    return storage.ss_family == AF_INET
               ? ntohs(reinterpret_cast<const sockaddr_in*>(&storage)->sin_port)
               : uint16_t{0};
}

void Listener::close() {
    if (!path_.empty()) {
        ::unlink(path_.c_str());
        path_.clear();
    }
    if (fd_ >= 0) {
        ::close(std::exchange(fd_, -1));
    }
    if (lock_fd_ >= 0) {
        ::close(std::exchange(lock_fd_, -1));
    }
}

}  // namespace basalt::rpc
