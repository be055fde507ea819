#pragma once

#include <cstdint>

#include "nvmf/target/backlog.h"
#include "nvmf/target/limits.h"
#include "nvmf/target/request.h"
#include "nvmf/target/request_pool.h"

namespace basalt::nvmf {

/// Where the commands of one connection get their requests, and which it has. A live I/O queue
/// takes them from the reactor's pools and has one of its own beside them, so that none is ever
/// without any; all others have as many of their own as their commands can need, so that neither
/// Connect nor Keep Alive waits for what I/O queues hold. Commands that find no request are set
/// aside, or stop the stream: see RequestPools.
///
/// Owner and core: its Connection.
class ConnectionRequests {
  public:
    enum class Kind : uint8_t {
        kGeneral,  ///< Can be set aside until there is a request.
        kCapsule,  ///< Its data comes with it, or it is half of a pair: it stops the stream.
    };

    explicit ConnectionRequests(Connection& connection);
    ConnectionRequests(const ConnectionRequests&) = delete;
    ConnectionRequests& operator=(const ConnectionRequests&) = delete;
    ~ConnectionRequests();

    /// Connect has said how many commands there may be at a time. An admin queue gets as many
    /// requests of its own.
    void deepen(uint32_t commands_max, bool is_admin);
    /// From now on new requests come from these pools and count as the host's; both outlive them.
    void share(RequestPools& pools, HostShare& host);
    /// From now on they are its own alone; what is in use goes back to where it came from.
    void share_no_more();

    /// Commands that have come and are not answered, set aside or not.
    [[nodiscard]] uint32_t outstanding_count() const { return used_count_ + backlog_.count(); }
    [[nodiscard]] uint32_t used_count() const { return used_count_; }
    /// Whether one more command is not more than the queue is deep.
    [[nodiscard]] bool has_room() const { return outstanding_count() < commands_max_; }

    // --- For the capsule that stands at the head of the stream.

    /// A request for it, its own until use() or leave(); null: there is none.
    [[nodiscard]] Request* claim(Kind kind);
    /// Makes the claimed request one that is in use.
    void use_claimed();
    /// The connection resumes its stream when there may be what the capsule lacks: room, or, with
    /// the claim that failed, a request.
    void wait_for_room() { is_short_ = true; }
    void wait_for_claim();
    /// Whether a kGeneral command can be set aside, now that there was nothing to claim.
    [[nodiscard]] bool can_set_aside() const { return general_.pool != nullptr; }
    void set_aside(const WaitingCommand& command) { backlog_.push(command); }
    [[nodiscard]] bool has_backlog() const { return !backlog_.is_empty(); }

    // --- For commands that were set aside.

    /// A request, in use, for the oldest, which is `command` then and no longer set aside. Null:
    /// there is none, and the oldest waits in line.
    [[nodiscard]] Request* take_oldest(WaitingCommand& command);
    /// Makes that command the oldest, to be aborted. False: it is not set aside.
    [[nodiscard]] bool mark_to_abort(CommandId id) { return backlog_.mark(id); }
    void unmark_to_abort(CommandId id) { backlog_.unmark(id); }
    [[nodiscard]] bool is_oldest_to_abort() const { return backlog_.is_oldest_marked(); }

    /// The connection is done with it.
    void give_back(Request& request);

    /// Waits for nothing and claims nothing, as of another core or none.
    void leave();
    /// The host hears of nothing more: forgets what was set aside, too.
    void stop();

    // --- Those in use.

    /// Null: none with that transfer tag is this connection's.
    [[nodiscard]] Request* find(uint32_t tag) const;
    [[nodiscard]] Request* front() const { return used_.front(); }
    [[nodiscard]] Request* next(const Request& request) const { return used_.next(request); }

    /// Calls visit(Request&) for each. It may give back that one, and no other: what another then
    /// gets it gets in a later turn.
    template <typename Visit>
    void visit(Visit visit) {
        for (Request* at = used_.front(); at != nullptr;) {
            BASALT_ASSERT(at->owner == &connection_);
            Request* next = used_.next(*at);
            visit(*at);
            at = next;
        }
    }

  private:
    [[nodiscard]] Request* take(Kind kind);
    static void wait(RequestWaiter& waiter, const RequestSource& source);
    void cancel_waiters();
    void may_be_room();
    void put(Request& request);
    void use(Request& request);
    void claim_granted(Request& request);
    [[nodiscard]] bool backlog_granted(Request& request);

    Connection& connection_;
    RequestStore own_;
    RequestPools* pools_ = nullptr;
    RequestSource general_;
    RequestSource capsules_;
    uint32_t commands_max_ = kRequestsBeforeConnect;
    IntrusiveList<Request, &Request::owner_link> used_;
    uint32_t used_count_ = 0;
    Request* claimed_ = nullptr;  // By the capsule at the head of the stream.
    RequestWaiter claim_waiter_;
    Backlog backlog_;
    RequestWaiter backlog_waiter_;
    bool is_short_ = false;  // Resumes the stream when a request is back.
};

}  // namespace basalt::nvmf
