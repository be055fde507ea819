#include "control/config/endpoint.h"

#include <algorithm>
#include <charconv>

namespace basalt::control {

Result<SocketAddress> parse_endpoint(std::string_view text, std::optional<uint16_t> default_port) {
    std::string_view host = text;
    std::string_view port_text;
    bool has_port = false;
    if (text.starts_with('[')) {
        const size_t end = text.find(']');
        if (end == std::string_view::npos) {
            return Errc::kInvalidArgument;
        }
        host = text.substr(1, end - 1);
        std::string_view rest = text.substr(end + 1);
        has_port = rest.starts_with(':');
        if (!rest.empty() && !has_port) {
            return Errc::kInvalidArgument;
        }
        port_text = has_port ? rest.substr(1) : rest;
    } else if (std::count(text.begin(), text.end(), ':') == 1) {
        // With more colons it is an IPv6 address without brackets, and so without port.
        const size_t colon = text.find(':');
        host = text.substr(0, colon);
        port_text = text.substr(colon + 1);
        has_port = true;
    }
    uint16_t port = default_port.value_or(0);
    if (has_port) {
        const char* end = port_text.data() + port_text.size();
        const auto parsed = std::from_chars(port_text.data(), end, port);
        if (parsed.ec != std::errc() || parsed.ptr != end || port == 0) {
            return Errc::kInvalidArgument;
        }
    } else if (!default_port) {
        return Errc::kInvalidArgument;
    }
    return SocketAddress::parse(host, port);
}

}  // namespace basalt::control
