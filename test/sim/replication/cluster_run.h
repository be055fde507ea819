#pragma once

#include <memory>
#include <string>
#include <vector>

#include "reactor/sim/world.h"
#include "test/reactor/may_leak.h"
#include "test/replication/head/history.h"
#include "test/replication/head/host_io.h"
#include "test/sim/replication/head_machine.h"
#include "test/sim/replication/sim_authority.h"
#include "test/sim/replication/store_machine.h"

namespace basalt::replication::test {

/// What goes wrong in a run while hosts read and write. Each run has about half of them.
enum class Fault : uint8_t {
    kStorePower,      ///< A store loses its power, and what no flush covered.
    kStoreProcess,    ///< A store's process dies.
    kBlackout,        ///< All stores lose their power at once.
    kHeadPower,       ///< A head's machine dies.
    kHeadProcess,     ///< A head's process dies.
    kTakeOver,        ///< A head pushes the one away that is there.
    kAuthorityAway,   ///< A head and the authority don't hear each other.
    kOneWay,          ///< What one machine sends another does not arrive.
    kBothWays,        ///< Two machines don't hear each other.
    kConnectionsCut,  ///< All connections of a machine end.
    kHeadAndStore,    ///< The head and a store die together, and another head begins.
    kOldHead,         ///< The head is cut off from the authority, which chooses another one.
    kSlowDrive,       ///< A store's drive takes long from now on, or not any more.
    kRot,             ///< A bit of a block turns, always in the same store of a run.
};
inline constexpr uint32_t kFaultKinds = 14;

struct ClusterRunOptions {
    uint64_t seed = 0;
    uint32_t replicas = 3;
    uint32_t write_quorum = 2;
    uint32_t heads = 2;
    uint32_t steps = 250;
    uint32_t faults_in_thousand = 100;  ///< Steps.
    std::vector<Fault> faults{};        ///< Empty: about half of all kinds, by the seed.
    bool scrubs = true;                 ///< Beside the hosts; they mend what some mistakes do.
    Mistakes mistakes{};
    StoreMistakes store_mistakes{};
};

/// What happened in a run, so that a test can tell that something did.
struct ClusterRunResult {
    std::string problem;  ///< Empty: every promise was kept.
    uint64_t trace = 0;
    uint64_t requests = 0;  ///< Done, with success.
    uint64_t stale = 0;     ///< Refused: there was another head.
    uint64_t lost = 0;      ///< With the head that had them.
    uint64_t crashes = 0;   ///< Of stores.
    uint64_t openings = 0;  ///< Of heads that lived to the end; likewise drops and returns.
    uint64_t drops = 0;
    uint64_t returns = 0;
    uint64_t lines = 0;  ///< Snapshots that were compared, of each store.
    uint64_t dropped_lines = 0;
    uint64_t rotten = 0;   ///< Blocks in which a bit turned.
    uint64_t repairs = 0;  ///< Of heads that lived to the end.
    uint64_t found = 0;    ///< Blocks that could not be read, likewise.

    void add(const ClusterRunResult& other);
};

/// One seed: stores that each keep a replica in a pool on a drive, machines that can be the head,
/// a network between all of them, and hosts that read, write, zero and draw lines at random while
/// machines die and come back and don't hear each other. Then the faults end, and what was promised
/// must be true: each request was answered, each block was a register, one head is open, all
/// replicas came back and are the same, also after a loss of power, and the pools are sound.
class ClusterRun {
  public:
    static constexpr uint64_t kBlocks = 280;

    explicit ClusterRun(const ClusterRunOptions& options);
    ClusterRun(const ClusterRun&) = delete;
    ClusterRun& operator=(const ClusterRun&) = delete;
    ~ClusterRun();

    [[nodiscard]] ClusterRunResult run();

  private:
    /// A request after the other, to whatever head.
    struct Host {
        std::unique_ptr<HostIo> io;
        uint32_t head = 0;
        uint64_t begin_ns = 0;
        uint64_t value = 0;
        ClusterRun* run = nullptr;
    };
    /// A snapshot that a host was told of.
    struct Line {
        OpNumber number;
        uint64_t begin_ns = 0;
        uint64_t end_ns = 0;
    };

    [[nodiscard]] static Settings settings_of(const ClusterRunOptions& options);
    void set_up();
    void live();
    void scrub();
    bool drop_lines();
    void go_on();
    [[nodiscard]] bool wait(bool (ClusterRun::*is_so)(), uint64_t limit_ns, const char* why);
    void fail(const std::string& why);

    // Hosts.
    void submit(Host& host);
    void prepare(Host& host);
    void ended(Host& host);
    void forget_requests_of(uint32_t head);

    // Faults.
    void fault();
    void do_fault(Fault kind);
    void heal_some();
    void stop_faults();
    [[nodiscard]] sim::NodeId any_store();
    [[nodiscard]] sim::NodeId any_head();
    void crash_store(StoreMachine& store, sim::Crash how);
    void crash_head(uint32_t head, sim::Crash how);
    void crash_head_and_store(StoreMachine& store);
    void make_old_head(StoreMachine& store);
    void rot();
    [[nodiscard]] uint32_t open_head() const;
    void take_over_from(uint32_t head);

    // The end.
    void finish();
    [[nodiscard]] bool are_all_serving();
    [[nodiscard]] bool are_all_answered();
    [[nodiscard]] bool has_settled();
    [[nodiscard]] std::string describe_heads() const;
    void read_all();
    void scrub_all();
    [[nodiscard]] bool spoil();
    void read_spoilt(uint32_t head);
    [[nodiscard]] bool is_scrubbed();
    void look_at_stores();
    void look_at_lines();
    void add_statistics(uint32_t head);

    const ClusterRunOptions options_;
    const Settings settings_;
    const basalt::test::MayLeak may_leak_{};  // What is under way when power is lost never ends.
    Random random_;
    Random scrub_random_;
    Random line_random_;
    sim::World world_;
    SimAuthority authority_;
    std::vector<std::unique_ptr<StoreMachine>> stores_;
    std::vector<std::unique_ptr<HeadMachine>> heads_;
    std::vector<Host> hosts_;
    std::vector<Fault> faults_;
    const uint32_t rotten_store_;
    bool has_rot_ = false;
    History history_;
    std::vector<Line> lines_;
    std::vector<OpNumber> doomed_;   // Lines that are to be deleted,
    std::vector<OpNumber> dropped_;  // and that have been.
    std::vector<uint64_t> final_;    // What a host read in the end.
    ClusterRunResult result_;
};

}  // namespace basalt::replication::test
