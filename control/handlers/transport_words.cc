#include "control/handlers/transport_words.h"

#include <algorithm>
#include <cctype>
#include <charconv>

namespace basalt::control {

namespace {

const char* family_word(const SocketAddress& address) {
    return address.is_ipv6() ? "IPv6" : "IPv4";
}

}  // namespace

bool is_word(std::string_view text, std::string_view word) {
    return std::equal(text.begin(), text.end(), word.begin(), word.end(), [](char a, char b) {
        return std::tolower(static_cast<unsigned char>(a)) ==
               std::tolower(static_cast<unsigned char>(b));
    });
}

std::optional<SocketAddress> parse_transport(const TransportWords& words,
                                             uint16_t default_port,
                                             std::string& problem) {
    if (!is_word(words.trtype, "TCP")) {
        problem = "trtype: must be TCP, not '" + words.trtype + "'";
        return std::nullopt;
    }
    uint16_t port = default_port;
    if (words.trsvcid) {
        const std::string& text = *words.trsvcid;
        const auto parsed = std::from_chars(text.data(), text.data() + text.size(), port);
        if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) {
            problem = "trsvcid: '" + text + "' is no TCP port";
            return std::nullopt;
        }
    }
    const Result<SocketAddress> address = SocketAddress::parse(words.traddr, port);
    if (!address) {
        problem = "traddr: '" + words.traddr + "' is no IP address";
        return std::nullopt;
    }
    if (words.adrfam && !is_word(*words.adrfam, family_word(*address))) {
        problem = "adrfam: '" + *words.adrfam + "' does not fit the address " + words.traddr;
        return std::nullopt;
    }
    return *address;
}

void write_address(const SocketAddress& address, v1::ListenAddress& out) {
    out.set_trtype("TCP");
    out.set_adrfam(family_word(address));
    out.set_traddr(address.host());
    out.set_trsvcid(std::to_string(address.port()));
}

nlohmann::json address_params(const SocketAddress& address) {
    return {{"trtype", "TCP"},
            {"adrfam", family_word(address)},
            {"traddr", address.host()},
            {"trsvcid", std::to_string(address.port())}};
}

}  // namespace basalt::control
