// The wires themselves: nodes, addresses, partitions, cuts and power. What travels on them is in
// fabric.cc.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include <netinet/in.h>

#include "reactor/base/assert.h"
#include "reactor/sim/fabric.h"
#include "reactor/sim/sim_network.h"

namespace basalt::sim {

namespace {

constexpr uint16_t kFirstEphemeralPort = 32'768;

const sockaddr_in& as_ipv4(const SocketAddress& address) {
    return *reinterpret_cast<const sockaddr_in*>(address.native());
}

const sockaddr_in6& as_ipv6(const SocketAddress& address) {
    return *reinterpret_cast<const sockaddr_in6*>(address.native());
}

}  // namespace

Fabric::~Fabric() {
    for (uint32_t node = 0; node < has_power_.size(); ++node) {
        power_off(NodeId(node), false);
    }
}

NodeId Fabric::add_node() {
    BASALT_ASSERT(has_power_.size() < kNodesMax);
    has_power_.push_back(true);
    next_port_.push_back(kFirstEphemeralPort);
    return NodeId(static_cast<uint32_t>(has_power_.size() - 1));
}

uint16_t Fabric::take_port(NodeId node) {
    uint16_t& next = next_port_[node.raw()];
    const uint16_t port = next++;
    next = std::max(next, kFirstEphemeralPort);  // Starts again after 65535.
    return port;
}

SocketAddress Fabric::address(NodeId node, uint16_t port, bool is_ipv6) {
    sockaddr_storage storage{};
    if (is_ipv6) {
        sockaddr_in6 native{};
        native.sin6_family = AF_INET6;
        native.sin6_port = htons(port);
        native.sin6_addr.s6_addr[0] = 0xFD;
        native.sin6_addr.s6_addr[15] = static_cast<uint8_t>(node.raw() + 1);
        std::memcpy(&storage, &native, sizeof(native));
    } else {
        sockaddr_in native{};
        native.sin_family = AF_INET;
        native.sin_port = htons(port);
        native.sin_addr.s_addr = htonl(0x0A00'0001U + node.raw());
        std::memcpy(&storage, &native, sizeof(native));
    }
    return SocketAddress::from_native(storage).value();
}

std::optional<NodeId> Fabric::resolve(const SocketAddress& address, NodeId from) const {
    if (address.is_loopback()) {
        return from;
    }
    for (uint32_t i = 0; i < has_power_.size(); ++i) {
        if (address == Fabric::address(NodeId(i), address.port(), address.is_ipv6())) {
            return NodeId(i);
        }
    }
    return std::nullopt;
}

bool SimListener::is_wildcard(const SocketAddress& address) {
    if (address.is_ipv6()) {
        return std::memcmp(&as_ipv6(address).sin6_addr, &in6addr_any, sizeof(in6_addr)) == 0;
    }
    return as_ipv4(address).sin_addr.s_addr == htonl(INADDR_ANY);
}

bool SimListener::takes(NodeId node, const SocketAddress& address) const {
    return network_.node() == node && address.port() == address_.port() &&
           address.family() == address_.family() &&
           (is_wildcard(address_) || is_wildcard(address) || address == address_);
}

SimListener* Fabric::listener_at(NodeId node, const SocketAddress& address) {
    for (SimListener* listener : listeners_) {
        if (listener->takes(node, address)) {
            return listener;
        }
    }
    return nullptr;
}

Result<std::unique_ptr<Listener>> Fabric::listen(SimNetwork& network,
                                                 const SocketAddress& address,
                                                 ListenHandler& handler) {
    const NodeId node = network.node();
    if (!SimListener::is_wildcard(address) && resolve(address, node) != node) {
        return Error(Errc::kUnreachable, 0, EADDRNOTAVAIL);
    }
    SocketAddress actual = address;
    if (address.port() == 0) {
        sockaddr_storage native{};
        std::memcpy(&native, address.native(), address.native_size());
        // sin_port and sin6_port lie at the same place.
        reinterpret_cast<sockaddr_in&>(native).sin_port = htons(take_port(node));
        actual = SocketAddress::from_native(native).value();
    }
    if (listener_at(node, actual) != nullptr) {
        return Error::from_errno(EADDRINUSE);
    }
    auto listener = std::make_unique<SimListener>(*this, network, actual, handler);
    listeners_.push_back(listener.get());
    return std::unique_ptr<Listener>(std::move(listener));
}

void Fabric::forget(SimListener& listener) {
    listeners_.erase(std::find(listeners_.begin(), listeners_.end(), &listener));
    for (const uint64_t id : listener.waiting()) {
        discard(AcceptedSocket{static_cast<int64_t>(id)});
    }
}

Fabric::Path& Fabric::path(NodeId from, NodeId to) {
    return paths_[from.raw() * kNodesMax + to.raw()];
}

const Fabric::Path& Fabric::path(NodeId from, NodeId to) const {
    return paths_[from.raw() * kNodesMax + to.raw()];
}

bool Fabric::is_blocked(NodeId from, NodeId to) const {
    return from != to &&
           (path(from, to).is_blocked || !has_power_[from.raw()] || !has_power_[to.raw()]);
}

bool Fabric::is_silent(NodeId a, NodeId b) const {
    return is_blocked(a, b) || is_blocked(b, a);
}

void Fabric::update_silence(NodeId a, NodeId b) {
    Path& pair = path(std::min(a, b), std::max(a, b));
    const bool was_silent = pair.is_silent;
    pair.is_silent = is_silent(a, b);
    if (pair.is_silent && !was_silent) {
        ++pair.silence;
    }
    for (uint64_t id = first_id_; id < connections_.size(); ++id) {
        Connection* connection = find(id);
        if (connection == nullptr) {
            continue;
        }
        const NodeId client = connection->ends[0].node;
        const NodeId server = connection->ends[1].node;
        if (std::min(client, server) != std::min(a, b) ||
            std::max(client, server) != std::max(a, b)) {
            continue;
        }
        if (pair.is_silent && !was_silent) {
            start_user_timeout(*connection, 0);
            start_user_timeout(*connection, 1);
        }
        release_held(*connection);
    }
}

void Fabric::start_user_timeout(const Connection& connection, uint32_t side) {
    const Endpoint& end = connection.ends[side];
    const NodeId peer = connection.ends[1 - side].node;
    const Path& pair = path(std::min(end.node, peer), std::max(end.node, peer));
    if (!end.is_alive() || end.user_timeout_ms == 0 || !is_silent(end.node, peer)) {
        return;
    }
    timeline_.after(end.user_timeout_ms * kNsPerMs,
                    *this,
                    kUserTimeout,
                    connection.id * 2 + side,
                    pair.silence);
}

void Fabric::on_user_timeout(Connection& connection, uint32_t side, uint64_t silence) {
    const Endpoint& end = connection.ends[side];
    const NodeId peer = connection.ends[1 - side].node;
    const Path& pair = path(std::min(end.node, peer), std::max(end.node, peer));
    if (pair.is_silent && pair.silence == silence) {
        fail(connection, side, Error::from_errno(ETIMEDOUT));
    }
}

void Fabric::release_held(Connection& connection) {
    for (uint32_t side = 0; side < 2; ++side) {
        const Endpoint& end = connection.ends[side];
        const Endpoint& peer = connection.ends[1 - side];
        if (is_blocked(end.node, peer.node)) {
            continue;
        }
        Pipe& pipe = connection.pipes[side];
        for (; pipe.held_arrivals > 0; --pipe.held_arrivals) {
            timeline_.after(flight_ns(), *this, kArrival, connection.id, side);
        }
        // What one end has given up the other learns when it is heard again.
        const bool is_orphan = end.state == Endpoint::State::kGone && !end.said_goodbye;
        if ((is_orphan || peer.is_reset_held) && peer.is_alive() &&
            !is_silent(end.node, peer.node)) {
            connection.ends[1 - side].is_reset_held = false;
            reset_soon(connection, 1 - side);
        }
    }
    if (connection.is_syn_held && !is_blocked(connection.ends[0].node, connection.ends[1].node)) {
        connection.is_syn_held = false;
        timeline_.after(flight_ns(), *this, kSyn, connection.id, 0);
    }
    if (connection.is_answer_held &&
        !is_blocked(connection.ends[1].node, connection.ends[0].node)) {
        connection.is_answer_held = false;
        timeline_.after(flight_ns(), *this, kAnswer, connection.id, 0);
    }
}

void Fabric::partition(NodeId from, NodeId to) {
    if (from != to) {
        path(from, to).is_blocked = true;
        update_silence(from, to);
    }
}

void Fabric::heal(NodeId from, NodeId to) {
    if (path(from, to).is_blocked) {
        path(from, to).is_blocked = false;
        update_silence(from, to);
    }
}

void Fabric::heal_all() {
    for (uint32_t from = 0; from < has_power_.size(); ++from) {
        for (uint32_t to = 0; to < has_power_.size(); ++to) {
            heal(NodeId(from), NodeId(to));
        }
    }
}

void Fabric::start_random_partition(NodeId a, NodeId b) {
    if (a == b || is_silent(a, b)) {
        return;
    }
    const uint64_t kind = timeline_.random().below(3);  // One way, the other, both.
    const uint64_t length_ns = timeline_.up_to(timeline_.faults.partition_ns_max);
    if (kind != 1) {
        partition(a, b);
        timeline_.after(length_ns, *this, kHeal, a.raw(), b.raw());
    }
    if (kind != 0) {
        partition(b, a);
        timeline_.after(length_ns, *this, kHeal, b.raw(), a.raw());
    }
}

void Fabric::cut(Connection& connection) {
    if (connection.is_cut) {
        return;
    }
    connection.is_cut = true;
    for (uint32_t side = 0; side < 2; ++side) {
        Pipe& pipe = connection.pipes[side];
        pipe.truncate_flight(timeline_.up_to(pipe.in_flight_bytes()));
        reset_soon(connection, side);
    }
}

void Fabric::cut_connections(NodeId node) {
    for (uint64_t id = first_id_; id < connections_.size(); ++id) {
        Connection* connection = find(id);
        if (connection != nullptr &&
            (connection->ends[0].node == node || connection->ends[1].node == node)) {
            cut(*connection);
        }
    }
}

bool Fabric::cut_connection(size_t index) {
    for (uint64_t id = first_id_; id < connections_.size(); ++id) {
        Connection* connection = find(id);
        if (connection != nullptr && !connection->is_cut && index-- == 0) {
            cut(*connection);
            return true;
        }
    }
    return false;
}

size_t Fabric::connection_count() const {
    size_t count = 0;
    for (uint64_t id = first_id_; id < connections_.size(); ++id) {
        count += connections_[id] != nullptr ? 1U : 0U;
    }
    return count;
}

void Fabric::power_off(NodeId node, bool with_reset) {
    std::vector<SimListener*> others;
    for (SimListener* listener : listeners_) {
        if (listener->network().node() == node) {
            listener->detach();
        } else {
            others.push_back(listener);
        }
    }
    listeners_ = std::move(others);
    for (uint64_t id = first_id_; id < connections_.size(); ++id) {
        Connection* connection = find(id);
        if (connection == nullptr) {
            continue;
        }
        for (uint32_t side = 0; side < 2; ++side) {
            Endpoint& end = connection->ends[side];
            if (end.node == node && end.is_alive()) {
                if (end.socket != nullptr) {
                    end.socket->lose_power();
                }
                disappear(*connection, side);
                if (with_reset && !is_silent(node, connection->ends[1 - side].node)) {
                    end.said_goodbye = true;
                    reset_soon(*connection, 1 - side);
                }
            }
        }
        free_if_over(*connection);
    }
    if (!with_reset) {
        has_power_[node.raw()] = false;
        for (uint32_t other = 0; other < has_power_.size(); ++other) {
            update_silence(node, NodeId(other));
        }
    }
}

void Fabric::power_on(NodeId node) {
    has_power_[node.raw()] = true;
    for (uint32_t other = 0; other < has_power_.size(); ++other) {
        update_silence(node, NodeId(other));
    }
}

}  // namespace basalt::sim
