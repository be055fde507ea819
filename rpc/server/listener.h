#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "reactor/base/result.h"

namespace basalt::rpc {

/// A listening socket of the admin interface, non-blocking, close-on-exec.
///
/// A Unix socket has mode 0600 and is guarded by a lock on PATH.lock for as long as it lives, so
/// that two daemons can't take it from each other. The socket file goes when it closes; the lock
/// file stays, because removing it could free the lock under another daemon that waits for it.
/// Owner: the server.
class Listener {
  public:
    Listener() = default;
    Listener(Listener&& other) noexcept
        : fd_(std::exchange(other.fd_, -1)),
          lock_fd_(std::exchange(other.lock_fd_, -1)),
          path_(std::move(other.path_)) {}
    Listener& operator=(Listener&&) = delete;
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;
    ~Listener() { close(); }

    /// Listens at a path. A socket file that nobody listens on any more is replaced. Errors:
    /// kAddressInUse if another process listens there or holds the lock, kExists if the path is not
    /// a socket, kInvalidArgument if it is too long for a socket address, else the system call's.
    [[nodiscard]] static Result<Listener> open_unix(const std::string& path);

    /// Listens at a loopback address (127.0.0.0/8 or ::1, as text) and port (0: any). Errors:
    /// kInvalidArgument if it is no address, kPermissionDenied if it is not loopback, else the
    /// system call's.
    [[nodiscard]] static Result<Listener> open_tcp(const std::string& address, uint16_t port);

    [[nodiscard]] int fd() const { return fd_; }
    /// The TCP port it listens on; 0 for a Unix socket.
    [[nodiscard]] uint16_t port() const;

    void close();

  private:
    int fd_ = -1;
    int lock_fd_ = -1;
    std::string path_;
};

}  // namespace basalt::rpc
