#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "bdev/core/uuid.h"
#include "reactor/base/log_throttle.h"
#include "reactor/io/socket_address.h"
#include "replication/link/bridge.h"
#include "replication/link/frame_channel.h"
#include "replication/link/limits.h"

namespace basalt::replication {

class TcpLink;

/// A link's place in the line for a StoreConnection's credits. Part of the link.
struct LinkTurn {
    TcpLink* owner = nullptr;
    ListLink link{};
};

/// Where a store is, and which of its drives is meant.
struct StoreOptions {
    SocketAddress address{};
    bdev::Uuid cluster{};
    bdev::Uuid drive{};
    uint16_t connection = 0;  ///< Of those from this process to that drive: the core's number.
    uint64_t silence_ns = kSilenceNs;
    uint64_t reconnect_min_ns = kReconnectMinNs;
    uint64_t reconnect_max_ns = kReconnectMaxNs;
};

/// The connection from this core to one drive of one store, which the links of many volumes share:
/// they take turns with its credits. Connects and reconnects for ever, until stop().
///
///   kStopped -> kConnecting -> kGreeting -> kUp -> kWaiting -> kConnecting
///   kConnecting, kGreeting -> kWaiting; any -> kStopping -> kStopped
///
/// Owner: whoever has the volumes of the core. Core: its reactor's. Allocates when it is made.
/// Destroyed when stopped, after its links.
class StoreConnection final : private FrameHandler {
  public:
    enum class State : uint8_t {
        kStopped,     ///< start().
        kConnecting,  ///< FrameChannel, connected or ended.
        kGreeting,    ///< The hello's answer.
        kUp,          ///< FrameChannel, ended.
        kWaiting,     ///< The timer.
        kStopping,    ///< FrameChannel, ended.
    };

    /// Called from the poll loop when it is stopped; it may be destroyed inside.
    using Stopped = void (*)(void* context);

    /// `buffers` gives the memory for what is read, to all volumes; it outlives the connection.
    StoreConnection(Reactor& reactor, BlockBuffers& buffers, const StoreOptions& options);
    StoreConnection(const StoreConnection&) = delete;
    StoreConnection& operator=(const StoreConnection&) = delete;
    ~StoreConnection();

    void start();
    void stop(Stopped done, void* context);

    [[nodiscard]] State state() const { return state_; }
    [[nodiscard]] const StoreOptions& options() const { return options_; }
    /// Requests under way.
    [[nodiscard]] uint32_t outstanding() const {
        return kRequestsMax - static_cast<uint32_t>(free_slots_.size());
    }
    /// How often it was up.
    [[nodiscard]] uint32_t sessions() const { return sessions_; }

  private:
    friend class TcpLink;

    /// A request under way. Nobody's (`link` null) when its link was reset meanwhile.
    struct Slot {
        enum class Purpose : uint8_t { kMessage, kPart, kPage };
        OutFrame frame{};
        TcpLink* link = nullptr;
        Purpose purpose = Purpose::kMessage;
        Message asked{};
        BlockRef data{};  ///< Where a read's data comes to.
        uint32_t index = 0;
        uint32_t uses = 0;  ///< The upper half of the id: a late answer is not for the next one.
        uint32_t pull = 0;  ///< kPage: of which answer.
        StoreConnection* connection = nullptr;
        bool is_used = false;
    };

    // FrameHandler.
    void connected() override;
    FramePlace place(const InFrame& frame) override;
    void received(InFrame& frame) override;
    void ended(Error reason) override;

    // For TcpLink.
    void add(TcpLink& link);
    void remove(TcpLink& link);
    /// `link` has something to send.
    void ready(TcpLink& link);
    /// Forgets what `link` has under way; what is not sent yet is not sent.
    void disown(TcpLink& link);
    [[nodiscard]] bool is_up() const { return state_ == State::kUp; }

    void connect();
    void wait();
    /// How long to wait before the next attempt, after so many that failed.
    [[nodiscard]] uint64_t pause_ns(uint32_t failures);
    void hello_answered(const InFrame& frame);
    void pump();
    void release(Slot& slot);
    static void on_taken(OutFrame& frame, void* context);
    [[nodiscard]] Slot* find(const wire::Header& header);
    void fail(Errc code, const char* why);
    void stopped();

    Reactor& reactor_;
    BlockBuffers& buffers_;
    const StoreOptions options_;
    FrameChannel channel_;
    State state_ = State::kStopped;
    Timer timer_;
    uint32_t failures_ = 0;
    uint32_t sessions_ = 0;
    uint64_t up_since_ns_ = 0;
    OutFrame hello_{};
    std::unique_ptr<Slot[]> slots_;
    std::vector<uint32_t> free_slots_;
    std::vector<TcpLink*> links_;
    IntrusiveList<LinkTurn, &LinkTurn::link> ready_;  ///< Links with something to send.
    OwnedEvent<StoreConnection, &StoreConnection::pump> pump_event_{*this};
    std::unique_ptr<std::byte[]> page_;
    LogThrottle log_{kLogPeriodNs};
    Stopped stopped_ = nullptr;
    void* stopped_context_ = nullptr;
    OwnedEvent<StoreConnection, &StoreConnection::stopped> stopped_event_{*this};
};

}  // namespace basalt::replication
