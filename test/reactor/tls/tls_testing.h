#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "reactor/sim/world.h"
#include "reactor/tls/tls_socket.h"
#include "test/reactor/tls/relay.h"

namespace basalt::tls::test {

inline constexpr uint16_t kPort = 4420;
inline constexpr const char* kIdentity =
    "NVMe0R01 nqn.2026-01.io.test:host nqn.2026-01.io.test:vol";

inline Psk make_psk(uint8_t first, CipherSuite suite = CipherSuite::kAes128GcmSha256) {
    std::vector<std::byte> key(suite == CipherSuite::kAes128GcmSha256 ? 32 : 48);
    for (size_t i = 0; i < key.size(); ++i) {
        key[i] = static_cast<std::byte>(first + i);
    }
    return {suite, key};
}

/// The byte at `position` of every stream here.
inline std::byte stream_byte(uint64_t position) {
    return static_cast<std::byte>((position * 2654435761U) >> 13U);
}

/// A server's keys.
class Keys final : public PskSource {
  public:
    const Psk* find(std::string_view identity) override {
        ++asked;
        const auto found = keys.find(identity);
        return found == keys.end() ? nullptr : &found->second;
    }

    std::map<std::string, Psk, std::less<>> keys;
    uint32_t asked = 0;
};

/// One end of a connection, TLS or not: sends a stream when told, checks the one it receives, takes
/// no more than it is allowed.
class End final : public SocketHandler {
  public:
    void on_connected() override { is_connected = true; }
    size_t on_receive(std::span<const std::byte> data) override {
        BASALT_ASSERT(!closed);
        const size_t taken = std::min<uint64_t>(data.size(), allowance);
        for (size_t i = 0; i < taken; ++i) {
            is_wrong = is_wrong || data[i] != stream_byte(received + i);
        }
        if (keeps_bytes) {
            bytes.insert(bytes.end(), data.begin(), data.end());
        }
        received += taken;
        allowance -= taken;
        if (const auto held = network == nullptr ? std::nullopt : socket->keep_received()) {
            ++kept;
            network->give_back(*held);
        }
        return taken;
    }
    std::span<std::byte> receive_memory() override { return std::span(memory).subspan(placed); }
    void on_received(size_t size_bytes) override {
        for (size_t i = 0; i < size_bytes; ++i) {
            is_wrong = is_wrong || memory[placed + i] != stream_byte(received + i);
        }
        placed += size_bytes;
        received += size_bytes;
    }
    void on_sent() override {
        BASALT_ASSERT(is_sending && !closed);
        is_sending = false;
    }
    void on_closed(Error reason) override {
        BASALT_ASSERT(!closed);
        closed = reason.code;
        socket.reset();
    }

    /// Sends `count` bytes of the stream, in pieces of many sizes.
    void send(size_t count) {
        outgoing_.resize(count);
        for (size_t i = 0; i < count; ++i) {
            outgoing_[i] = stream_byte(sent + i);
        }
        sent += count;
        send_pieces();
    }
    void send_bytes(std::span<const std::byte> what) {
        outgoing_.assign(what.begin(), what.end());
        send_pieces();
    }
    void take(uint64_t count) {
        allowance = count;
        socket->resume_receive();
    }

    std::unique_ptr<Socket> socket;
    bool is_connected = false;
    bool is_sending = false;
    bool is_wrong = false;
    bool keeps_bytes = false;
    uint64_t allowance = UINT64_MAX;
    uint64_t received = 0;
    uint64_t sent = 0;
    std::optional<Errc> closed;
    std::vector<std::byte> bytes;
    std::vector<std::byte> memory;  ///< Where bytes may be put.
    size_t placed = 0;              ///< How many were.
    Network* network = nullptr;     ///< If set, memory is kept and given back.
    uint32_t kept = 0;

  private:
    void send_pieces() {
        pieces_.clear();
        size_t length = 1;
        for (size_t at = 0; at < outgoing_.size(); at += length) {
            length = std::min(length * 3, outgoing_.size() - at);
            pieces_.push_back(iovec{outgoing_.data() + at, length});
        }
        is_sending = true;
        socket->send(pieces_);
    }

    std::vector<std::byte> outgoing_;
    std::vector<iovec> pieces_;
};

/// A server that adopts every connection.
class Server final : public ListenHandler {
  public:
    Server(Reactor& reactor, const SocketAddress& address)
        : context(Context::make(reactor, Role::kServer).value()) {
        listener = reactor.network().listen(address, *this).value();
        keys.keys.emplace(kIdentity, make_psk(1));
    }
    void on_accept(AcceptedSocket accepted) override {
        auto end = std::make_unique<End>();
        end->allowance = allowance;
        auto socket = TlsSocket::adopt(*context, accepted, SocketOptions(), options, keys, *end);
        if (socket) {
            tls = socket->get();
            end->socket = std::move(*socket);
            ends.push_back(std::move(end));
        }
    }
    [[nodiscard]] End& end() { return *ends.back(); }

    Keys keys;
    ServerOptions options;
    std::unique_ptr<Context> context;
    std::unique_ptr<Listener> listener;
    std::vector<std::unique_ptr<End>> ends;
    TlsSocket* tls = nullptr;  ///< The newest.
    uint64_t allowance = UINT64_MAX;
};

/// Two nodes, a server on one, clients on the other, and perhaps a relay between.
struct TestWorld {
    explicit TestWorld(uint64_t seed = 1, const sim::FaultOptions& faults = sim::calm())
        : world(seed, faults),
          server_node(world.add_node()),
          client_node(world.add_node()),
          server_reactor(world.add_reactor(server_node)),
          client_reactor(world.add_reactor(client_node)),
          server(server_reactor, sim::World::address(server_node, kPort)),
          context(Context::make(client_reactor, Role::kClient).value()) {}
    ~TestWorld() { world.power_off(); }

    Relay& add_relay() {
        relay = std::make_unique<Relay>(client_reactor,
                                        sim::World::address(client_node, kPort),
                                        sim::World::address(server_node, kPort));
        return *relay;
    }
    [[nodiscard]] SocketAddress target() const {
        return sim::World::address(relay ? client_node : server_node, kPort);
    }
    End& connect(const Psk& psk = make_psk(1), const char* identity = kIdentity) {
        ClientOptions options;
        options.identity = identity;
        options.psk = psk;
        End& end = *clients.emplace_back(std::make_unique<End>());
        end.socket = TlsSocket::connect(*context, target(), SocketOptions(), options, end).value();
        return end;
    }
    /// Without TLS.
    End& connect_clear() {
        End& end = *clients.emplace_back(std::make_unique<End>());
        end.socket = client_reactor.network().connect(target(), SocketOptions(), end).value();
        EXPECT_TRUE(run([&] { return end.is_connected || end.closed; }));
        return end;
    }
    template <typename IsDone>
    bool run(IsDone is_done, uint64_t limit_ns = 60 * kNsPerSecond) {
        return world.run_until(is_done, limit_ns);
    }
    [[nodiscard]] bool is_over() const {
        const auto is_closed = [](const auto& end) { return end->closed.has_value(); };
        return std::all_of(clients.begin(), clients.end(), is_closed) &&
               std::all_of(server.ends.begin(), server.ends.end(), is_closed);
    }

    sim::World world;
    sim::NodeId server_node;
    sim::NodeId client_node;
    Reactor& server_reactor;
    Reactor& client_reactor;
    std::unique_ptr<Relay> relay;
    Server server;
    std::unique_ptr<Context> context;
    std::vector<std::unique_ptr<End>> clients;
};

}  // namespace basalt::tls::test
