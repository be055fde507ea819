#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <sys/uio.h>

#include "reactor/base/result.h"
#include "reactor/io/network.h"
#include "reactor/io/socket_address.h"
#include "reactor/sim/timeline.h"

namespace basalt::sim {

class SimListener;
class SimNetwork;
class SimSocket;

/// The way between two nodes and back at its fastest, one way.
inline constexpr uint64_t kNetworkNs = 20 * kNsPerUs;
/// A lost segment is sent again after this, doubled at each further loss (Linux's minimal RTO).
inline constexpr uint64_t kRetransmitNs = 200 * kNsPerMs;
/// Bytes that a sender may have under way unless FaultOptions says otherwise.
inline constexpr uint32_t kSendWindowBytes = 256 * 1024;

/// One direction of a connection: bytes that have arrived, then bytes in flight, then perhaps the
/// end. Order is kept: an arrival always takes the first segment in flight.
struct Pipe {
    struct Segment {
        size_t length_bytes;
        bool is_end;
    };

    std::vector<std::byte> bytes;
    size_t head = 0;     // Of bytes: the first that the receiver has not taken.
    size_t arrived = 0;  // Bytes from head that the receiver may have.
    std::deque<Segment> segments;
    uint64_t last_arrival_ns = 0;
    uint32_t held_arrivals = 0;  // Fell due while the path was blocked.

    [[nodiscard]] size_t unread_bytes() const { return bytes.size() - head; }
    [[nodiscard]] size_t in_flight_bytes() const { return unread_bytes() - arrived; }
    void consume(size_t count_bytes);
    /// Loses all but the first `keep_bytes` of what is in flight, the end too.
    void truncate_flight(size_t keep_bytes);
};

/// One end of a connection.
///   kNone -> kConnecting -> kOpen -> kGone     (side 0, the client)
///   kNone -> kWaiting -> kOpen -> kGone        (side 1, the server)
///               ^----------+                   (released; either side)
struct Endpoint {
    enum class State : uint8_t {
        kNone,        ///< Fabric: the SYN reaches a listener.
        kConnecting,  ///< Fabric: the answer to the SYN, or a failure.
        kWaiting,     ///< User: adopt() or discard().
        kOpen,        ///< User: close(); Fabric: a failure or the peer's end.
        kGone,
    };

    State state = State::kNone;
    NodeId node;
    SocketAddress address;
    SimNetwork* network = nullptr;
    SimSocket* socket = nullptr;
    SocketHandler* handler = nullptr;
    uint32_t user_timeout_ms = 0;
    std::span<const iovec> pieces;  // What is left of the send under way ...
    size_t piece_offset = 0;        // ... less these bytes of its first piece.
    Error failure;                  // Once set, on_closed() comes with it.
    bool is_ready = false;          // In its network's ready list.
    bool is_connected = false;      // on_connected() was called, or adopted.
    bool tell_connected = false;
    bool is_sending = false;
    bool tell_sent = false;
    std::span<std::byte> memory;    // Where its user wants the next bytes; empty: to be offered.
    bool is_held_back = false;      // By its user: takes no more until resume_receive().
    bool is_releasing = false;      // The user called release().
    std::vector<std::byte> unread;  // Comes before what is in the pipe.
    bool is_closing = false;        // The user called close().
    bool has_peer_ended = false;
    bool said_goodbye = false;   // Its end or reset is on the way to the peer.
    bool is_reset_held = false;  // A reset for it fell due in silence.

    [[nodiscard]] bool is_alive() const { return state != State::kNone && state != State::kGone; }
};

/// Two sockets and the two pipes between them, from the connect until both have gone.
struct Connection {
    uint64_t id = 0;
    std::array<Endpoint, 2> ends;  // 0 connects, 1 accepts.
    std::array<Pipe, 2> pipes;     // By sender.
    bool is_cut = false;           // Nothing more enters the pipes.
    bool is_refused = false;
    bool is_syn_held = false;
    bool is_answer_held = false;
};

/// All wires of a world: its nodes' addresses, the connections between them, and what happens to
/// the bytes on the way. The faults are FaultOptions'; partitions and cuts can also be asked for.
/// Connections to a node without power go silent. Owner: World.
class Fabric final : public TimelineTarget {
  public:
    explicit Fabric(Timeline& timeline)
        : timeline_(timeline), paths_(size_t{kNodesMax} * kNodesMax) {}
    Fabric(const Fabric&) = delete;
    Fabric& operator=(const Fabric&) = delete;
    ~Fabric() override;

    NodeId add_node();
    /// 10.0.0.N+1, or fd00::N+1.
    [[nodiscard]] static SocketAddress address(NodeId node, uint16_t port, bool is_ipv6);

    void partition(NodeId from, NodeId to);  ///< One way; nothing that `from` sends arrives.
    void heal(NodeId from, NodeId to);       ///< Undoes partition().
    void heal_all();
    [[nodiscard]] bool is_blocked(NodeId from, NodeId to) const;
    void cut_connections(NodeId node);  ///< Resets all that have an end there.
    /// Resets the `index`-th living connection of the world in order of age, if there are so many.
    bool cut_connection(size_t index);
    [[nodiscard]] size_t connection_count() const;

    /// Drops every socket and listener of `node` without a word to its users. With `with_reset`
    /// the kernel lives on and resets the peers; without, the node falls silent until power_on().
    void power_off(NodeId node, bool with_reset);
    void power_on(NodeId node);

    // For SimNetwork, SimSocket and SimListener.
    [[nodiscard]] Result<std::unique_ptr<Listener>> listen(SimNetwork& network,
                                                           const SocketAddress& address,
                                                           ListenHandler& handler);
    void forget(SimListener& listener);
    [[nodiscard]] Result<std::unique_ptr<Socket>> connect(SimNetwork& network,
                                                          const SocketAddress& address,
                                                          const SocketOptions& options,
                                                          SocketHandler& handler);
    [[nodiscard]] Result<std::unique_ptr<Socket>> adopt(SimNetwork& network,
                                                        AcceptedSocket accepted,
                                                        const SocketOptions& options,
                                                        SocketHandler& handler);
    void discard(const AcceptedSocket& accepted);
    void send(uint64_t id, uint32_t side, std::span<const iovec> pieces);
    void resume_receive(uint64_t id, uint32_t side);
    [[nodiscard]] KeptMemory keep_received(uint64_t id, uint32_t side);
    void release(uint64_t id, uint32_t side);
    void close(uint64_t id, uint32_t side);
    /// Makes the calls that one end is due, from its poll loop, which is that of `network` unless
    /// it has gone to another core. Returns how many.
    uint32_t serve(uint64_t id, uint32_t side, const SimNetwork& network);

    void occur(uint32_t what, uint64_t a, uint64_t b) override;

  private:
    struct Path {
        bool is_blocked = false;
        uint32_t silence = 0;  // Counts the silences of the pair; kept at [lower][higher].
        bool is_silent = false;
    };
    enum What : uint32_t { kSyn, kAnswer, kArrival, kSent, kWindow, kReset, kUserTimeout, kHeal };

    [[nodiscard]] Connection* find(uint64_t id);
    [[nodiscard]] std::optional<NodeId> resolve(const SocketAddress& address, NodeId from) const;
    [[nodiscard]] uint16_t take_port(NodeId node);
    [[nodiscard]] SimListener* listener_at(NodeId node, const SocketAddress& address);
    [[nodiscard]] Path& path(NodeId from, NodeId to);
    [[nodiscard]] const Path& path(NodeId from, NodeId to) const;
    [[nodiscard]] bool is_silent(NodeId a, NodeId b) const;
    [[nodiscard]] uint64_t flight_ns();
    void update_silence(NodeId a, NodeId b);
    void start_user_timeout(const Connection& connection, uint32_t side);
    void release_held(Connection& connection);
    void on_syn(Connection& connection);
    void on_answer(Connection& connection);
    void on_arrival(Connection& connection, uint32_t sender);
    void on_user_timeout(Connection& connection, uint32_t side, uint64_t silence);
    void mark_ready(Connection& connection, uint32_t side);
    void pump(Connection& connection, uint32_t side);
    void send_segments(Connection& connection, uint32_t side, size_t length_bytes);
    void send_segment(Connection& connection, uint32_t side, size_t length_bytes, bool is_end);
    uint32_t offer(Connection& connection, uint32_t side);
    void hand_over(Connection& connection, uint32_t side);
    [[nodiscard]] static size_t deliver(Endpoint& end, std::span<const std::byte> data);
    /// There is something to offer.
    [[nodiscard]] static bool has_bytes(const Connection& connection, uint32_t side) {
        return !connection.ends[side].unread.empty() || connection.pipes[1 - side].arrived > 0;
    }
    void fail(Connection& connection, uint32_t side, Error reason);
    void reset_soon(Connection& connection, uint32_t side);
    void cut(Connection& connection);
    void disappear(Connection& connection, uint32_t side);
    void free_if_over(const Connection& connection);
    void start_random_partition(NodeId a, NodeId b);

    Timeline& timeline_;
    std::vector<Path> paths_;
    std::vector<bool> has_power_;      // By node.
    std::vector<uint16_t> next_port_;  // By node.
    std::vector<SimListener*> listeners_;
    std::vector<std::unique_ptr<Connection>> connections_;  // By id; null once over.
    uint64_t first_id_ = 0;                                 // No living one below.
};

}  // namespace basalt::sim
