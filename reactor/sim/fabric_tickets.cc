// Connections that no core has: how they are adopted, thrown away, and given from core to core.
#include <cerrno>
#include <utility>

#include "reactor/base/assert.h"
#include "reactor/sim/fabric.h"
#include "reactor/sim/sim_network.h"

namespace basalt::sim {

Result<std::unique_ptr<Socket>> Fabric::adopt(SimNetwork& network,
                                              AcceptedSocket accepted,
                                              const SocketOptions& options,
                                              SocketHandler& handler) {
    Connection* connection = find(static_cast<uint64_t>(accepted.ticket));
    if (connection == nullptr || connection->ends[1].state == Endpoint::State::kGone) {
        return Error::from_errno(ENOTCONN);
    }
    Endpoint& server = connection->ends[1];
    BASALT_ASSERT(server.state == Endpoint::State::kWaiting);
    BASALT_ASSERT(server.node == network.node());
    if (server.failure.code != Errc::kOk) {
        const Error failure = server.failure;
        disappear(*connection, 1);
        free_if_over(*connection);
        return failure;
    }
    server.state = Endpoint::State::kOpen;
    server.is_connected = true;
    server.network = &network;
    server.handler = &handler;
    server.user_timeout_ms = options.user_timeout_ms;
    server.unread = std::move(accepted.unread);
    auto socket = std::make_unique<SimSocket>(
        *this, connection->id, 1, server.address, connection->ends[0].address);
    server.socket = socket.get();
    network.count_socket(1);
    start_user_timeout(*connection, 1);
    mark_ready(*connection, 1);
    return std::unique_ptr<Socket>(std::move(socket));
}

void Fabric::discard(const AcceptedSocket& accepted) {
    Connection* connection = find(static_cast<uint64_t>(accepted.ticket));
    if (connection == nullptr || connection->ends[1].state == Endpoint::State::kGone) {
        return;
    }
    BASALT_ASSERT(connection->ends[1].state == Endpoint::State::kWaiting);
    if (!is_silent(connection->ends[0].node, connection->ends[1].node)) {
        connection->ends[1].said_goodbye = true;
        reset_soon(*connection, 0);
    }
    disappear(*connection, 1);
    free_if_over(*connection);
}

void Fabric::release(uint64_t id, uint32_t side) {
    Connection& connection = *find(id);
    Endpoint& end = connection.ends[side];
    BASALT_ASSERT(side == 1);  // Whoever connects has nobody to hand a connection to.
    BASALT_ASSERT(!end.is_sending && !end.is_closing);
    end.is_releasing = true;
    mark_ready(connection, side);
}

void Fabric::hand_over(Connection& connection, uint32_t side) {
    Endpoint& end = connection.ends[side];
    Pipe& pipe = connection.pipes[1 - side];
    // What the kernel had given out already travels, the rest stays where it is.
    const size_t given = timeline_.up_to(pipe.arrived);
    const std::byte* first = pipe.bytes.data() + pipe.head;
    end.unread.insert(end.unread.end(), first, first + given);
    pipe.consume(given);
    if (given > 0 && !connection.ends[1 - side].pieces.empty()) {
        timeline_.after(flight_ns(), *this, kWindow, connection.id, 1 - side);
    }
    AcceptedSocket released{.ticket = static_cast<int64_t>(connection.id),
                            .unread = std::exchange(end.unread, {})};
    SocketHandler& handler = *end.handler;
    end.socket->detach();
    end.network->count_socket(-1);
    end.state = Endpoint::State::kWaiting;
    end.socket = nullptr;
    end.network = nullptr;
    end.handler = nullptr;
    end.memory = {};
    end.is_ready = false;
    end.is_held_back = false;
    end.is_releasing = false;
    end.is_connected = false;
    handler.on_released(std::move(released));
}

}  // namespace basalt::sim
