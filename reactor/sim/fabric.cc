// What travels on the wires: connecting, segments, ends, resets, and the calls to the users. The
// wires themselves are in fabric_paths.cc.
#include "reactor/sim/fabric.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "reactor/base/assert.h"
#include "reactor/sim/sim_network.h"

namespace basalt::sim {

namespace {
constexpr size_t kSegmentsPerPump = 256;  // Splits of one window; the rest goes in one piece.
constexpr size_t kCompactBytes = size_t{64} * 1024;
constexpr uint32_t kLossesMax = 8;  // Of one segment in a row: 51 s, then it gets through.
}  // namespace

void Pipe::consume(size_t count_bytes) {
    BASALT_ASSERT(count_bytes <= arrived);
    head += count_bytes;
    arrived -= count_bytes;
    if (head == bytes.size()) {
        bytes.clear();
        head = 0;
    } else if (head >= kCompactBytes) {
        bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(head));
        head = 0;
    }
}

void Pipe::truncate_flight(size_t keep_bytes) {
    bytes.resize(head + arrived + keep_bytes);
    std::deque<Segment> kept;
    for (const Segment& segment : segments) {
        const size_t length_bytes = std::min(segment.length_bytes, keep_bytes);
        keep_bytes -= length_bytes;
        kept.push_back(Segment{length_bytes, false});
    }
    segments = std::move(kept);
}

Connection* Fabric::find(uint64_t id) {
    return id < connections_.size() ? connections_[id].get() : nullptr;
}

uint64_t Fabric::flight_ns() {
    return kNetworkNs + timeline_.up_to(timeline_.faults.network_jitter_ns);
}

void Fabric::mark_ready(Connection& connection, uint32_t side) {
    Endpoint& end = connection.ends[side];
    if (!end.is_ready && end.network != nullptr) {
        end.is_ready = true;
        end.network->mark_ready(connection.id, side);
    }
}

Result<std::unique_ptr<Socket>> Fabric::connect(SimNetwork& network,
                                                const SocketAddress& address,
                                                const SocketOptions& options,
                                                SocketHandler& handler) {
    const std::optional<NodeId> node = resolve(address, network.node());
    if (!node.has_value()) {
        return Error::from_errno(ENETUNREACH);
    }
    auto connection = std::make_unique<Connection>();
    connection->id = connections_.size();
    Endpoint& client = connection->ends[0];
    client.state = Endpoint::State::kConnecting;
    client.node = network.node();
    const uint16_t port = take_port(client.node);
    client.address = Fabric::address(client.node, port, address.is_ipv6());
    client.network = &network;
    client.handler = &handler;
    client.user_timeout_ms = options.user_timeout_ms;
    connection->ends[1].node = *node;
    connection->ends[1].address = address;
    connection->is_refused = timeline_.roll(timeline_.faults.connect_refused_ppm);
    auto socket = std::make_unique<SimSocket>(*this, connection->id, 0, client.address, address);
    client.socket = socket.get();
    network.count_socket(1);
    timeline_.after(flight_ns(), *this, kSyn, connection->id, 0);
    start_user_timeout(*connection, 0);
    connections_.push_back(std::move(connection));
    return std::unique_ptr<Socket>(std::move(socket));
}

void Fabric::on_syn(Connection& connection) {
    Endpoint& client = connection.ends[0];
    Endpoint& server = connection.ends[1];
    if (!client.is_alive() || client.is_closing) {
        return;
    }
    if (is_blocked(client.node, server.node)) {
        connection.is_syn_held = true;
        return;
    }
    SimListener* listener = listener_at(server.node, server.address);
    if (listener == nullptr || connection.is_refused) {
        connection.is_refused = true;
    } else {
        server.state = Endpoint::State::kWaiting;
        listener->add_waiting(connection.id);
    }
    timeline_.after(flight_ns(), *this, kAnswer, connection.id, 0);
}

void Fabric::on_answer(Connection& connection) {
    Endpoint& client = connection.ends[0];
    if (client.state != Endpoint::State::kConnecting || client.failure.code != Errc::kOk) {
        return;
    }
    if (is_blocked(connection.ends[1].node, client.node)) {
        connection.is_answer_held = true;
        return;
    }
    if (connection.is_refused) {
        fail(connection, 0, Error::from_errno(ECONNREFUSED));
        return;
    }
    client.state = Endpoint::State::kOpen;
    client.tell_connected = true;
    mark_ready(connection, 0);
}

void Fabric::send(uint64_t id, uint32_t side, std::span<const iovec> pieces) {
    Connection& connection = *find(id);
    Endpoint& end = connection.ends[side];
    BASALT_ASSERT(end.is_connected);
    BASALT_ASSERT(!end.is_sending);
    BASALT_ASSERT(!pieces.empty() && pieces.size() <= kSendPiecesMax);
    size_t length_bytes = 0;
    for (const iovec& piece : pieces) {
        length_bytes += piece.iov_len;
    }
    BASALT_ASSERT(length_bytes > 0);
    end.is_sending = true;
    end.pieces = pieces;
    end.piece_offset = 0;
    mark_ready(connection, side);
}

void Fabric::pump(Connection& connection, uint32_t side) {
    Endpoint& end = connection.ends[side];
    if (end.pieces.empty() || connection.is_cut || end.failure.code != Errc::kOk) {
        return;
    }
    Pipe& pipe = connection.pipes[side];
    const uint32_t limit = timeline_.faults.send_window_bytes;
    const size_t window = limit == 0 ? kSendWindowBytes : limit;
    size_t room = window - std::min(window, pipe.unread_bytes());
    size_t taken = 0;
    while (!end.pieces.empty()) {
        const iovec& piece = end.pieces[0];
        const size_t count = std::min(room - taken, piece.iov_len - end.piece_offset);
        const std::byte* from = static_cast<const std::byte*>(piece.iov_base) + end.piece_offset;
        pipe.bytes.insert(pipe.bytes.end(), from, from + count);
        taken += count;
        end.piece_offset += count;
        if (end.piece_offset < piece.iov_len) {
            break;
        }
        end.pieces = end.pieces.subspan(1);
        end.piece_offset = 0;
    }
    send_segments(connection, side, taken);
    if (end.pieces.empty()) {
        const uint64_t jitter_ns = timeline_.up_to(timeline_.faults.network_jitter_ns);
        timeline_.after(jitter_ns, *this, kSent, connection.id, side);
    }
}

void Fabric::send_segments(Connection& connection, uint32_t side, size_t length_bytes) {
    Endpoint& end = connection.ends[side];
    const NodeId peer = connection.ends[1 - side].node;
    for (size_t count = 0; length_bytes > 0 && !connection.is_cut; ++count) {
        size_t segment_bytes = length_bytes;
        if (count < kSegmentsPerPump && timeline_.roll(timeline_.faults.segment_split_ppm)) {
            // Every order of magnitude is as likely, so single bytes come up often.
            const uint64_t magnitude = timeline_.up_to(std::bit_width(length_bytes));
            const uint64_t most = std::min<uint64_t>(uint64_t{1} << magnitude, length_bytes);
            segment_bytes = 1 + timeline_.random().below(most);
            segment_bytes = std::min(segment_bytes, length_bytes);
        }
        send_segment(connection, side, segment_bytes, false);
        length_bytes -= segment_bytes;
        if (timeline_.roll(timeline_.faults.partition_ppm)) {
            start_random_partition(end.node, peer);
        }
        if (timeline_.roll(timeline_.faults.connection_cut_ppm)) {
            cut(connection);
        }
    }
}

void Fabric::send_segment(Connection& connection, uint32_t side, size_t length_bytes, bool is_end) {
    Pipe& pipe = connection.pipes[side];
    uint64_t delay_ns = flight_ns();
    uint64_t wait_ns = kRetransmitNs;
    for (uint32_t losses = 0; losses < kLossesMax; ++losses, wait_ns *= 2) {
        if (!timeline_.roll(timeline_.faults.segment_loss_ppm)) {
            break;
        }
        delay_ns += wait_ns;
    }
    const uint64_t now_ns = timeline_.now_ns();
    pipe.last_arrival_ns = std::max(pipe.last_arrival_ns, now_ns + delay_ns);
    pipe.segments.push_back(Pipe::Segment{length_bytes, is_end});
    timeline_.after(pipe.last_arrival_ns - now_ns, *this, kArrival, connection.id, side);
}

void Fabric::on_arrival(Connection& connection, uint32_t sender) {
    Pipe& pipe = connection.pipes[sender];
    if (is_blocked(connection.ends[sender].node, connection.ends[1 - sender].node)) {
        ++pipe.held_arrivals;
        return;
    }
    if (pipe.segments.empty()) {
        return;
    }
    const Pipe::Segment segment = pipe.segments.front();
    pipe.segments.pop_front();
    pipe.arrived += segment.length_bytes;
    Endpoint& receiver = connection.ends[1 - sender];
    if (!receiver.is_alive()) {
        pipe.consume(pipe.arrived);
        return;
    }
    receiver.has_peer_ended = receiver.has_peer_ended || segment.is_end;
    mark_ready(connection, 1 - sender);
}

void Fabric::resume_receive(uint64_t id, uint32_t side) {
    Connection& connection = *find(id);
    connection.ends[side].is_held_back = false;
    mark_ready(connection, side);
}

void Fabric::close(uint64_t id, uint32_t side) {
    Connection& connection = *find(id);
    Endpoint& end = connection.ends[side];
    if (end.is_closing) {
        return;
    }
    end.is_closing = true;
    const Endpoint& peer = connection.ends[1 - side];
    if (peer.is_alive() && end.failure.code == Errc::kOk && !connection.is_cut) {
        // A kernel that still holds unread data resets instead (RFC 2525, section 2.17).
        if (connection.pipes[1 - side].arrived == 0) {
            end.said_goodbye = true;
            send_segment(connection, side, 0, true);
        } else if (!is_silent(end.node, peer.node)) {
            end.said_goodbye = true;
            reset_soon(connection, 1 - side);
        }
    }
    end.failure = Error(Errc::kCancelled);
    mark_ready(connection, side);
}

void Fabric::reset_soon(Connection& connection, uint32_t side) {
    timeline_.after(flight_ns(), *this, kReset, connection.id, side);
}

void Fabric::fail(Connection& connection, uint32_t side, Error reason) {
    Endpoint& end = connection.ends[side];
    if (!end.is_alive() || end.failure.code != Errc::kOk) {
        return;
    }
    end.failure = reason;
    // A reset throws away what was in flight, and some of what was not read yet.
    Pipe& pipe = connection.pipes[1 - side];
    pipe.truncate_flight(0);
    const size_t kept = timeline_.up_to(pipe.arrived);
    pipe.bytes.resize(pipe.head + kept);
    pipe.arrived = kept;
    mark_ready(connection, side);
}

/// As a real socket may, it writes where it was told to after the last call, not where its user
/// would like to have the bytes by now.
size_t Fabric::deliver(Endpoint& end, std::span<const std::byte> data) {
    SocketHandler& handler = *end.handler;
    size_t taken = data.size();
    if (end.memory.empty()) {
        SimNetwork& network = *end.network;
        taken = handler.on_receive(network.begin_offer(data));
        network.end_offer();
    } else {
        std::memcpy(end.memory.data(), data.data(), data.size());
        handler.on_received(data.size());
    }
    end.memory = end.is_closing ? std::span<std::byte>() : handler.receive_memory();
    return taken;
}

KeptMemory Fabric::keep_received(uint64_t id, uint32_t side) {
    return find(id)->ends[side].network->keep_offer();
}

uint32_t Fabric::offer(Connection& connection, uint32_t side) {
    Endpoint& end = connection.ends[side];
    Pipe& pipe = connection.pipes[1 - side];
    const bool is_brought = !end.unread.empty();
    if (!has_bytes(connection, side) || end.is_held_back || end.is_closing || !end.is_connected) {
        return 0;
    }
    size_t count = is_brought ? end.unread.size() : pipe.arrived;
    if (timeline_.roll(timeline_.faults.segment_split_ppm)) {
        count = 1 + timeline_.random().below(count);
    }
    if (!end.memory.empty()) {
        count = std::min(count, end.memory.size());
    }
    const std::byte* first = is_brought ? end.unread.data() : &pipe.bytes[pipe.head];
    const std::span<const std::byte> data(first, count);
    timeline_.trace(connection.id * 2 + side);
    timeline_.trace(data);
    const size_t taken = deliver(end, data);
    BASALT_ASSERT(taken <= count);
    end.is_held_back = end.is_held_back || taken < count;
    if (is_brought) {
        end.unread.erase(end.unread.begin(),
                         end.unread.begin() + static_cast<std::ptrdiff_t>(taken));
        return 1;
    }
    pipe.consume(taken);
    if (taken > 0 && !connection.ends[1 - side].pieces.empty()) {
        timeline_.after(flight_ns(), *this, kWindow, connection.id, 1 - side);
    }
    return 1;
}

uint32_t Fabric::serve(uint64_t id, uint32_t side, const SimNetwork& network) {
    Connection* connection = find(id);
    if (connection == nullptr || !connection->ends[side].is_alive() ||
        connection->ends[side].network != &network) {
        return 0;
    }
    Endpoint& end = connection->ends[side];
    end.is_ready = false;
    uint32_t calls = 0;
    if (end.tell_connected && !end.is_closing) {
        end.tell_connected = false;
        end.is_connected = true;
        end.handler->on_connected();
        ++calls;
    }
    pump(*connection, side);
    if (end.tell_sent && !end.is_closing) {
        end.tell_sent = false;
        end.is_sending = false;
        end.handler->on_sent();
        ++calls;
    }
    if (end.is_releasing && !end.is_closing) {
        hand_over(*connection, side);
        return calls + 1;
    }
    calls += offer(*connection, side);
    const bool has_more = has_bytes(*connection, side);
    if (has_more && !end.is_held_back && !end.is_closing && end.is_connected) {
        mark_ready(*connection, side);
        return calls;
    }
    Error reason = end.failure;
    if (reason.code == Errc::kOk) {
        if (!end.has_peer_ended || has_more) {
            return calls;
        }
        reason = Error(Errc::kConnectionClosed);
    }
    timeline_.trace(connection->id * 2 + side);
    timeline_.trace(static_cast<uint64_t>(reason.code));
    SocketHandler& handler = *end.handler;
    if (end.has_peer_ended) {
        end.said_goodbye = true;  // The peer left first and needs no word.
    }
    disappear(*connection, side);
    free_if_over(*connection);
    handler.on_closed(reason);
    return calls + 1;
}

void Fabric::disappear(Connection& connection, uint32_t side) {
    Endpoint& end = connection.ends[side];
    if (end.socket != nullptr) {
        end.socket->detach();
        end.network->count_socket(-1);
    }
    end.state = Endpoint::State::kGone;
    end.socket = nullptr;
    end.network = nullptr;
    end.handler = nullptr;
    end.pieces = {};
    Pipe& incoming = connection.pipes[1 - side];
    incoming.consume(incoming.arrived);
}

void Fabric::free_if_over(const Connection& connection) {
    if (connection.ends[0].is_alive() || connection.ends[1].is_alive()) {
        return;
    }
    connections_[connection.id].reset();
    while (first_id_ < connections_.size() && connections_[first_id_] == nullptr) {
        ++first_id_;
    }
}

void Fabric::occur(uint32_t what, uint64_t a, uint64_t b) {
    if (what == kHeal) {
        heal(NodeId(static_cast<uint32_t>(a)), NodeId(static_cast<uint32_t>(b)));
        return;
    }
    Connection* connection = find(what == kUserTimeout ? a / 2 : a);
    if (connection == nullptr) {
        return;
    }
    const auto side = static_cast<uint32_t>(b);
    switch (static_cast<What>(what)) {
        case kSyn: on_syn(*connection); break;
        case kAnswer: on_answer(*connection); break;
        case kArrival: on_arrival(*connection, side); break;
        case kSent:
            connection->ends[side].tell_sent = connection->ends[side].is_alive();
            mark_ready(*connection, side);
            break;
        case kWindow: mark_ready(*connection, side); break;
        case kReset:
            if (is_silent(connection->ends[0].node, connection->ends[1].node)) {
                connection->ends[side].is_reset_held = true;
            } else {
                fail(*connection, side, Error::from_errno(ECONNRESET));
            }
            break;
        case kUserTimeout: on_user_timeout(*connection, static_cast<uint32_t>(a % 2), b); break;
        case kHeal: break;
    }
}

}  // namespace basalt::sim
