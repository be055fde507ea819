#pragma once

#include <cstdint>

#include "nvmf/host_bdev/limits.h"
#include "reactor/base/result.h"

namespace basalt::nvmf {

/// How a lost controller is got back, in SPDK's words.
struct ReconnectOptions {
    /// How long it is tried until the path is given up; -1: for ever; 0: not at all.
    int32_t ctrlr_loss_timeout_sec = kControllerLossTimeoutSec;
    /// The longest pause between attempts. 0 only where nothing is tried.
    uint32_t reconnect_delay_sec = kReconnectDelaySec;
    /// How long commands wait for the path before they fail; 0: as long as it is tried.
    uint32_t fast_io_fail_timeout_sec = 0;

    bool operator==(const ReconnectOptions&) const = default;
};

/// Checks the three against each other, as SPDK does. Errors: kInvalidArgument.
[[nodiscard]] Status validate(const ReconnectOptions& options);

/// Decides what happens when a controller is lost: a pure state machine, told events and times,
/// that says what to do. Owner: a ControllerSession.
///
///   kConnected --lost--> kAttempting <--> kPausing --give up--> kGone
///        ^----------------------'
class ReconnectPolicy {
  public:
    enum class Event : uint8_t {
        kConnected,      ///< An attempt has succeeded.
        kAttemptFailed,  ///< And this one not.
        kLost,           ///< The controller was connected, and is no more.
        kTimer,          ///< Time has passed.
        kRetryNow,       ///< Somebody wants it tried, given up or not.
    };
    enum class State : uint8_t { kAttempting, kConnected, kPausing, kGone };

    struct Actions {
        bool connect = false;            ///< Begin an attempt.
        bool fail_commands = false;      ///< Commands need not wait for this path any more.
        bool give_up = false;            ///< The path is gone; an attempt under way is of no use.
        uint64_t timer_ns = UINT64_MAX;  ///< When to come with kTimer.
    };

    /// Starts with an attempt under way, which is the user's first.
    explicit ReconnectPolicy(const ReconnectOptions& options) : options_(options) {}

    [[nodiscard]] Actions apply(Event event, uint64_t now_ns);
    [[nodiscard]] State state() const { return state_; }
    [[nodiscard]] const ReconnectOptions& options() const { return options_; }

  private:
    void begin_pause(uint64_t now_ns);
    [[nodiscard]] uint64_t timer_ns() const;

    ReconnectOptions options_;
    State state_ = State::kAttempting;
    uint64_t pause_ns_ = 0;       // The next pause.
    uint64_t attempt_at_ns_ = 0;  // In kPausing.
    uint64_t fail_at_ns_ = UINT64_MAX;
    uint64_t give_up_at_ns_ = UINT64_MAX;
};

}  // namespace basalt::nvmf
