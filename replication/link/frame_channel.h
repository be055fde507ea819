#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <variant>

#include <sys/uio.h>

#include "reactor/io/network.h"
#include "reactor/msg/owned_event.h"
#include "reactor/reactor.h"
#include "replication/link/block_buffer.h"
#include "replication/wire/frame.h"
#include "replication/wire/lists.h"

namespace basalt::replication {

/// The body of a frame: Header::opcode and is_answer say which.
using FrameBody = std::variant<wire::RequestFields, wire::AnswerFields, wire::Hello>;

/// A frame to be sent, part of whatever it is about. From FrameChannel::send() on it belongs to the
/// channel: until `taken` is called, or the channel ends.
struct OutFrame {
    /// All of it has been copied or is held by the channel, and nothing has been sent yet: the
    /// frame may be used anew. May call FrameChannel::give_credits(), not send().
    using Taken = void (*)(OutFrame& frame, void* context);

    wire::Header header{};  ///< Sizes, credits and table_crc are filled in by the channel.
    FrameBody body{};
    std::span<const std::byte> list{};  ///< A list, wire::kListBytesMax at most; or:
    BlockRef data{};                    ///< sums and data.
    Taken taken = nullptr;
    void* context = nullptr;
    ListLink link{};
};

/// A frame that comes in.
struct InFrame {
    wire::Header header{};
    FrameBody body{};
    std::span<const std::byte> list{};  ///< As FramePlace said; of the length that came.
    BlockRef data{};                    ///< As FramePlace said, its sums too.
    bool is_data_sound = true;          ///< Each block is what its sum says.
};

/// Where the payload of a frame goes.
struct FramePlace {
    enum class Kind : uint8_t {
        kNowhere,  ///< It has none, or nobody wants it: it is read over, unchecked.
        kBlocks,   ///< Sums and data, to `blocks`, which has as many as come.
        kList,     ///< A list, to `list`, which is long enough.
        kLater,    ///< No place now: the stream stands still until FrameChannel::resume().
    };
    Kind kind = Kind::kNowhere;
    BlockRef blocks{};
    std::span<std::byte> list{};
};

/// Who a FrameChannel works for. All calls come from the poll loop, never from inside a call to the
/// channel, and may close() it.
class FrameHandler {
  public:
    /// A connection that connect() began is there.
    virtual void connected() {}
    /// Header and body of a frame are whole and sound, and it was within the credits given. Asked
    /// again, after kLater, when the channel is resumed.
    [[nodiscard]] virtual FramePlace place(const InFrame& frame) = 0;
    /// The frame is whole; of data, its sums are those that were sent. Its memory is the handler's.
    virtual void received(InFrame& frame) = 0;
    /// The connection has ended; the channel may be used again. Frames that were queued are free
    /// again without `taken`. kDataCorrupt, kProtocol: the peer sends rubbish; kTimedOut: it is
    /// silent, or does not read; else as SocketHandler::on_closed().
    virtual void ended(Error reason) = 0;

  protected:
    ~FrameHandler() = default;
};

/// Frames on a stream socket, both ways: replication/wire/format.md. What it sends is gathered into
/// one vectored send a turn; data goes out from where it lies and is received to where it belongs.
/// Sizes are believed only within their bounds, everything else once its CRC is right; whatever is
/// wrong ends the connection, but for a block with another sum: that is for the handler to judge.
/// Knows pings and credits.
///
///   kIdle -> kConnecting -> kOpen -> kClosing -> kIdle
///   kIdle -> kOpen (an accepted one); kConnecting -> kClosing; any but kIdle -> kIdle
///
/// Owner: an end of the data protocol. Core: its reactor's. Allocates when it is made, but for what
/// the network allocates for a socket. Destroyed when idle.
class FrameChannel final : private SocketHandler {
  public:
    enum class State : uint8_t {
        kIdle,        ///< connect(), adopt().
        kConnecting,  ///< Socket, when the connection is established.
        kOpen,        ///< Either side, by closing.
        kClosing,     ///< Socket, in on_closed().
    };

    /// `silence_ns`: a peer that sends nothing, or takes nothing of what is sent, for so long is
    /// dead. `reactor` and `handler` outlive the channel.
    FrameChannel(Reactor& reactor, FrameHandler& handler, uint64_t silence_ns);
    FrameChannel(const FrameChannel&) = delete;
    FrameChannel& operator=(const FrameChannel&) = delete;
    ~FrameChannel() override;

    /// When idle. Errors: those of Network; the channel is idle then, and `ended` is not called.
    [[nodiscard]] Status connect(const SocketAddress& address);
    [[nodiscard]] Status adopt(AcceptedSocket accepted);
    [[nodiscard]] State state() const { return state_; }
    [[nodiscard]] SocketAddress peer_address() const { return socket_->peer_address(); }

    /// The hello is done: from now on the peer gets pings when there is nothing else.
    void go_live() { is_live_ = true; }

    /// Queues `frame`; only when open. Their number is bounded by who has them.
    void send(OutFrame& frame);
    /// Takes it back. False if it is not queued: it has been taken already.
    bool cancel(OutFrame& frame);
    /// Sends no more of what is queued, then closes; unlike close() what was queued goes out.
    void close_after_sending(Error reason);
    /// Begins to close; ended(reason) follows. Does nothing when closing or idle.
    void close(Error reason);

    /// Takes back all that is queued: frames that go before the channel, in a machine that has lost
    /// its power.
    void forget_queue();

    /// The peer may send so many requests more: it is told with the next frame.
    void give_credits(uint16_t count);
    /// What the peer has given and is not spent.
    [[nodiscard]] uint32_t credits() const { return credits_; }
    void spend_credit() {
        BASALT_ASSERT(credits_ > 0);
        --credits_;
    }
    /// Of a request that was not sent.
    void restore_credit() { ++credits_; }

    /// After FramePlace::kLater: asks again, from the poll loop. Does nothing without need.
    void resume();
    [[nodiscard]] bool is_waiting() const { return is_waiting_; }

  private:
    using Bytes = std::span<const std::byte>;
    using OutFrames = IntrusiveList<OutFrame, &OutFrame::link>;
    static constexpr size_t kFramesPerSend = 64;
    static constexpr size_t kHeadBytesMax = wire::kHeaderBytes + wire::kBodyBytesMax;

    enum class Part : uint8_t { kHead, kSums, kData, kList, kSkip };

    // SocketHandler.
    void on_connected() override;
    size_t on_receive(std::span<const std::byte> data) override;
    std::span<std::byte> receive_memory() override;
    void on_received(size_t size_bytes) override;
    void on_sent() override;
    void on_closed(Error reason) override;

    void open();
    void flush();
    void gather();
    void add(OutFrame& frame);
    void add_piece(const void* data, size_t bytes);
    [[nodiscard]] size_t encode(const OutFrame& frame, std::span<std::byte> out);

    void take_head(Bytes& input);
    [[nodiscard]] Status decode_head();
    void head_is_whole();
    void ask_place();
    void resume_now();
    [[nodiscard]] std::span<std::byte> target();
    void advance(size_t bytes);
    void part_is_whole();
    void frame_is_whole();
    static void on_tick(Timer& timer, void* self);
    void tick();

    Reactor& reactor_;
    FrameHandler& handler_;
    const uint64_t silence_ns_;
    State state_ = State::kIdle;
    Error reason_{};  ///< Of close().
    std::unique_ptr<Socket> socket_;
    Timer timer_;
    bool is_live_ = false;
    uint64_t received_ns_ = 0;  ///< When the peer was last heard.
    uint64_t sent_ns_ = 0;      ///< When the last send began.

    // What is sent.
    OutFrames queue_;
    OwnedEvent<FrameChannel, &FrameChannel::flush> flush_event_{*this};
    bool is_sending_ = false;
    bool closes_after_sending_ = false;
    std::unique_ptr<std::byte[]> heads_;
    size_t heads_bytes_ = 0;
    std::unique_ptr<std::byte[]> list_;
    bool has_list_ = false;
    std::array<BlockRef, kFramesPerSend> held_{};
    size_t frames_ = 0;
    std::array<iovec, kFramesPerSend * 3> pieces_{};
    size_t piece_count_ = 0;
    size_t send_bytes_ = 0;
    OutFrame ping_{};
    OutFrame pong_{};

    // Credits: the peer's to us, and ours to it.
    uint32_t credits_ = 0;
    uint32_t unsaid_credits_ = 0;
    uint32_t given_credits_ = 0;

    // What is received.
    OwnedEvent<FrameChannel, &FrameChannel::resume_now> resume_event_{*this};
    Part part_ = Part::kHead;
    bool is_waiting_ = false;
    std::array<std::byte, kHeadBytesMax> head_{};
    size_t done_bytes_ = 0;  ///< Of the part.
    InFrame in_{};
    std::span<std::byte> in_list_{};
};

}  // namespace basalt::replication
