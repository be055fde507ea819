#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <sys/socket.h>

#include "reactor/base/result.h"

namespace basalt {

/// An IPv4 or IPv6 address with a port. A value.
class SocketAddress {
  public:
    SocketAddress() = default;

    /// `host` is a numeric IPv4 or IPv6 address ("127.0.0.1", "::1", "fe80::1%eth0"); names are not
    /// resolved. Errors: kInvalidArgument.
    [[nodiscard]] static Result<SocketAddress> parse(std::string_view host, uint16_t port);

    /// From the kernel's form. Errors: kNotSupported for other families.
    [[nodiscard]] static Result<SocketAddress> from_native(const sockaddr_storage& native);

    [[nodiscard]] sa_family_t family() const { return native_.ss_family; }
    [[nodiscard]] bool is_ipv6() const { return family() == AF_INET6; }
    [[nodiscard]] bool is_loopback() const;
    [[nodiscard]] uint16_t port() const;

    /// The host alone, as in "127.0.0.1" or "::1".
    [[nodiscard]] std::string host() const;
    /// "127.0.0.1:4420" or "[::1]:4420".
    [[nodiscard]] std::string to_string() const;

    [[nodiscard]] const sockaddr* native() const;
    [[nodiscard]] socklen_t native_size() const;

    [[nodiscard]] bool operator==(const SocketAddress& other) const;

  private:
    sockaddr_storage native_{};
};

}  // namespace basalt
