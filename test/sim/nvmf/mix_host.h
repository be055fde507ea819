#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "reactor/io/random.h"
#include "test/nvmf/target/raw_host.h"

namespace basalt::nvmf {

/// What the blocks of an area must hold. A block is a number, repeated; 0 is a block of zeroes.
class MixModel {
  public:
    enum class State : uint8_t {
        kFree,
        kBusy,     ///< A command under way reads or writes it.
        kUnknown,  ///< A command that changes it had no answer: never used again.
    };
    struct Range {
        uint64_t first = 0;  ///< From the start of the area.
        uint32_t count = 0;
    };

    explicit MixModel(uint64_t blocks) : values_(blocks), states_(blocks) {}

    /// A range of free blocks, made busy; none after some tries.
    [[nodiscard]] std::optional<Range> take(Random& random, uint32_t count_max);
    void give(const Range& range, State state);
    void fill(const Range& range, uint64_t value);
    [[nodiscard]] uint64_t value(uint64_t block) const { return values_[block]; }
    [[nodiscard]] State state(uint64_t block) const { return states_[block]; }
    [[nodiscard]] uint64_t blocks() const { return values_.size(); }

    /// The bytes of a range as it must be.
    [[nodiscard]] Bytes content(const Range& range) const;
    [[nodiscard]] static Bytes content(const Range& range, uint64_t value);

  private:
    std::vector<uint64_t> values_;
    std::vector<State> states_;
};

/// A host that does all that a host may: commands of every kind at once, Aborts, admin commands
/// that other cores have a part in, resets of its controller, and connections that break off; and
/// that knows what each answer must be. It works on an area of its own of two namespaces, so that
/// nobody else explains what it finds.
///
/// turn() does what is due and at most one new thing; the test lets the world run in between.
class MixHost {
  public:
    static constexpr uint64_t kAreaBlocks = 512;
    static constexpr uint32_t kNamespaces = 2;

    struct Options {
        uint32_t number = 1;  ///< Of 1 to 4: its area, and its host identifier.
        std::array<Nsid, kNamespaces> namespaces{Nsid(1), Nsid(3)};
        uint64_t commands = 200;
        bool breaks_off = true;         ///< Closes connections now and then.
        bool network_is_exact = false;  ///< What is sent on two connections arrives in that order.
    };
    /// What has happened, so that a test can see that all of it was tried.
    struct Counts {
        uint64_t answered = 0;
        uint64_t unanswered = 0;  ///< Their connection ended, or their controller was reset.
        uint64_t mismatches = 0;  ///< Compares that had to fail, and did.
        uint64_t aborted = 0;
        uint64_t resets = 0;
        uint64_t connections = 0;
    };

    MixHost(TargetWorld& world, uint64_t seed, const Options& options);

    void turn();
    /// No more commands from now on; ends when the last is answered.
    [[nodiscard]] bool is_done() const { return is_over_ && pending_.empty(); }
    /// Grows while there is something to do.
    [[nodiscard]] uint64_t steps() const { return steps_; }
    /// Reads all that is known, over a connection that must hold. After is_done().
    void check_all();

    [[nodiscard]] const Counts& counts() const { return counts_; }
    /// What was wrong; empty: nothing.
    [[nodiscard]] const std::vector<std::string>& errors() const { return errors_; }

  private:
    enum class Phase : uint8_t {
        kDown,       ///< turn(), by connecting.
        kAdmin,      ///< The answer to Connect.
        kEnabling,   ///< The answer to Property Set.
        kIo,         ///< The answer to the I/O queue's Connect.
        kRunning,    ///< A reset, or the end of a connection.
        kResetting,  ///< The answer to Property Set.
        kReset,      ///< Some turns without an answer.
    };
    enum class Kind : uint8_t {
        kWrite,
        kRead,
        kCompare,
        kZero,
        kDeallocate,
        kCopy,
        kVerify,
        kFlush,
        kFused,  ///< Compare and Write: one entry for both.
        kRegister,
        kReport,
        kCount,
    };
    struct Pending {
        Kind kind = Kind::kFlush;
        CommandId cid;
        uint32_t space = 0;                   ///< Of options_.namespaces.
        std::vector<MixModel::Range> ranges;  ///< Of Copy: the destination first.
        uint64_t value = 0;                   ///< That a write leaves.
        bool must_mismatch = false;
        bool is_abort_sent = false;
        bool is_aborted = false;  ///< So says the answer to the Abort.
        Bytes payload;
        CommandId second;  ///< Of a fused pair.
        std::optional<NvmeStatus> first_status{};
        std::optional<NvmeStatus> second_status{};
    };

    void connect_admin();
    void connect_io();
    void go_down();
    void take_answers();
    void take_io_answer(const Cqe& cqe);
    void take_admin_answer(const Cqe& cqe);
    void answer_r2ts();
    void do_something();
    void begin_command();
    bool fill_in(Pending& pending, Sqe& sqe);
    bool prepare_ranges(Pending& pending, Sqe& sqe);
    void submit_fused(Pending& pending);
    void submit(Pending pending, const Sqe& sqe);
    void begin_abort();
    void begin_reset();
    void ask_admin();
    void finish(Pending& pending, NvmeStatus status);
    void check_data(const Pending& pending);
    [[nodiscard]] bool is_right(const Pending& pending, NvmeStatus status) const;
    void apply(const Pending& pending);
    void fail(std::string what);
    [[nodiscard]] Pending* find(CommandId cid);
    [[nodiscard]] CommandId next_cid() { return CommandId(next_cid_++); }
    [[nodiscard]] uint64_t base() const { return (options_.number - 1) * kAreaBlocks; }

    TargetWorld& world_;
    Random random_;
    const Options options_;
    std::array<MixModel, kNamespaces> models_{MixModel(kAreaBlocks), MixModel(kAreaBlocks)};
    Phase phase_ = Phase::kDown;
    std::optional<RawHost> admin_;
    std::optional<RawHost> io_;
    ControllerId cntlid_;
    size_t admin_seen_ = 0;  // Of admin_->answers, io_->answers: those dealt with.
    size_t io_seen_ = 0;
    std::vector<std::unique_ptr<Pending>> pending_;
    std::vector<std::pair<CommandId, CommandId>>
        aborts_;                  // The Abort's own identifier, its victim's.
    std::set<uint16_t> aborted_;  // Victims that have ended by it.
    std::set<uint16_t> asked_;    // Admin commands whose answers are of no account.
    CommandId reset_cid_;
    uint32_t quiet_turns_ = 0;
    uint16_t next_cid_ = 2;
    uint64_t issued_ = 0;
    uint64_t last_value_ = 0;
    uint64_t steps_ = 0;
    bool is_over_ = false;
    Counts counts_;
    std::vector<std::string> errors_;
};

}  // namespace basalt::nvmf
