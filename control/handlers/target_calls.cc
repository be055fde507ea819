#include "control/handlers/target_calls.h"

#include "control/handlers/transport_words.h"

namespace basalt::control {

std::string subsystem_words(std::string_view nqn) {
    return "subsystem '" + std::string(nqn) + "'";
}

std::string namespace_words(std::string_view nqn, nvmf::Nsid nsid) {
    return "namespace " + std::to_string(nsid.raw()) + " of " + subsystem_words(nqn);
}

std::string listener_words(std::string_view nqn, const SocketAddress& address) {
    return "listener " + address.to_string() + " of " + subsystem_words(nqn);
}

rpc::RpcError target_error(Error error, const std::string& what) {
    rpc::RpcError translated = rpc::to_rpc_error(error, what);
    if (error.code == Errc::kNotFound) {
        translated.code = static_cast<int32_t>(rpc::RpcCode::kInvalidParams);
    }
    return translated;
}

std::optional<SocketAddress> read_address(const v1::ListenAddress& address,
                                          uint16_t default_port,
                                          rpc::Reply<v1::Done>& reply) {
    std::string problem;
    const std::optional<SocketAddress> read =
        parse_transport(words_of(address), default_port, problem);
    if (!read) {
        reply.fail(rpc::RpcError(rpc::RpcCode::kInvalidParams, problem));
    }
    return read;
}

}  // namespace basalt::control
