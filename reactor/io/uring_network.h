#pragma once

#include <cstdint>
#include <memory>

#include "reactor/base/intrusive_list.h"
#include "reactor/io/network.h"
#include "reactor/io/uring_buffers.h"
#include "reactor/io/uring_ring.h"
#include "reactor/io/uring_socket.h"

namespace basalt {

class UringListener;

/// The stream sockets of one core: TCP through io_uring. A ticket is a file descriptor.
/// Owner and core: UringDriver.
class UringNetwork final : public Network {
  public:
    UringNetwork(UringRing& ring, UringBuffers& buffers, const UringFeatures& features)
        : ring_(ring), buffers_(buffers), features_(features) {}
    UringNetwork(const UringNetwork&) = delete;
    UringNetwork& operator=(const UringNetwork&) = delete;
    ~UringNetwork() override;  ///< No socket or listener is left.

    [[nodiscard]] Result<std::unique_ptr<Listener>> listen(const SocketAddress& address,
                                                           ListenHandler& handler) override;
    [[nodiscard]] Result<std::unique_ptr<Socket>> adopt(AcceptedSocket accepted,
                                                        const SocketOptions& options,
                                                        SocketHandler& handler) override;
    void discard(AcceptedSocket accepted) override;
    void give_back(KeptMemory memory) override { buffers_.release(memory.token); }
    [[nodiscard]] Result<std::unique_ptr<Socket>> connect(const SocketAddress& address,
                                                          const SocketOptions& options,
                                                          SocketHandler& handler) override;

    /// Whether run_pending() has something to do.
    [[nodiscard]] bool has_pending() const {
        return !pending_.empty() || !sent_.empty() || (!rearming_.empty() && buffers_.has_lent());
    }
    /// Does what calls of users left to the poll loop. Returns how many sockets it served.
    uint32_t run_pending();

    /// Connects and sends under way.
    [[nodiscard]] uint32_t in_flight() const { return in_flight_; }
    [[nodiscard]] uint32_t socket_count() const { return socket_count_; }

  private:
    friend class UringSocket;
    friend class UringListener;

    /// A listening socket as the kernel's requests know it. It outlives its UringListener until the
    /// last completion, hence it belongs to the network.
    struct AcceptOp : UringOp {
        AcceptOp(UringNetwork& owner, int listen_fd, ListenHandler& to)
            : UringOp(&UringNetwork::on_accept), network(owner), fd(listen_fd), handler(&to) {}
        UringNetwork& network;
        const int fd;
        ListenHandler* handler;  // Null when the listener is gone.
        ListLink link;
    };

    void arm_accept(AcceptOp& accept);
    static void on_accept(UringOp& op, UringCompletion completion);
    void handle_accept_end(AcceptOp& accept, int32_t result);
    static void on_accept_pause_over(UringOp& op, UringCompletion completion);
    void stop_listening(AcceptOp& accept);

    UringRing& ring_;
    UringBuffers& buffers_;
    const UringFeatures features_;
    IntrusiveList<UringSocket, &UringSocket::pending_link_> pending_;
    // Receive again in run_pending(); first those that found no buffer.
    IntrusiveList<UringSocket, &UringSocket::rearming_link_> rearming_;
    // Sent at once; on_sent() is due.
    IntrusiveList<UringSocket, &UringSocket::sent_link_> sent_;
    uint32_t offered_buffer_ = UringBuffers::kNone;  // What on_receive() is being called with.
    IntrusiveList<AcceptOp, &AcceptOp::link> accepts_;
    uint32_t in_flight_ = 0;
    uint32_t socket_count_ = 0;
};

}  // namespace basalt
