#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "replication/core/messages.h"
#include "replication/core/replica_state.h"
#include "replication/core/settings.h"

namespace basalt::replication {

/// What the shell of a replica has to do.
struct ReplicaAction {
    enum class Kind : uint8_t {
        kStore,  ///< Store data and state in one transaction, then say stored(slot).
        kLoad,   ///< Read the message's range, then say loaded(slot).
        kReply,  ///< Send `reply` on `reply.connection`, if that is still there.
    };
    Kind kind = Kind::kReply;
    uint32_t slot = 0;
    /// kStore, kLoad: what asked for it. Its spans are empty. kReply: only `data`, which is not
    /// needed any more.
    Message message{};
    uint64_t blocks = 0;  ///< kStore: bit i: block i of the range is to be written.
    /// kStore of a barrier: what is stored now is to stay readable as the snapshot of that number.
    /// Not while the replica lacks blocks: a snapshot that is there has no holes.
    bool draws_line = false;
    /// kStore of a control message: what to store. Lives until stored(). Null: the data, and what
    /// commit_write() makes of the state.
    const ControlChange* change = nullptr;
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
    /// was, but for marks of dirty blocks.
    [[nodiscard]] Actions stored(uint32_t slot, Errc status);
    /// The load of `slot` is done; `digest` is the same for the same data.
    [[nodiscard]] Actions loaded(uint32_t slot, Errc status, uint64_t digest);

    /// What an answer to a kFence or kJoin that was done says of the state, as it is now: for a
    /// shell that sends it later than it was told to.
    void fill_in(Reply& reply) const;

    [[nodiscard]] const ReplicaState& state() const { return state_; }
    [[nodiscard]] const Settings& settings() const { return settings_; }
    [[nodiscard]] uint32_t slots() const { return static_cast<uint32_t>(slots_.size()); }
    /// Messages under way, waiting ones too.
    [[nodiscard]] uint32_t slots_in_use() const { return static_cast<uint32_t>(active_.size()); }
    /// Of a slot that is in use.
    [[nodiscard]] const Message& message(uint32_t slot) const { return messages_[slot]; }

  private:
    static constexpr uint32_t kNone = UINT32_MAX;

    /// A message under way. kFree -> kWaiting -> kStoring -> kFree, or kFree -> kLoading -> kFree.
    /// What may_start() looks at, apart from the message: it looks at all that are in use.
    struct Slot {
        enum class State : uint8_t {
            kFree,     ///< apply(), for a message that is taken.
            kWaiting,  ///< start_waiting(), when nothing stands in the way.
            kStoring,  ///< stored().
            kLoading,  ///< loaded().
        };
        State state = State::kFree;
        bool is_control = false;
        bool is_write = false;
        bool is_line = false;
        BlockRange range{};
        size_t entries = 0;  ///< kStoring: that it may add to the window.
    };

    [[nodiscard]] bool is_stale(const Message& message);
    [[nodiscard]] bool takes(const Message& message) const;
    [[nodiscard]] bool is_known(const Message& message) const;
    [[nodiscard]] bool is_sound(const Message& message) const;
    [[nodiscard]] bool may_start(size_t place) const;
    void accept(const Message& message);
    [[nodiscard]] bool take_lists(const Message& message);
    void start_waiting();
    void start(uint32_t index);
    void start_store(uint32_t index);
    void prepare_change(const Message& message);
    [[nodiscard]] uint64_t blocks_to_write(const Message& message) const;
    void commit(const Message& message);
    void commit_control(const Message& message);
    void release(uint32_t index);
    void reply(const Message& message, Errc status);
    [[nodiscard]] Reply make_reply(const Message& message, Errc status) const;

    const Settings settings_;
    const Mistakes mistakes_;
    ReplicaState state_;
    Epoch session_tenure_;
    uint32_t session_ = 0;
    std::vector<Slot> slots_;
    std::vector<Message> messages_;  // Of each slot.
    std::vector<uint32_t> free_;     // Slots; the one that was used last is used next.
    std::vector<uint32_t> active_;   // Slots, in the order of arrival.
    uint32_t waiting_ = 0;
    size_t reserved_ = 0;  // Entries that those that are being stored may add to the window.
    // What kSettle and kJoined bring, until they are stored, and whose it is.
    Window settle_window_;
    BlockBitmap settle_dirty_;
    uint32_t lists_slot_ = kNone;
    ControlChange change_;  // Of the control message that is being stored.
    bool is_changing_ = false;
    std::vector<ReplicaAction> actions_;
};

}  // namespace basalt::replication
