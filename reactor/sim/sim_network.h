#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "reactor/io/network.h"
#include "reactor/sim/fabric.h"

namespace basalt::sim {

/// The stream sockets of one simulated reactor; the Fabric has the connections. Owner: SimDriver.
class SimNetwork final : public Network {
  public:
    SimNetwork(Timeline& timeline, Fabric& fabric, NodeId node)
        : timeline_(timeline), fabric_(fabric), node_(node) {}

    [[nodiscard]] Result<std::unique_ptr<Listener>> listen(const SocketAddress& address,
                                                           ListenHandler& handler) override;
    [[nodiscard]] Result<std::unique_ptr<Socket>> adopt(AcceptedSocket accepted,
                                                        const SocketOptions& options,
                                                        SocketHandler& handler) override;
    void discard(AcceptedSocket accepted) override;
    void give_back(KeptMemory memory) override;
    [[nodiscard]] Result<std::unique_ptr<Socket>> connect(const SocketAddress& address,
                                                          const SocketOptions& options,
                                                          SocketHandler& handler) override;

    /// Makes the calls that are due, in a seeded order between sockets. Returns how many.
    uint32_t poll();
    [[nodiscard]] bool has_ready() const { return !ready_.empty(); }
    [[nodiscard]] uint32_t socket_count() const { return socket_count_; }
    [[nodiscard]] NodeId node() const { return node_; }

    /// The power goes. The Fabric has detached the sockets; nothing opens from now on.
    void power_off();

    // For Fabric and SimListener.
    static constexpr uint32_t kListenerSide = 2;  ///< Ready is a listener, not an end.
    void mark_ready(uint64_t id, uint32_t side) { ready_.push_back(Ready{id, side}); }
    /// Memory of its own for what one on_receive() is offered, so that the address sanitizer sees
    /// who uses it too long.
    [[nodiscard]] std::span<const std::byte> begin_offer(std::span<const std::byte> data);
    void end_offer();
    /// The user keeps what he is being offered.
    [[nodiscard]] KeptMemory keep_offer();
    /// Pieces of memory that users keep.
    [[nodiscard]] size_t kept_count() const { return received_.size(); }
    void count_socket(int32_t change) { socket_count_ += static_cast<uint32_t>(change); }
    void add_listener(SimListener& listener) { listeners_.push_back(&listener); }
    void remove_listener(SimListener& listener);

  private:
    struct Received {
        std::vector<std::byte> bytes;
        uint32_t holders = 1;
    };
    struct Ready {
        uint64_t id;
        uint32_t side;
    };
    Timeline& timeline_;
    Fabric& fabric_;
    const NodeId node_;
    std::vector<Ready> ready_;
    std::vector<Ready> serving_;
    std::vector<SimListener*> listeners_;
    std::map<uint32_t, Received> received_;  // The present offer, and what users keep.
    uint32_t last_offer_ = 0;
    uint32_t socket_count_ = 0;
    bool has_power_ = true;
};

/// The user's side of one end of a connection. Asserts what Socket asks of its user.
class SimSocket final : public Socket {
  public:
    SimSocket(Fabric& fabric,
              uint64_t id,
              uint32_t side,
              const SocketAddress& local,
              const SocketAddress& peer)
        : fabric_(&fabric), id_(id), side_(side), local_(local), peer_(peer) {}
    SimSocket(const SimSocket&) = delete;
    SimSocket& operator=(const SimSocket&) = delete;
    ~SimSocket() override;

    void send(std::span<const iovec> pieces) override;
    [[nodiscard]] std::optional<KeptMemory> keep_received() override;
    void resume_receive() override;
    [[nodiscard]] bool release() override;
    void close() override;
    [[nodiscard]] SocketAddress local_address() const override { return local_; }
    [[nodiscard]] SocketAddress peer_address() const override { return peer_; }

    /// on_closed() comes now, or the power has gone.
    void detach() { fabric_ = nullptr; }
    void lose_power() { has_power_ = false; }

  private:
    Fabric* fabric_;  // Null from on_closed() on.
    uint64_t id_;
    uint32_t side_;
    SocketAddress local_;
    SocketAddress peer_;
    bool has_power_ = true;
};

/// A listening socket with the connections that nobody has been told about yet.
class SimListener final : public Listener {
  public:
    SimListener(Fabric& fabric,
                SimNetwork& network,
                const SocketAddress& address,
                ListenHandler& handler);
    SimListener(const SimListener&) = delete;
    SimListener& operator=(const SimListener&) = delete;
    ~SimListener() override;

    [[nodiscard]] SocketAddress local_address() const override { return address_; }

    [[nodiscard]] static bool is_wildcard(const SocketAddress& address);
    /// True if a connection to `address` of `node` is for this listener.
    [[nodiscard]] bool takes(NodeId node, const SocketAddress& address) const;
    void add_waiting(uint64_t id);
    /// Hands out those that wait. Returns how many.
    uint32_t serve();
    [[nodiscard]] const std::deque<uint64_t>& waiting() const { return waiting_; }
    [[nodiscard]] const SimNetwork& network() const { return network_; }
    void detach();

  private:
    Fabric* fabric_;  // Null once the power has gone.
    SimNetwork& network_;
    SocketAddress address_;
    ListenHandler& handler_;
    std::deque<uint64_t> waiting_;
};

}  // namespace basalt::sim
