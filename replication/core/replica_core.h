#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "replication/core/messages.h"
#include "replication/core/settings.h"
#include "replication/core/window.h"

namespace basalt::replication {

/// What a replica must find again after a crash: durable, together with the data, when the store
/// that changed it is.
struct ReplicaState {
    explicit ReplicaState(const Settings& settings);

    Epoch fence;    ///< Everything of a lower epoch is refused for ever.
    Epoch agreed;   ///< The tenure in which it took part last: from the beginning, or joined.
    Epoch joining;  ///< In which it is brought up to date; 0: it is not.
    OpNumber watermark;
    OpNumber generation;     ///< The newest that began here.
    OpNumber history_after;  ///< Snapshots up to this line may have holes here.
    bool is_blank = false;   ///< A new drive in place of a lost one.
    Window window;
    BlockBitmap dirty;  ///< What a replica that is away may lack, or this one while it joins.
};

/// What the shell of a replica has to do.
struct ReplicaAction {
    enum class Kind : uint8_t {
        kStore,  ///< Store data and state in one transaction, then say stored(slot).
        kLoad,   ///< Read the message's range, then say loaded(slot).
        kReply,  ///< Send `reply` on `reply.connection`, if that is still there.
    };
    Kind kind = Kind::kReply;
    uint32_t slot = 0;
    Message message{};    ///< kStore, kLoad: what asked for it. Its spans are empty.
    uint64_t blocks = 0;  ///< kStore: bit i: block i of the range is to be written.
    Reply reply{};
};

/// The decisions of one replica: which epoch's writes it takes, in which order where they overlap,
/// what it remembers of them. Pure: no I/O, clock or allocation after it is made.
///
/// Owner: the shell, which keeps what state() says durable: with every store, what state() is
/// after stored(). Core: one. The actions of a call live until the next one.
class ReplicaCore {
  public:
    /// `state` is a new volume's, or what was found on the drive.
    ReplicaCore(const Settings& settings, const ReplicaState& state, const Mistakes& mistakes = {});

    using Actions = std::span<const ReplicaAction>;
    [[nodiscard]] Actions apply(const Message& message);
    /// The store of `slot` is durable, or failed. `status` other than kOk leaves the state as it
    /// was.
    [[nodiscard]] Actions stored(uint32_t slot, Errc status);
    /// The load of `slot` is done; `digest` is the same for the same data.
    [[nodiscard]] Actions loaded(uint32_t slot, Errc status, uint64_t digest);

    [[nodiscard]] const ReplicaState& state() const { return state_; }

  private:
    /// A message under way. kFree -> kWaiting -> kStoring -> kFree, or kFree -> kLoading -> kFree.
    struct Slot {
        enum class State : uint8_t {
            kFree,     ///< apply(), for a message that is taken.
            kWaiting,  ///< start_waiting(), when nothing stands in the way.
            kStoring,  ///< stored().
            kLoading,  ///< loaded().
        };
        State state = State::kFree;
        uint64_t order = 0;  ///< Of arrival.
        Message message{};
    };

    [[nodiscard]] bool is_stale(const Message& message);
    [[nodiscard]] bool takes(const Message& message) const;
    [[nodiscard]] bool is_known(const Message& message) const;
    [[nodiscard]] static bool is_control(MessageKind kind);
    [[nodiscard]] bool may_start(const Slot& slot) const;
    void accept(const Message& message);
    void start_waiting();
    void start_store(uint32_t index);
    [[nodiscard]] uint64_t blocks_to_write(const Message& message) const;
    void commit(const Message& message);
    void commit_write(const Message& message);
    void commit_control(const Message& message);
    void advance(OpNumber watermark);
    void reply(const Message& message, Errc status);
    [[nodiscard]] Reply make_reply(const Message& message, Errc status) const;

    const Settings settings_;
    const Mistakes mistakes_;
    ReplicaState state_;
    Epoch session_tenure_;
    uint32_t session_ = 0;
    uint64_t arrivals_ = 0;
    std::vector<Slot> slots_;
    // What kSettle and kJoined bring, until they are stored. One such message waits at a time.
    Window settle_window_;
    BlockBitmap settle_dirty_;
    std::vector<ReplicaAction> actions_;
};

}  // namespace basalt::replication
