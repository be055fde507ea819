#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "reactor/base/result.h"
#include "reactor/io/socket_address.h"
#include "rpc/proto/nvmf.pb.h"

// Addresses as the API spells them: trtype, adrfam, traddr, trsvcid.

namespace basalt::control {

/// Whether two words are the same, in any case.
[[nodiscard]] bool is_word(std::string_view text, std::string_view word);

/// What NVMe/TCP's transport parameters say. Errors, as the API answers them, in `problem`.
struct TransportWords {
    const std::string& trtype;
    const std::string& traddr;
    const std::optional<std::string> adrfam;
    const std::optional<std::string> trsvcid;
};
/// Of a message that has these fields.
template <typename Message>
[[nodiscard]] TransportWords words_of(const Message& message) {
    return {.trtype = message.trtype(),
            .traddr = message.traddr(),
            .adrfam = message.has_adrfam() ? std::optional(message.adrfam()) : std::nullopt,
            .trsvcid = message.has_trsvcid() ? std::optional(message.trsvcid()) : std::nullopt};
}
[[nodiscard]] std::optional<SocketAddress> parse_transport(const TransportWords& words,
                                                           uint16_t default_port,
                                                           std::string& problem);

/// An address as the API shows it, and as a parameter of a saved call.
void write_address(const SocketAddress& address, v1::ListenAddress& out);
[[nodiscard]] nlohmann::json address_params(const SocketAddress& address);

}  // namespace basalt::control
