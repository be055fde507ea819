#include "reactor/io/uring_socket.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <unistd.h>

#include "reactor/base/assert.h"
#include "reactor/io/uring_network.h"

namespace basalt {

namespace {

// A rest of this size makes a socket go over to bulk: by then a transfer has outgrown a buffer, and
// is worth the cancellation of a multishot request.
constexpr size_t kBulkBytesMin = 16384;
// In bulk, a rest of this size is received straight to its place: the copy of less costs less than
// one more request.
constexpr size_t kDirectBytesMin = 4096;
// What is received into a buffer between two transfers: headers and commands, and little of the
// transfer itself, because that is copied.
constexpr uint32_t kBetweenBytes = 1024;
// So many of those without a transfer end bulk.
constexpr uint32_t kSmallCountMax = 16;

bool is_transient(int32_t result) {
    return result == -EINTR || result == -EAGAIN;
}

}  // namespace

UringSocket::UringSocket(UringNetwork& network, SocketHandler& handler, Connection connection)
    : network_(network),
      handler_(handler),
      fd_(connection.fd),
      state_(connection.state),
      receive_(&UringSocket::on_receive, *this),
      follower_(&UringSocket::on_follower, *this),
      send_(&UringSocket::on_send, *this),
      connect_(&UringSocket::on_connect, *this),
      brought_(std::move(connection.unread)),
      local_(connection.local),
      peer_(connection.peer) {
    BASALT_ASSERT(fd_ >= 0);
    BASALT_ASSERT(state_ == State::kConnecting || state_ == State::kOpen);
    ++network_.socket_count_;
    network_.buffers_.expect_sockets(network_.socket_count_);
}

UringSocket::~UringSocket() {
    BASALT_ASSERT(state_ == State::kClosed);
    BASALT_ASSERT(is_quiet());
    BASALT_ASSERT(!has_held());
}

// ---- connecting

void UringSocket::start_connect() {
    io_uring_sqe& sqe = network_.ring_.next_sqe();
    io_uring_prep_connect(&sqe, fd_, peer_.native(), peer_.native_size());
    sqe.user_data = connect_.user_data();
    connect_.is_armed = true;
    ++network_.in_flight_;
}

void UringSocket::on_connect(UringOp& op, UringCompletion completion) {
    UringSocket& self = static_cast<Op&>(op).socket;
    self.connect_.is_armed = false;
    --self.network_.in_flight_;
    if (self.state_ == State::kClosing) {
        self.queue_if_quiet();
        return;
    }
    if (completion.result < 0) {
        self.begin_close(Error::from_errno(-completion.result));
        return;
    }
    self.state_ = State::kOpen;
    sockaddr_storage local{};
    socklen_t size = sizeof(local);
    if (getsockname(self.fd_, reinterpret_cast<sockaddr*>(&local), &size) == 0) {
        if (const auto address = SocketAddress::from_native(local)) {
            self.local_ = *address;
        }
    }
    self.handler_.on_connected();
    self.arm_receive();
}

// ---- sending

void UringSocket::begin_send(std::span<const iovec> pieces) {
    BASALT_ASSERT(pieces.size() <= kSendPiecesMax);
    BASALT_ASSERT(pieces_.empty());
    BASALT_ASSERT(!sent_link_.is_linked());
    pieces_ = pieces;
    piece_offset_bytes_ = 0;
    advance_send(0);
    BASALT_ASSERT(!pieces_.empty());
}

void UringSocket::send(std::span<const iovec> pieces) {
    BASALT_ASSERT(state_ != State::kConnecting);
    if (state_ != State::kOpen) {
        return;  // The user does not know yet; on_closed() tells.
    }
    begin_send(pieces);
    arm_send();
}

void UringSocket::send_at_once(std::span<const iovec> pieces) {
    BASALT_ASSERT(state_ != State::kConnecting);
    if (state_ != State::kOpen) {
        return;
    }
    begin_send(pieces);
    message_.msg_iov = const_cast<iovec*>(pieces_.data());
    message_.msg_iovlen = pieces_.size();
    const ssize_t sent = sendmsg(fd_, &message_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
        advance_send(static_cast<size_t>(sent));
    }
    if (pieces_.empty()) {
        network_.sent_.push_back(*this);
    } else {
        arm_send();  // No room for the rest; or an error, which then comes the usual way.
    }
}

void UringSocket::tell_sent() {
    if (state_ == State::kOpen) {
        handler_.on_sent();
    }
}

void UringSocket::arm_send() {
    // Without MSG_WAITALL a full send buffer would cost one completion for each part.
    constexpr int kFlags = MSG_NOSIGNAL | MSG_WAITALL;
    io_uring_sqe& sqe = network_.ring_.next_sqe();
    const iovec& first = pieces_.front();
    if (pieces_.size() == 1 || piece_offset_bytes_ > 0) {
        // The user's array is const: the rest of a piece half sent goes alone, then the others.
        io_uring_prep_send(&sqe,
                           fd_,
                           static_cast<std::byte*>(first.iov_base) + piece_offset_bytes_,
                           first.iov_len - piece_offset_bytes_,
                           kFlags);
    } else {
        message_.msg_iov = const_cast<iovec*>(pieces_.data());
        message_.msg_iovlen = pieces_.size();
        io_uring_prep_sendmsg(&sqe, fd_, &message_, kFlags);
    }
    sqe.user_data = send_.user_data();
    send_.is_armed = true;
    ++network_.in_flight_;
}

void UringSocket::advance_send(size_t sent_bytes) {
    size_t left_bytes = piece_offset_bytes_ + sent_bytes;
    size_t sent_count = 0;
    while (sent_count < pieces_.size() && left_bytes >= pieces_[sent_count].iov_len) {
        left_bytes -= pieces_[sent_count++].iov_len;
    }
    BASALT_ASSERT(sent_count < pieces_.size() || left_bytes == 0);
    pieces_ = pieces_.subspan(sent_count);
    piece_offset_bytes_ = left_bytes;
}

void UringSocket::on_send(UringOp& op, UringCompletion completion) {
    UringSocket& self = static_cast<Op&>(op).socket;
    self.send_.is_armed = false;
    --self.network_.in_flight_;
    if (self.state_ == State::kClosing) {
        self.queue_if_quiet();
        return;
    }
    if (is_transient(completion.result)) {
        self.arm_send();
        return;
    }
    if (completion.result <= 0) {
        self.begin_close(completion.result == 0 ? Error(Errc::kConnectionClosed)
                                                : Error::from_errno(-completion.result));
        return;
    }
    self.advance_send(static_cast<size_t>(completion.result));
    if (self.pieces_.empty()) {
        self.handler_.on_sent();
    } else {
        self.arm_send();
    }
}

// ---- receiving

void UringSocket::arm_receive() {
    if (!wants_bytes()) {
        return;
    }
    receive_.is_armed = true;
    has_received_ = false;
    if (is_bulk_) {
        const std::span<std::byte> memory = handler_.receive_memory();
        if (memory.size() >= kDirectBytesMin) {
            arm_direct(memory);
            return;
        }
        is_bulk_ = ++small_count_ < kSmallCountMax;
    }
    arm_buffered(receive_);
}

/// The rest of a transfer straight to its place, and what follows it into a buffer by a request
/// that the kernel begins when the first is over: the head of the next transfer is then often here
/// in the same turn. If the first ends early the second is cancelled.
void UringSocket::arm_direct(std::span<std::byte> memory) {
    UringRing& ring = network_.ring_;
    ring.make_room(2);
    io_uring_sqe& sqe = ring.next_sqe();
    io_uring_prep_recv(&sqe, fd_, memory.data(), memory.size(), MSG_WAITALL);
    sqe.user_data = receive_.user_data();
    is_direct_ = true;
    small_count_ = 0;
    if (!network_.buffers_.is_low()) {
        sqe.flags |= IOSQE_IO_LINK;
        follower_.is_armed = true;
        small_count_ = 1;
        arm_buffered(follower_);
    }
}

void UringSocket::arm_buffered(const Op& op) {
    io_uring_sqe& sqe = network_.ring_.next_sqe();
    const uint32_t buffer_bytes = network_.buffers_.buffer_bytes();
    if (is_bulk_) {
        io_uring_prep_recv(&sqe, fd_, nullptr, std::min(kBetweenBytes, buffer_bytes), 0);
    } else if (network_.features_.multishot_receive && !network_.buffers_.is_low()) {
        io_uring_prep_recv_multishot(&sqe, fd_, nullptr, 0, 0);
    } else {
        io_uring_prep_recv(&sqe, fd_, nullptr, buffer_bytes, 0);
    }
    sqe.flags |= IOSQE_BUFFER_SELECT;
    sqe.buf_group = UringBuffers::kGroup;
    sqe.user_data = op.user_data();
}

void UringSocket::on_receive(UringOp& op, UringCompletion completion) {
    UringSocket& self = static_cast<Op&>(op).socket;
    const bool is_last = (completion.flags & IORING_CQE_F_MORE) == 0;
    self.receive_.is_armed = !is_last;
    if (self.is_direct_) {
        self.handle_direct(completion.result);
    } else {
        self.handle_buffered(completion);
    }
}

void UringSocket::on_follower(UringOp& op, UringCompletion completion) {
    UringSocket& self = static_cast<Op&>(op).socket;
    self.follower_.is_armed = false;
    if (self.is_direct_ && completion.result > 0 && self.state_ == State::kOpen) {
        // Before its time, as where the kernel has no memory to keep two requests together: these
        // bytes are out of the middle of the transfer.
        self.begin_close(Error(Errc::kNoMemory));
    }
    self.handle_buffered(completion);
}

void UringSocket::handle_buffered(UringCompletion completion) {
    if ((completion.flags & IORING_CQE_F_BUFFER) != 0) {
        const uint32_t buffer = network_.buffers_.take(completion.flags);
        has_received_ = true;
        if (completion.result > 0 && state_ == State::kOpen) {
            handle_data(buffer, static_cast<uint32_t>(completion.result));
        } else if (completion.result > 0 && state_ == State::kReleasing) {
            hold(buffer, 0, static_cast<uint32_t>(completion.result));
        } else {
            network_.buffers_.release(buffer);
        }
    }
    if ((completion.flags & IORING_CQE_F_MORE) == 0) {
        handle_receive_end(completion.result);
    }
}

void UringSocket::handle_data(uint32_t buffer, uint32_t length_bytes) {
    UringBuffers& buffers = network_.buffers_;
    BASALT_ASSERT(length_bytes <= buffers.buffer_bytes());
    if (has_held()) {
        if (append_to_last_held(buffer, length_bytes)) {
            buffers.release(buffer);
        } else {
            hold(buffer, 0, length_bytes);
        }
        return;
    }
    const size_t taken = offer(buffer, 0, length_bytes);
    if (taken == length_bytes || state_ != State::kOpen) {
        buffers.release(buffer);
        look_for_bulk();
        return;
    }
    const auto taken_bytes = static_cast<uint32_t>(taken);
    hold(buffer, taken_bytes, length_bytes - taken_bytes);
    if (receive_.is_armed) {
        network_.ring_.cancel(receive_.user_data());
    }
}

size_t UringSocket::offer(uint32_t buffer, uint32_t offset_bytes, uint32_t length_bytes) {
    network_.offered_buffer_ = buffer;
    const size_t taken =
        handler_.on_receive({network_.buffers_.data(buffer) + offset_bytes, length_bytes});
    network_.offered_buffer_ = UringBuffers::kNone;
    BASALT_ASSERT(taken <= length_bytes);
    return taken;
}

std::optional<KeptMemory> UringSocket::keep_received() {
    if (has_brought()) {
        return std::nullopt;  // What is offered then belongs to this socket alone.
    }
    BASALT_ASSERT(network_.offered_buffer_ != UringBuffers::kNone);
    if (!network_.buffers_.keep(network_.offered_buffer_)) {
        return std::nullopt;
    }
    return KeptMemory{network_.offered_buffer_};
}

void UringSocket::look_for_bulk() {
    if (is_bulk_ || state_ != State::kOpen || handler_.receive_memory().size() < kBulkBytesMin) {
        return;
    }
    is_bulk_ = true;
    small_count_ = 0;
    if (receive_.is_armed) {
        network_.ring_.cancel(receive_.user_data());
    }
}

void UringSocket::handle_direct(int32_t result) {
    is_direct_ = false;
    if (result > 0 && state_ == State::kOpen) {
        has_received_ = true;
        handler_.on_received(static_cast<size_t>(result));
    }
    handle_receive_end(result);
}

void UringSocket::handle_receive_end(int32_t result) {
    if (state_ == State::kClosing || state_ == State::kReleasing) {
        queue_if_quiet();  // Whoever adopts it finds its end or error by himself.
    } else if (result == 0) {
        has_peer_closed_ = true;
        if (!has_held()) {
            begin_close(Error(Errc::kConnectionClosed));
        }
    } else if (result < 0 && result != -ECANCELED && result != -ENOBUFS && !is_transient(result)) {
        begin_close(Error::from_errno(-result));
    } else if (wants_bytes()) {
        // In line, not at once: the first to be armed may take every buffer there is, so those that
        // found none are armed before those that got something.
        if (has_received_) {
            network_.rearming_.push_back(*this);
        } else {
            network_.rearming_.push_front(*this);
        }
    }
}

void UringSocket::resume_receive() {
    if (state_ == State::kOpen) {
        queue();
    }
}

// ---- closing

void UringSocket::close() {
    if (state_ != State::kClosing && state_ != State::kClosed) {
        begin_close(Error(Errc::kCancelled));
    }
}

void UringSocket::begin_close(Error reason) {
    BASALT_ASSERT(state_ != State::kClosing && state_ != State::kClosed);
    if (state_ != State::kConnecting) {
        // Tells the peer now, and ends requests that a cancellation might come too late for. Fails
        // if the connection is gone, which is as good.
        shutdown(fd_, SHUT_RDWR);
    }
    state_ = State::kClosing;
    close_reason_ = reason;
    for (const Op* op : {&receive_, &follower_, &send_, &connect_}) {
        if (op->is_armed) {
            network_.ring_.cancel(op->user_data());
        }
    }
    if (rearming_link_.is_linked()) {
        network_.rearming_.remove(*this);
    }
    if (sent_link_.is_linked()) {
        network_.sent_.remove(*this);
    }
    queue_if_quiet();
}

void UringSocket::queue_if_quiet() {
    if (is_quiet()) {
        queue();
    }
}

void UringSocket::queue() {
    if (!pending_link_.is_linked()) {
        network_.pending_.push_back(*this);
    }
}

void UringSocket::run_pending() {
    if (state_ == State::kClosing) {
        if (is_quiet()) {
            finish_close();
        }
        return;
    }
    if (state_ == State::kReleasing) {
        if (is_quiet()) {
            finish_release();
        } else if (follower_.is_armed) {
            // Again, since a cancellation finds nothing where the kernel has not begun with it.
            network_.ring_.cancel(follower_.user_data());
            queue();
        }
        return;
    }
    offer_unread();
    if (state_ != State::kOpen || has_unread()) {
        return;
    }
    if (has_peer_closed_) {
        begin_close(Error(Errc::kConnectionClosed));
    } else {
        arm_receive();
    }
}

void UringSocket::finish_close() {
    state_ = State::kClosed;
    release_held();
    ::close(fd_);
    --network_.socket_count_;
    handler_.on_closed(close_reason_);  // May destroy this.
}

}  // namespace basalt
