#include "reactor/io/socket_address.h"

#include <array>
#include <cstring>

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>

#include "reactor/base/assert.h"

namespace basalt {

namespace {

const sockaddr_in& as_v4(const sockaddr_storage& native) {
    return reinterpret_cast<const sockaddr_in&>(native);
}

const sockaddr_in6& as_v6(const sockaddr_storage& native) {
    return reinterpret_cast<const sockaddr_in6&>(native);
}

}  // namespace

Result<SocketAddress> SocketAddress::parse(std::string_view host, uint16_t port) {
    SocketAddress address;
    auto& v4 = reinterpret_cast<sockaddr_in&>(address.native_);
    auto& v6 = reinterpret_cast<sockaddr_in6&>(address.native_);
    if (inet_pton(AF_INET, std::string(host).c_str(), &v4.sin_addr) == 1) {
        v4.sin_family = AF_INET;
        v4.sin_port = htons(port);
        return address;
    }
    const size_t percent = host.find('%');
    if (inet_pton(AF_INET6, std::string(host.substr(0, percent)).c_str(), &v6.sin6_addr) != 1) {
        return Errc::kInvalidArgument;
    }
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    if (percent != std::string_view::npos) {
        v6.sin6_scope_id = if_nametoindex(std::string(host.substr(percent + 1)).c_str());
        if (v6.sin6_scope_id == 0) {
            return Errc::kInvalidArgument;
        }
    }
    return address;
}

Result<SocketAddress> SocketAddress::from_native(const sockaddr_storage& native) {
    if (native.ss_family != AF_INET && native.ss_family != AF_INET6) {
        return Errc::kNotSupported;
    }
    SocketAddress address;
    address.native_ = native;
    return address;
}

bool SocketAddress::is_loopback() const {
    if (is_ipv6()) {
        return IN6_IS_ADDR_LOOPBACK(&as_v6(native_).sin6_addr);
    }
    return (ntohl(as_v4(native_).sin_addr.s_addr) >> 24) == IN_LOOPBACKNET;
}

uint16_t SocketAddress::port() const {
    return ntohs(is_ipv6() ? as_v6(native_).sin6_port : as_v4(native_).sin_port);
}

std::string SocketAddress::host() const {
    std::array<char, INET6_ADDRSTRLEN> text{};
    const void* raw = is_ipv6() ? static_cast<const void*>(&as_v6(native_).sin6_addr)
                                : static_cast<const void*>(&as_v4(native_).sin_addr);
    const int family = is_ipv6() ? AF_INET6 : AF_INET;
    BASALT_ASSERT(inet_ntop(family, raw, text.data(), text.size()) != nullptr);
    std::string host(text.data());
    if (is_ipv6() && as_v6(native_).sin6_scope_id != 0) {
        std::array<char, IF_NAMESIZE> name{};
        const uint32_t scope = as_v6(native_).sin6_scope_id;
        host += '%';
        host += if_indextoname(scope, name.data()) != nullptr ? std::string(name.data())
                                                              : std::to_string(scope);
    }
    return host;
}

std::string SocketAddress::to_string() const {
    const std::string port_text = std::to_string(port());
    return is_ipv6() ? "[" + host() + "]:" + port_text : host() + ":" + port_text;
}

const sockaddr* SocketAddress::native() const {
    return reinterpret_cast<const sockaddr*>(&native_);
}

socklen_t SocketAddress::native_size() const {
    return is_ipv6() ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
}

bool SocketAddress::operator==(const SocketAddress& other) const {
    if (family() != other.family() || port() != other.port()) {
        return false;
    }
    if (is_ipv6()) {
        return as_v6(native_).sin6_scope_id == as_v6(other.native_).sin6_scope_id &&
               std::memcmp(&as_v6(native_).sin6_addr,
                           &as_v6(other.native_).sin6_addr,
                           sizeof(in6_addr)) == 0;
    }
    return as_v4(native_).sin_addr.s_addr == as_v4(other.native_).sin_addr.s_addr;
}

}  // namespace basalt
