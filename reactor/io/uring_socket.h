#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <sys/socket.h>

#include "reactor/base/intrusive_list.h"
#include "reactor/io/network.h"
#include "reactor/io/uring_buffers.h"
#include "reactor/io/uring_op.h"
#include "reactor/io/uring_ring.h"

namespace basalt {

class UringNetwork;

/// A TCP connection on one core, driven by io_uring.
///
///   kConnecting -> kOpen -> kClosing -> kClosed
///        |           |         ^           ^
///        +-----------+---------+           |
///                    +----> kReleasing ----+   (to kClosing as well)
///
/// Receiving: one multishot request fills buffers of the reactor (UringBuffers). Bytes that the
/// user does not take stay where they are, in a queue of buffers; later arrivals join the queue
/// (small ones are copied behind the last, so that a buffer isn't spent on each), the request is
/// cancelled so that TCP's window closes, and resume_receive() offers the queue again, in order,
/// before anything new.
///
/// Bulk: once the user says where the rest of a large transfer belongs (receive_memory()), the
/// multishot request gives way to pairs of linked ones: the first takes a large rest straight to
/// its place, the second what is between two transfers into a buffer, in small pieces. When no
/// transfer has come for a while, multishot is back.
///
/// Releasing: the request is cancelled; what it still brings joins the queue, and all that was not
/// taken leaves with the descriptor. Whoever adopts that is offered it before anything new.
///
/// Closing: whatever is under way is cancelled; when the kernel has let go of every request,
/// on_closed() runs. A peer that closes after its last bytes is reported after these were taken.
///
/// The descriptor is not in the ring's table of files on purpose: up to Linux 6.12 a file taken out
/// of it stays open until every older request that used any entry of it has ended, and multishot
/// receives last as long as their connections. What a look-up costs is paid once for such a
/// receive; without that of a send, QD1 gained 1 % at most (perf/tried.md).
///
/// Owner: the user. Core: the network's.
class UringSocket final : public Socket {
  public:
    enum class State : uint8_t {
        kConnecting,  ///< The completion of the connect moves it on.
        kOpen,        ///< close(), release(), the peer or an error moves it on.
        kReleasing,   ///< The completion of the receive under way moves it on; or close().
        kClosing,     ///< The completion of the last request under way moves it on.
        kClosed,      ///< Final.
    };

    /// A connection as a socket takes it over.
    struct Connection {
        int fd = -1;  ///< Blocking: io_uring fails others with EAGAIN instead of waiting.
        State state = State::kConnecting;  ///< That, or kOpen.
        SocketAddress local{};             ///< Of one that is open.
        SocketAddress peer{};
        std::vector<std::byte> unread{};  ///< Received on another core.
    };

    UringSocket(UringNetwork& network, SocketHandler& handler, Connection connection);
    UringSocket(const UringSocket&) = delete;
    UringSocket& operator=(const UringSocket&) = delete;
    ~UringSocket() override;

    void send(std::span<const iovec> pieces) override;
    void send_at_once(std::span<const iovec> pieces) override;
    [[nodiscard]] std::optional<KeptMemory> keep_received() override;
    void resume_receive() override;
    [[nodiscard]] bool release() override;
    void close() override;
    [[nodiscard]] SocketAddress local_address() const override { return local_; }
    [[nodiscard]] SocketAddress peer_address() const override { return peer_; }

  private:
    friend class UringNetwork;

    struct Op : UringOp {
        Op(Complete function, UringSocket& owner) : UringOp(function), socket(owner) {}
        UringSocket& socket;
        bool is_armed = false;
    };

    /// Does in the poll loop what close(), resume_receive() and the last completion left to it. May
    /// destroy this, by on_closed().
    void run_pending();
    /// Asks for bytes if wants_bytes().
    void arm_receive();
    void arm_direct(std::span<std::byte> memory);
    void arm_buffered(const Op& op);
    /// Whether bytes should be asked for: nobody has, and nothing stands against it.
    [[nodiscard]] bool wants_bytes() const {
        return state_ == State::kOpen && !receive_.is_armed && !follower_.is_armed &&
               !has_unread() && !has_peer_closed_ && !rearming_link_.is_linked();
    }
    void start_connect();

    void begin_send(std::span<const iovec> pieces);
    void arm_send();
    /// After send_at_once(), from the poll loop.
    void tell_sent();
    void advance_send(size_t sent_bytes);
    void begin_close(Error reason);
    void finish_close();
    void finish_release();
    /// Has run_pending() called if closing or releasing waits for nothing more.
    void queue_if_quiet();
    void queue();
    [[nodiscard]] bool is_quiet() const {
        return !receive_.is_armed && !follower_.is_armed && !send_.is_armed && !connect_.is_armed;
    }

    static void on_connect(UringOp& op, UringCompletion completion);
    static void on_send(UringOp& op, UringCompletion completion);
    static void on_receive(UringOp& op, UringCompletion completion);
    static void on_follower(UringOp& op, UringCompletion completion);
    void handle_data(uint32_t buffer, uint32_t length_bytes);
    /// on_receive() with a part of a buffer. Returns what was taken.
    [[nodiscard]] size_t offer(uint32_t buffer, uint32_t offset_bytes, uint32_t length_bytes);
    void handle_direct(int32_t result);
    void handle_buffered(UringCompletion completion);
    /// Begins bulk receiving if a large transfer is coming.
    void look_for_bulk();
    void handle_receive_end(int32_t result);

    [[nodiscard]] bool has_held() const { return held_first_ != UringBuffers::kNone; }
    [[nodiscard]] bool has_brought() const { return brought_bytes_ < brought_.size(); }
    [[nodiscard]] bool has_unread() const { return has_brought() || has_held(); }
    void hold(uint32_t buffer, uint32_t offset_bytes, uint32_t length_bytes);
    [[nodiscard]] bool append_to_last_held(uint32_t buffer, uint32_t length_bytes);
    /// Offers what was brought along from another core, then what is held.
    void offer_unread();
    void offer_held();
    void release_held();

    UringNetwork& network_;
    SocketHandler& handler_;
    const int fd_;
    State state_;
    bool has_peer_closed_ = false;  // To be reported when the held buffers are taken.
    bool has_received_ = false;     // Since receiving was last asked for.
    bool is_bulk_ = false;
    bool is_direct_ = false;    // The request under way fills receive_memory().
    uint32_t small_count_ = 0;  // Requests since the last such one.
    Error close_reason_;

    Op receive_;
    Op follower_;  // Linked to receive_ where that is direct.
    Op send_;
    Op connect_;
    ListLink pending_link_;
    ListLink rearming_link_;
    ListLink sent_link_;

    // Received on another core, taken up to brought_bytes_; comes before what is held.
    std::vector<std::byte> brought_;
    size_t brought_bytes_ = 0;

    // Received and not taken yet, oldest first. While there are any, nothing is asked for.
    uint32_t held_first_ = UringBuffers::kNone;
    uint32_t held_last_ = UringBuffers::kNone;

    // The send under way: pieces_ from piece_offset_ bytes into the first one.
    std::span<const iovec> pieces_;
    size_t piece_offset_bytes_ = 0;
    msghdr message_{};

    SocketAddress local_;
    SocketAddress peer_;
};

}  // namespace basalt
