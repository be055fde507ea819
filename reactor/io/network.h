#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <sys/uio.h>

#include "reactor/base/result.h"
#include "reactor/io/socket_address.h"

namespace basalt {

/// A connection that no core has: accepted and not adopted yet, or released by a core. A ticket
/// that may travel between cores.
struct AcceptedSocket {
    int64_t ticket = -1;
    /// Received before its last core released it; whoever adopts it is offered that first.
    std::vector<std::byte> unread{};
};

/// What a stream socket tells its user. All calls come from the poll loop of the socket's core,
/// never from inside a call that the user makes.
class SocketHandler {
  public:
    virtual ~SocketHandler() = default;

    /// An outgoing connection is established. Not called for accepted sockets.
    virtual void on_connected() {}

    /// Bytes arrived, in order. `data` lives until this returns. Returns how many bytes were taken;
    /// fewer than data.size() is backpressure: the socket keeps the rest, stops reading from the
    /// network, and offers the rest again after resume_receive().
    [[nodiscard]] virtual size_t on_receive(std::span<const std::byte> data) = 0;

    /// Where the next bytes of the stream belong, if that is known: the rest of a large transfer.
    /// The socket may then have them put there instead of offering them to on_receive(). It asks
    /// after on_receive() or on_received(); from then on it may write to the memory until its next
    /// call of one of these, or on_closed(). Empty: it is not known.
    [[nodiscard]] virtual std::span<std::byte> receive_memory() { return {}; }

    /// The next `size_bytes` bytes of the stream lie at the start of what receive_memory() said.
    virtual void on_received(size_t /*size_bytes*/) {}

    /// The bytes of the last send() are all with the network; its buffers are the user's again.
    virtual void on_sent() = 0;

    /// The last call for this socket, exactly once: the peer closed, the connection failed, or
    /// close() was called (kCancelled). No I/O refers to the user's buffers any more. The socket
    /// may be destroyed inside this call.
    virtual void on_closed(Error reason) = 0;

    /// In place of on_closed(), after a release() that succeeded: the last call for this socket,
    /// which may be destroyed inside it. Somebody must adopt or discard the connection.
    // NOLINTNEXTLINE(performance-unnecessary-value-param): who overrides it keeps it.
    virtual void on_released(AcceptedSocket released) { static_cast<void>(released); }
};

/// The memory of one on_receive() that the user keeps beyond the call: Socket::keep_received(). A
/// value.
struct KeptMemory {
    uint32_t token = 0;
};

/// A connected (or connecting) stream socket on one core. Owner: its user, who may destroy it only
/// in or after on_closed().
class Socket {
  public:
    virtual ~Socket() = default;

    /// Sends the bytes of all `pieces`, in order. At most one send is under way: the next may start
    /// in or after on_sent(). The array and the buffers live until on_sent() or on_closed().
    /// At most kSendPiecesMax pieces; at least one byte.
    virtual void send(std::span<const iovec> pieces) = 0;

    /// As send(), for a peer that waits for just this: does not wait for the end of the turn, so
    /// costs a system call of its own. on_sent() comes from the poll loop all the same.
    virtual void send_at_once(std::span<const iovec> pieces) { send(pieces); }

    /// Inside on_receive(): keeps the memory of its `data` for the user, until he gives it back
    /// with Network::give_back(), once for each success, also when the socket is gone. Nothing if
    /// memory is short or the socket can't: the user copies then.
    [[nodiscard]] virtual std::optional<KeptMemory> keep_received() { return std::nullopt; }

    /// Ends the backpressure that on_receive() asked for by taking less than it was offered.
    virtual void resume_receive() = 0;

    /// Gives the connection up, for another core to adopt: nothing more is received, and
    /// on_released() follows from the poll loop; or on_closed(), if it is closed before. Only while
    /// no send is under way and the user has no receive_memory(). False: this socket can't.
    [[nodiscard]] virtual bool release() { return false; }

    /// Closes; on_closed(kCancelled) follows from the poll loop. Calling it again does nothing.
    virtual void close() = 0;

    [[nodiscard]] virtual SocketAddress local_address() const = 0;
    [[nodiscard]] virtual SocketAddress peer_address() const = 0;
};

inline constexpr size_t kSendPiecesMax = 256;  // iovecs a send; the kernel's own limit is 1024.

/// Hears of new connections, on the listener's core. It must hand each ticket to some core's
/// Network::adopt() or Network::discard().
class ListenHandler {
  public:
    virtual ~ListenHandler() = default;
    virtual void on_accept(AcceptedSocket accepted) = 0;
};

/// A listening socket. Owner: its user; destruction stops it, and no on_accept() comes after that.
class Listener {
  public:
    virtual ~Listener() = default;
    /// The address in use; its port is the real one where port 0 was asked for.
    [[nodiscard]] virtual SocketAddress local_address() const = 0;
};

/// How the kernel is to treat a stream socket. Nagle's algorithm is always off.
struct SocketOptions {
    uint32_t user_timeout_ms =
        30'000;             ///< TCP_USER_TIMEOUT: a silent peer fails after this; 0: never.
    uint32_t priority = 0;  ///< SO_PRIORITY, up to 6, which needs no privilege; 0: the kernel's.
};

/// Stream sockets of one core. Implementations: UringNetwork and sim::SimNetwork.
class Network {
  public:
    virtual ~Network() = default;

    /// Listens on `address`. Errors: kAddressInUse, kPermissionDenied, kUnreachable (no such local
    /// address), kNoMemory.
    [[nodiscard]] virtual Result<std::unique_ptr<Listener>> listen(const SocketAddress& address,
                                                                   ListenHandler& handler) = 0;

    /// Makes an accepted or released connection a socket of this core. `handler` outlives the
    /// socket's on_closed(). Errors: kConnectionClosed if it died meanwhile, kNoMemory; the ticket
    /// is used up in every case.
    [[nodiscard]] virtual Result<std::unique_ptr<Socket>> adopt(AcceptedSocket accepted,
                                                                const SocketOptions& options,
                                                                SocketHandler& handler) = 0;

    /// Takes back what a socket of this core let its user keep.
    virtual void give_back(KeptMemory /*memory*/) {}

    /// Closes an accepted connection that nobody wants.
    virtual void discard(AcceptedSocket accepted) = 0;

    /// Starts to connect; on_connected() or on_closed() follows. Errors at once: kInvalidArgument,
    /// kNoMemory, kUnreachable.
    [[nodiscard]] virtual Result<std::unique_ptr<Socket>> connect(const SocketAddress& address,
                                                                  const SocketOptions& options,
                                                                  SocketHandler& handler) = 0;
};

}  // namespace basalt
