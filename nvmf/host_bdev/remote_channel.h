#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>

#include "bdev/core/bdev.h"
#include "nvmf/host_bdev/core_paths.h"
#include "nvmf/host_bdev/remote_bdev.h"
#include "nvmf/host_bdev/retry_rules.h"
#include "nvmf/initiator/host_command.h"

namespace basalt::nvmf {

/// A namespace on one core. A request takes an operation, or waits in line when all are taken; the
/// operation goes in steps of what a command may transfer, each on the path that is best then, and
/// each again as the retry rules say.
///
///   kFree -> kDispatching -> kOnPath -> kFree
///                ^  |           |
///                |  +-> kWaiting <--+ (no path: on_paths_changed)
///                |      kFenced  <--+ (the old path may still do it: on_paths_changed)
///                +----- kPausing <--+ (timer)
///
/// Owner: whoever opened it. Core: the one it was opened on.
class RemoteChannel final : public bdev::BdevChannel, private PathUser {
  public:
    RemoteChannel(CorePaths& paths, RemoteShared& shared);
    RemoteChannel(const RemoteChannel&) = delete;
    RemoteChannel& operator=(const RemoteChannel&) = delete;
    ~RemoteChannel() override;

    void submit(bdev::IoRequest& request) override;

  private:
    /// One range of Dataset Management: NVM Command Set Specification, Dataset Management.
    struct DsmRange {
        Le32 attributes;
        Le32 blocks;
        Le64 first;
    };
    static_assert(sizeof(DsmRange) == 16);

    /// Each comment names who moves the operation out of the state.
    enum class State : uint8_t {
        kFree,         ///< start().
        kDispatching,  ///< dispatch(), at once.
        kOnPath,       ///< HostQueue, by completing the command.
        kWaiting,      ///< CorePaths, when a path has come.
        kFenced,       ///< CorePaths, when the fence is lifted.
        kPausing,      ///< Its timer.
    };

    struct Operation {
        HostCommand command;
        RemoteChannel* channel = nullptr;
        bdev::IoRequest* request = nullptr;
        PiecePosition at{};        // Of the step in the request's memory.
        uint64_t done_blocks = 0;  // By earlier steps.
        uint64_t step_blocks = 0;  // By this one.
        Attempts attempts{};       // Of this step.
        uint32_t path = 0;         // Of the last attempt,
        uint32_t epoch = 0;        // and its association.
        State state = State::kFree;
        DsmRange range{};
        iovec piece{};
        Timer timer;
        ListLink link;
    };
    using Operations = IntrusiveList<Operation, &Operation::link>;

    // PathUser.
    void on_paths_changed() override;

    void start(Operation& operation, bdev::IoRequest& request);
    /// Sends the next step, if it can be sent now. `avoid` is a path that has just failed it;
    /// false, and nothing is done, if there is no other.
    bool dispatch(Operation& operation, std::optional<uint32_t> avoid = std::nullopt);
    [[nodiscard]] std::optional<uint8_t> choose(std::optional<uint32_t> avoid);
    void build(Operation& operation);
    void build_transfer(Operation& operation, uint8_t opcode);
    void build_zeroes(Operation& operation);
    void build_deallocate(Operation& operation);
    [[nodiscard]] bool is_lost(const Operation& operation) const;
    void on_answer(Operation& operation);
    void retry(Operation& operation, const Judgement& judgement, bool is_ana);
    void pause(Operation& operation, uint64_t delay_ns);
    void step_done(Operation& operation, Status outcome);
    void finish(Operation& operation, Status outcome);
    /// As finish(), from where completing at once could be inside submit().
    void finish_later(Operation& operation, Error why);
    void start_from_line();
    bdev::IoRequest& release(Operation& operation);
    [[nodiscard]] NamespaceTable& table() { return shared_.tables.on(here_); }

    Reactor& here_;
    CorePaths& paths_;
    RemoteShared& shared_;
    std::unique_ptr<Operation[]> operations_;
    Operations free_;
    Operations waiting_;
    Operations fenced_;
    bdev::HeldRequests line_;
    OwnedEvent<RemoteChannel, &RemoteChannel::start_from_line> line_event_{*this};
    PathCursor cursor_;
};

}  // namespace basalt::nvmf
