#pragma once

#include <coroutine>
#include <cstdint>
#include <memory>
#include <vector>

#include "reactor/reactor.h"
#include "reactor/task.h"
#include "replication/core/replica_core.h"
#include "replication/link/replica_port.h"
#include "replication/replica/replica_store.h"

namespace basalt::replication {

/// What a replica has done since it was opened.
struct ReplicaCounters {
    uint64_t writes = 0;    ///< Stored ones, of any kind; barriers too.
    uint64_t copies = 0;    ///< Stored ones.
    uint64_t reads = 0;     ///< Loaded ones, for hosts and for copies.
    uint64_t controls = 0;  ///< Stored ones.
    uint64_t blocks_written = 0;
    uint64_t blocks_read = 0;
    uint64_t buffer_waits = 0;  ///< Reads that had to wait for memory.
    uint64_t errors = 0;        ///< Stores and loads that failed.
    uint64_t refused = 0;       ///< Messages answered with an error without trying.
};

/// One replica of one volume (part): the shell around ReplicaCore. Takes messages from connections,
/// has its store do what the core decides, and answers to the connection that asked, if that is
/// still there.
///
/// Life: open(), messages, stop(). Owner: Replicas. Core: one, that of its store. All memory is
/// taken by open(): a message costs no allocation. Bounded by the core's slots: who sends more is
/// answered kNoMemory. Destroyed after stop(), or when its (simulated) machine has lost its power.
class ReplicaService final : public ReplicaPort {
  public:
    /// Loads what `store` has, which nobody used yet. `buffers` outlives the replica. `mistakes`:
    /// of tests only. Errors: those of ReplicaStore::load_state().
    [[nodiscard]] static Task<Result<std::unique_ptr<ReplicaService>>> open(
        Reactor& here,
        BlockBuffers& buffers,
        std::unique_ptr<ReplicaStore> store,
        Mistakes mistakes = {});

    ReplicaService(const ReplicaService&) = delete;
    ReplicaService& operator=(const ReplicaService&) = delete;
    ~ReplicaService() override;

    [[nodiscard]] uint64_t connect(ReplyPort& port) override;
    void disconnect(uint64_t connection) override;
    /// May be called from inside ReplyPort::reply(): what that reply leads to has changed then.
    void take(uint64_t connection, const Message& message, BlockRef data) override;
    [[nodiscard]] BlockBuffers& buffers() override { return buffers_; }
    [[nodiscard]] const ReplicaState& state() const override { return core_.state(); }
    [[nodiscard]] MessageLists& lists() override { return lists_; }

    /// Answers what is under way, takes nothing more, tells the connections, ends the store. Not
    /// from inside ReplyPort::reply(). Errors: those of ReplicaStore::stop(); it is over
    /// nevertheless.
    [[nodiscard]] Task<Status> stop();

    [[nodiscard]] const Settings& settings() const { return core_.settings(); }
    [[nodiscard]] const ReplicaCounters& counters() const { return counters_; }
    [[nodiscard]] uint32_t messages_under_way() const { return core_.slots_in_use(); }
    [[nodiscard]] uint32_t connections() const {
        return static_cast<uint32_t>(connections_.size());
    }

  private:
    struct Connection {
        uint64_t name = 0;
        ReplyPort* port = nullptr;
    };
    struct PendingReply {
        Reply reply{};
        BlockRef data{};
    };
    /// What a slot of the core has the store do.
    struct Job : StoreJob {
        Job() : waiter(granted, this) {}

        static void granted(void* self, BlockRef buffer);

        ReplicaService* service = nullptr;
        uint32_t slot = 0;
        bool is_waiting = false;  ///< For a buffer.
        BlockWaiter waiter;
    };
    /// Something that is to be done for the replica later.
    struct OwnEvent : Event {
        OwnEvent(ReplicaService& owner, Run function) : Event(function), service(owner) {}

        ReplicaService& service;
    };
    class Idle;

    ReplicaService(Reactor& here,
                   BlockBuffers& buffers,
                   std::unique_ptr<ReplicaStore> store,
                   const ReplicaState& state,
                   const Mistakes& mistakes);

    [[nodiscard]] uint64_t keep(BlockRef data);
    void forget(uint64_t name);
    void perform(ReplicaCore::Actions actions, BlockRef loaded);
    void start_store(const ReplicaAction& action);
    void start_load(const ReplicaAction& action);
    void load_into(Job& job, BlockRef buffer);
    void stored(Job& job, Errc status);
    void loaded(Job& job, Errc status);
    void count(const Job& job, Errc status);
    void flush_later();
    void flush();
    static void flush_now(Event& event, Reactor& here);
    static void go_on(Event& event, Reactor& here);
    [[nodiscard]] ReplyPort* find(uint64_t connection) const;
    [[nodiscard]] bool is_idle() const;
    void tell_if_idle();

    Reactor& here_;
    BlockBuffers& buffers_;
    std::unique_ptr<ReplicaStore> store_;
    ReplicaCore core_;
    MessageLists lists_;
    std::unique_ptr<Job[]> jobs_;  // One for each slot of the core.
    // Data of messages, by Message::data - 1, until they are answered.
    std::vector<BlockRef> data_;
    std::vector<uint32_t> free_data_;
    std::vector<Connection> connections_;
    uint64_t connection_names_ = 0;
    // What is to be sent when nobody is inside of take(), in order.
    std::vector<PendingReply> replies_;
    OwnEvent flush_event_{*this, flush_now};
    bool is_flush_due_ = false;
    bool is_flushing_ = false;
    bool is_stopping_ = false;
    std::coroutine_handle<> stopper_;  // Waits until all is done.
    OwnEvent idle_event_{*this, go_on};
    ReplicaCounters counters_;
};

}  // namespace basalt::replication
