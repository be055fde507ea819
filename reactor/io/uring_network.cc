#include "reactor/io/uring_network.h"

#include <cerrno>
#include <utility>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "reactor/base/assert.h"

namespace basalt {

namespace {

constexpr int kListenBacklog = 1024;

// How long accepting rests when the process is out of descriptors or memory.
constexpr __kernel_timespec kAcceptPause{.tv_sec = 0, .tv_nsec = 100'000'000};

/// A descriptor that is closed unless somebody takes it.
class UniqueFd {
  public:
    explicit UniqueFd(int fd) : fd_(fd) {}
    UniqueFd(const UniqueFd&) = delete;
    UniqueFd& operator=(const UniqueFd&) = delete;
    ~UniqueFd() {
        if (fd_ >= 0) {
            close(fd_);
        }
    }
    [[nodiscard]] int get() const { return fd_; }
    [[nodiscard]] int release() {
        const int fd = fd_;
        fd_ = -1;
        return fd;
    }

  private:
    int fd_;
};

Status set_option(int fd, int level, int name, int value) {
    if (setsockopt(fd, level, name, &value, sizeof(value)) != 0) {
        return Error::from_errno(errno);
    }
    return kOk;
}

Status set_stream_options(int fd, const SocketOptions& options) {
    BASALT_CHECK(set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1));
    if (options.priority != 0) {
        BASALT_CHECK(set_option(fd, SOL_SOCKET, SO_PRIORITY, static_cast<int>(options.priority)));
    }
    return set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(options.user_timeout_ms));
}

Result<SocketAddress> address_of(int fd, bool of_peer) {
    sockaddr_storage native{};
    socklen_t size = sizeof(native);
    auto* generic = reinterpret_cast<sockaddr*>(&native);
    if ((of_peer ? getpeername(fd, generic, &size) : getsockname(fd, generic, &size)) != 0) {
        return Error::from_errno(errno);
    }
    return SocketAddress::from_native(native);
}

Error listen_error(int error_number) {
    // bind(2): an address that is not ours, or an interface that is not there.
    if (error_number == EADDRNOTAVAIL || error_number == ENODEV || error_number == EAFNOSUPPORT) {
        return Error(Errc::kUnreachable, 0, error_number);
    }
    return error_number == EMFILE || error_number == ENFILE || error_number == ENOBUFS
               ? Error(Errc::kNoMemory, 0, error_number)
               : Error::from_errno(error_number);
}

}  // namespace

/// The user's end of a listening socket. Owner: the user. Core: the network's.
class UringListener final : public Listener {
  public:
    UringListener(UringNetwork::AcceptOp& accept, const SocketAddress& local)
        : accept_(accept), local_(local) {}
    UringListener(const UringListener&) = delete;
    UringListener& operator=(const UringListener&) = delete;
    ~UringListener() override { accept_.network.stop_listening(accept_); }

    [[nodiscard]] SocketAddress local_address() const override { return local_; }

  private:
    UringNetwork::AcceptOp& accept_;
    SocketAddress local_;
};

UringNetwork::~UringNetwork() {
    BASALT_ASSERT(socket_count_ == 0);
    while (AcceptOp* accept = accepts_.pop_front()) {
        BASALT_ASSERT(accept->handler == nullptr);
        delete accept;
    }
}

// ---- listening

Result<std::unique_ptr<Listener>> UringNetwork::listen(const SocketAddress& address,
                                                       ListenHandler& handler) {
    UniqueFd fd(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP));
    if (fd.get() < 0) {
        return listen_error(errno);
    }
    BASALT_CHECK(set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1));
    if (address.is_ipv6()) {
        // So that "::" and "0.0.0.0" can be listened on side by side.
        BASALT_CHECK(set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1));
    }
    if (bind(fd.get(), address.native(), address.native_size()) != 0 ||
        ::listen(fd.get(), kListenBacklog) != 0) {
        return listen_error(errno);
    }
    BASALT_TRY(const SocketAddress local, address_of(fd.get(), false));

    auto* accept = new AcceptOp(*this, fd.release(), handler);
    accepts_.push_back(*accept);
    arm_accept(*accept);
    return std::unique_ptr<Listener>(new UringListener(*accept, local));
}

void UringNetwork::arm_accept(AcceptOp& accept) {
    io_uring_sqe& sqe = ring_.next_sqe();
    if (features_.multishot_accept) {
        io_uring_prep_multishot_accept(&sqe, accept.fd, nullptr, nullptr, SOCK_CLOEXEC);
    } else {
        io_uring_prep_accept(&sqe, accept.fd, nullptr, nullptr, SOCK_CLOEXEC);
    }
    accept.complete = &UringNetwork::on_accept;
    sqe.user_data = accept.user_data();
}

void UringNetwork::on_accept(UringOp& op, UringCompletion completion) {
    auto& accept = static_cast<AcceptOp&>(op);
    UringNetwork& self = accept.network;
    if (completion.result >= 0) {
        AcceptedSocket accepted{.ticket = completion.result};
        if (accept.handler != nullptr) {
            accept.handler->on_accept(std::move(accepted));
        } else {
            self.discard(std::move(accepted));
        }
    }
    if ((completion.flags & IORING_CQE_F_MORE) == 0) {
        self.handle_accept_end(accept, completion.result);
    }
}

void UringNetwork::handle_accept_end(AcceptOp& accept, int32_t result) {
    if (accept.handler == nullptr) {
        accepts_.remove(accept);
        close(accept.fd);
        delete &accept;
        return;
    }
    if (result >= 0 || result == -ECONNABORTED || result == -EINTR || result == -EAGAIN) {
        arm_accept(accept);  // One connection taken, or one lost before we took it.
        return;
    }
    // Out of descriptors or memory: trying at once would find the same, for ever, at full speed.
    io_uring_sqe& sqe = ring_.next_sqe();
    io_uring_prep_timeout(&sqe, const_cast<__kernel_timespec*>(&kAcceptPause), 0, 0);
    accept.complete = &UringNetwork::on_accept_pause_over;
    sqe.user_data = accept.user_data();
}

void UringNetwork::on_accept_pause_over(UringOp& op, UringCompletion /*completion*/) {
    auto& accept = static_cast<AcceptOp&>(op);
    accept.network.handle_accept_end(accept, 0);
}

void UringNetwork::stop_listening(AcceptOp& accept) {
    BASALT_ASSERT(accept.handler != nullptr);
    accept.handler = nullptr;
    // Connections are refused from here on; the port is free for the next listener.
    shutdown(accept.fd, SHUT_RDWR);
    ring_.cancel(accept.user_data());
}

// ---- sockets

Result<std::unique_ptr<Socket>> UringNetwork::adopt(AcceptedSocket accepted,
                                                    const SocketOptions& options,
                                                    SocketHandler& handler) {
    BASALT_ASSERT(accepted.ticket >= 0);
    UniqueFd fd(static_cast<int>(accepted.ticket));
    const Status status = set_stream_options(fd.get(), options);
    const Result<SocketAddress> local = address_of(fd.get(), false);
    const Result<SocketAddress> peer = address_of(fd.get(), true);
    if (!status || !local || !peer) {
        return Errc::kConnectionClosed;
    }
    auto adopted = std::make_unique<UringSocket>(
        *this,
        handler,
        UringSocket::Connection{.fd = fd.release(),
                                .state = UringSocket::State::kOpen,
                                .local = *local,
                                .peer = *peer,
                                .unread = std::move(accepted.unread)});
    if (adopted->has_brought()) {
        adopted->queue();  // To be offered from the poll loop.
    } else {
        adopted->arm_receive();
    }
    return std::unique_ptr<Socket>(std::move(adopted));
}

void UringNetwork::discard(AcceptedSocket accepted) {
    BASALT_ASSERT(accepted.ticket >= 0);
    close(static_cast<int>(accepted.ticket));
}

Result<std::unique_ptr<Socket>> UringNetwork::connect(const SocketAddress& address,
                                                      const SocketOptions& options,
                                                      SocketHandler& handler) {
    if (address.port() == 0) {
        return Errc::kInvalidArgument;
    }
    UniqueFd fd(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP));
    if (fd.get() < 0) {
        return listen_error(errno);
    }
    BASALT_CHECK(set_stream_options(fd.get(), options));
    auto connecting = std::make_unique<UringSocket>(
        *this, handler, UringSocket::Connection{.fd = fd.release(), .peer = address});
    connecting->start_connect();
    return std::unique_ptr<Socket>(std::move(connecting));
}

uint32_t UringNetwork::run_pending() {
    uint32_t count = 0;
    while (UringSocket* socket = sent_.pop_front()) {
        socket->tell_sent();
        ++count;
    }
    if (buffers_.has_lent()) {
        while (UringSocket* socket = rearming_.pop_front()) {
            socket->arm_receive();
        }
    }
    // Only those that are here now: a user that resumes again is served in the next turn.
    IntrusiveList<UringSocket, &UringSocket::pending_link_> batch;
    batch.splice_back(pending_);
    while (UringSocket* socket = batch.pop_front()) {
        socket->run_pending();
        ++count;
    }
    return count;
}

}  // namespace basalt
