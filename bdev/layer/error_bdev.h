#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "bdev/core/bdev.h"
#include "bdev/core/per_core.h"
#include "reactor/task.h"

namespace basalt::bdev {

/// What an injected error does.
enum class InjectedError : uint8_t {
    kFailure,      ///< Completes with an error; the base never sees the request.
    kPending,      ///< Never completes, until the injection is cleared (then kIo).
    kCorruptData,  ///< Passes on, with one byte of the data changed on its way.
    kNoMemory,     ///< Completes with kNoMemory: the host is to try again.
};

/// What to inject. The next `count` requests of the operation are hit, on whatever core they come.
struct ErrorInjection {
    std::optional<IoOp> op;  ///< Nothing: every operation, each with a count of its own.
    InjectedError error = InjectedError::kFailure;
    Error failure{Errc::kIo};  ///< What kFailure completes with.
    uint32_t count = 1;
    uint32_t queue_depth = 0;     ///< Only while so many requests are under way in the channel.
    uint64_t corrupt_offset = 0;  ///< The byte of the request's data to change, where it has one.
    uint8_t corrupt_value = 0;    ///< What it is XORed with; not 0.
};

struct ErrorOptions {
    std::string name;
    Uuid uuid;  ///< Nil: a random one.
};

/// A layer that fails on request, in the manner of SPDK's. Owner: BdevRegistry. Each core has its
/// own rules; what they share is how many errors are left. Pending requests hold their channel
/// open: clear() before the device is taken away from its users.
class ErrorBdev final : public Bdev {
  public:
    /// `base` outlives the layer: the registry claims it.
    ErrorBdev(const ErrorOptions& options, Bdev& base);

    [[nodiscard]] const BdevInfo& info() const override { return info_; }
    [[nodiscard]] Bdev* base() const override { return &base_; }
    [[nodiscard]] BdevConfig describe() const override;
    [[nodiscard]] Result<std::unique_ptr<BdevChannel>> open_channel(Reactor& here) override;

    /// Replaces what is injected for that operation (or all). `cores` are all that have channels.
    /// Control thread. Errors: kInvalidArgument (corrupt_value 0 with kCorruptData, or an operation
    /// without data).
    [[nodiscard]] Task<Status> inject(Reactor& control,
                                      std::span<const CoreId> cores,
                                      ErrorInjection injection);

    /// Ends all injections, and completes what is pending with kIo.
    [[nodiscard]] Task<void> clear(Reactor& control, std::span<const CoreId> cores);

    /// Errors still to come for an operation.
    [[nodiscard]] uint32_t remaining(IoOp op) const {
        return remaining_[static_cast<uint32_t>(op)].load(std::memory_order_relaxed);
    }

  private:
    friend class ErrorChannel;
    struct CoreState {
        std::array<ErrorInjection, kIoOpCount> rules{};
        HeldRequests pending;

        ~CoreState() { pending.clear(); }  // Some are left only where the power was lost.
    };
    struct InjectVisit;
    static Task<void> inject_there(Reactor& there, InjectVisit& request);
    static Task<void> clear_there(Reactor& there, ErrorBdev& self);

    /// Takes one of the errors left for `op`. False if there is none.
    [[nodiscard]] bool take_one(IoOp op);

    Bdev& base_;
    BdevInfo info_;
    // Relaxed: a count, which orders nothing. Not zero only in tests of failure.
    std::array<std::atomic<uint32_t>, kIoOpCount> remaining_{};
    PerCore<CoreState> by_core_;
};

}  // namespace basalt::bdev
