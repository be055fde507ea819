#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "reactor/io/random.h"
#include "replication/core/head_core.h"
#include "replication/core/replica_core.h"

namespace basalt::replication::test {

/// What can go wrong in a run, and what happened in it.
struct WorldOptions {
    uint64_t seed = 0;
    Settings settings{};
    Mistakes mistakes{};
    uint32_t steps = 700;      ///< With faults; then all is mended and has to come to an end.
    uint32_t fault_rate = 25;  ///< Faults in a thousand steps.
    bool has_wipes = true;     ///< write_quorum - 1 replicas at most die for good.
    bool has_two_heads = true;
    bool has_failovers = true;
    bool is_loud = false;  ///< Says what happens, on standard error: to follow one seed.
};

struct WorldResult {
    std::string violation;  ///< Empty: all promises were kept.
    uint64_t acknowledged = 0;
    uint64_t reads = 0;
    uint64_t openings = 0;
    uint64_t drops = 0;
    uint64_t returns = 0;
    uint64_t snapshots = 0;
    uint64_t repairs = 0;
    uint64_t trace = 0;  ///< The same for the same run.
};

/// For what violations, and loud runs, say.
[[nodiscard]] std::string text_of(OpNumber number);
[[nodiscard]] std::string text_of(const Message& message);

/// A whole volume in one thread and from one seed: replicas with drives, two machines that may both
/// believe that they are its head, an authority, a network that delays, reorders, cuts and says
/// things again on a connection that is over, and hosts. It checks what a host may expect, by the
/// rule of the model: what anybody is told has a higher number than all that anybody had been told
/// before it was asked for. world.cc runs it; the rest is in world_network.cc, world_replicas.cc,
/// world_heads.cc, world_authority.cc and world_faults.cc.
class World {
  public:
    explicit World(const WorldOptions& options);
    WorldResult run();

  private:
    static constexpr uint32_t kHeads = 2;
    static constexpr uint32_t kLanes = 2;

    struct WireMessage {
        Message message{};
        std::vector<WindowEntry> window{};
        BlockBitmap dirty{};
        std::vector<uint64_t> data{};
    };
    struct WireReply {
        Reply reply{};
        std::vector<WindowEntry> window{};
        BlockBitmap dirty{};
        std::vector<uint64_t> data{};
    };
    struct Link {
        bool is_up = false;
        uint64_t connection = 0;
        std::array<std::deque<WireMessage>, kLanes> out{};
        std::array<std::deque<WireReply>, kLanes> back{};
    };
    struct Store {
        std::unique_ptr<ReplicaCore> core{};
        std::unique_ptr<ReplicaState> durable{};
        bool is_up = false;
        bool is_stopped = false;  ///< Alive, but does nothing for now.
        std::vector<uint64_t> disk{};
        std::set<uint64_t> bad{};
        std::map<OpNumber, std::vector<uint64_t>> snapshots{};
        std::vector<ReplicaAction> pending{};
        std::vector<WireMessage> ghosts{};
        std::map<uint64_t, std::vector<uint64_t>> data{};
    };
    struct HostOp {
        enum class Kind : uint8_t { kWrite, kRead, kSnapshot };
        Kind kind = Kind::kWrite;
        BlockRange range{};
        uint64_t value = 0;
        std::vector<OpNumber> floor{};
        bool compares_all = false;
    };
    struct Head {
        std::unique_ptr<HeadCore> core{};
        uint64_t incarnation = 0;
        std::array<Link, kReplicasMax> links{};
        std::map<uint64_t, HostOp> host_ops{};
        std::map<uint64_t, std::vector<uint64_t>> data{};
        bool wants_epoch = false;
    };
    struct Request {
        uint32_t head = 0;
        uint64_t incarnation = 0;
        bool is_open = false;
        Epoch epoch{};
        ReplicaSet set{};
        bool is_decided = false;
        bool is_granted = false;
    };
    struct Line {
        OpNumber number;
        std::vector<OpNumber> floor;
    };

    void violate(const std::string& what);
    [[nodiscard]] bool chance(uint64_t in_thousand) { return random_.chance(in_thousand, 1000); }
    void step();
    bool deliver_something();
    bool deliver_to(uint32_t head, uint32_t replica, uint32_t lane);
    void deliver_back(uint32_t head, uint32_t replica, uint32_t lane);
    void complete_something();
    void complete(uint32_t replica, size_t index, bool is_heard);
    void perform(uint32_t replica, ReplicaCore::Actions actions);
    void commit(Store& store, const ReplicaAction& action);
    void give(uint32_t head, HeadEvent event);
    void perform(uint32_t head, const HeadAction& action);
    void send(uint32_t head, const HeadAction& action);
    void answered(uint32_t head, const HeadAction& action);
    void check_read(const HostOp& op, const std::vector<uint64_t>& data);
    void host_does_something(uint32_t head);
    void look_closer(uint32_t head, BlockRange range);
    void authority_does_something();
    void opened(uint32_t head);
    void grant(uint32_t head);
    void check_promise();
    void split(uint32_t replica);
    void fault();
    void cut(uint32_t head, uint32_t replica);
    void connect(uint32_t head, uint32_t replica);
    void crash(uint32_t replica);
    void restart(uint32_t replica);
    void wipe(uint32_t replica);
    void kill_head(uint32_t head);
    void heal();
    [[nodiscard]] bool has_converged();
    void check_end();
    [[nodiscard]] OpNumber number_of(uint64_t value) const;

    const WorldOptions options_;
    const Settings settings_;
    Random random_;
    WorldResult result_;
    uint64_t now_us_ = 0;
    bool is_healing_ = false;

    std::vector<Store> stores_;
    std::array<Head, kHeads> heads_;
    uint32_t wipes_ = 0;

    Epoch map_epoch_;
    uint32_t map_head_ = 0;
    ReplicaSet map_set_;
    uint32_t lease_head_ = 0;
    uint64_t lease_until_us_ = 0;
    std::deque<Request> requests_;

    uint64_t tags_ = 0;
    uint64_t connections_ = 0;
    std::vector<OpNumber> numbers_;   // Of each value that was written.
    std::vector<BlockRange> ranges_;  // Likewise.
    std::vector<OpNumber> told_;      // Of each block.
    std::vector<bool> is_voided_;     // Of each value.
    std::vector<Line> lines_;         // Snapshots that were acknowledged.
};

}  // namespace basalt::replication::test
