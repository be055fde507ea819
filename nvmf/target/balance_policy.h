#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace basalt::nvmf {

/// What one reactor did in one period.
struct ReactorLoad {
    uint32_t busy_permille = 0;  ///< Time of turns that found work.
    uint32_t active_queues = 0;  ///< I/O queues that completed something.
    uint64_t work = 0;           ///< What its queues did, in units of QueueWork.
};

/// One I/O queue is to go from a reactor to another: the one that did as nearly `work` as there is
/// one, but less than `work_max`.
struct BalanceMove {
    uint32_t from = 0;
    uint32_t to = 0;
    uint64_t work = 0;
    uint64_t work_max = 0;
};

/// Decides whether the load is uneven and what would make it less so. Pure: it sees one period
/// after the other.
///
/// Uneven is: one reactor was busy for a fifth of the time more than another, and has at least two
/// queues at work, of which one can go; or both were busy nearly all of the time, when that says
/// nothing any more, and one has two active queues more than the other. It must have lasted for
/// kUnevenPeriods, and what has gone one way does not come back within kReturnPeriods: a load that
/// swings, or a queue that is heavier than it looked, moves nothing to and fro. Idle reactors are
/// even, however many queues they have: there is nothing to gain.
///
/// Owner: Target. Core: the control thread.
class BalancePolicy {
  public:
    static constexpr uint32_t kGapPermille = 200;
    static constexpr uint32_t kFullPermille = 900;
    static constexpr uint32_t kActiveQueuesGap = 2;
    static constexpr uint32_t kUnevenPeriods = 2;
    static constexpr uint32_t kReturnPeriods = 30;

    /// The loads of all reactors in the period that has ended, always of the same number. At most
    /// one move in two periods comes of it.
    [[nodiscard]] std::optional<BalanceMove> observe(std::span<const ReactorLoad> loads);

  private:
    struct Way {
        uint32_t from = 0;
        uint32_t to = 0;

        [[nodiscard]] bool operator==(const Way&) const = default;
    };

    [[nodiscard]] static std::optional<BalanceMove> even_time(std::span<const ReactorLoad> loads);
    [[nodiscard]] static std::optional<BalanceMove> even_number(std::span<const ReactorLoad> loads);

    std::optional<Way> uneven_;    // In the last period.
    uint32_t uneven_periods_ = 0;  // How long it has been.
    std::optional<Way> last_move_;
    uint32_t since_last_move_ = 0;
};

/// What a queue did, as a reactor's time goes: a command costs as much as 4 KiB of its data.
/// Measured on loopback with 4 KiB reads and 128 KiB writes (perf/README.md): 0.8 and 22 us.
[[nodiscard]] constexpr uint64_t queue_work(uint32_t data_bytes) {
    return 1 + data_bytes / 4096;
}

}  // namespace basalt::nvmf
