#include "nvmf/host_bdev/remote_channel.h"

#include <algorithm>
#include <utility>

#include "bdev/core/deferred.h"
#include "nvmf/wire/command_build.h"

namespace basalt::nvmf {

using bdev::IoOp;
using bdev::IoRequest;

namespace {

/// NVM Command Set Specification, Write Zeroes: command dword 12.
constexpr uint32_t kDeallocateZeroes = 1U << 25U;
/// Read, Write, Compare and Write Zeroes count their blocks in 16 bits.
constexpr uint64_t kCommandBlocksMax = 65536;
/// Dataset Management in 32.
constexpr uint64_t kDeallocateBlocksMax = 0xffffffffU;

/// The bytes of the longest run of pieces from `at` on that one command can take.
uint64_t reachable_bytes(const IoRequest& request, const PiecePosition& at) {
    const size_t end = std::min<size_t>(request.piece_count, at.index + size_t{kHostPiecesMax});
    uint64_t bytes = 0;
    for (size_t i = at.index; i < end; ++i) {
        bytes += request.pieces[i].iov_len;
    }
    return bytes - at.offset_bytes;
}

void advance(const IoRequest& request, PiecePosition& at, uint64_t bytes) {
    at.offset_bytes += bytes;
    while (at.index < request.piece_count && at.offset_bytes >= request.pieces[at.index].iov_len) {
        at.offset_bytes -= request.pieces[at.index].iov_len;
        ++at.index;
    }
}

bool has_range(IoOp op) {
    return op != IoOp::kFlush;
}

}  // namespace

RemoteChannel::RemoteChannel(CorePaths& paths, RemoteShared& shared)
    : here_(paths.here()),
      paths_(paths),
      shared_(shared),
      operations_(std::make_unique<Operation[]>(kRemoteOperations)) {
    for (uint32_t i = 0; i < kRemoteOperations; ++i) {
        Operation& operation = operations_[i];
        operation.channel = this;
        operation.command.set_done(
            [](HostCommand&, void* context) {
                auto& done = *static_cast<Operation*>(context);
                done.channel->on_answer(done);
            },
            &operation);
        operation.timer.set(
            [](Timer&, void* context) {
                auto& due = *static_cast<Operation*>(context);
                due.state = State::kDispatching;
                due.channel->dispatch(due);
            },
            &operation);
        free_.push_back(operation);
    }
    paths_.add(*this);
}

RemoteChannel::~RemoteChannel() {
    CorePaths::remove(*this);
    // Only a loss of power leaves requests here.
    BASALT_ASSERT((line_.empty() && waiting_.empty() && fenced_.empty()) || here_.is_abandoned());
    line_.clear();
    free_.clear();
    waiting_.clear();
    fenced_.clear();
}

void RemoteChannel::submit(IoRequest& request) {
    const bool wants_durability = request.op == IoOp::kFlush || request.fua == bdev::Fua::kYes;
    if (wants_durability && shared_.has_lost_writes.load(std::memory_order_relaxed)) [[unlikely]] {
        complete_later(here_, request, Errc::kIo);
        return;
    }
    if (request.op == IoOp::kFlush && !shared_.has_volatile_cache) {
        complete_later(here_, request, kOk);  // Every completed write is durable already.
        return;
    }
    Operation* operation = free_.pop_front();
    if (operation == nullptr) {
        line_.push_back(request);
        return;
    }
    start(*operation, request);
}

void RemoteChannel::start(Operation& operation, IoRequest& request) {
    BASALT_ASSERT(operation.state == State::kFree);
    operation.request = &request;
    operation.at = PiecePosition{};
    operation.done_blocks = 0;
    operation.attempts = Attempts{};
    operation.state = State::kDispatching;
    dispatch(operation);
}

// --- Sending ---------------------------------------------------------------------------------

std::optional<uint8_t> RemoteChannel::choose(std::optional<uint32_t> avoid) {
    const NamespaceTable& rules = table();
    std::array<PathView, kPathsMax> views;
    for (uint32_t i = 0; i < kPathsMax; ++i) {
        const bool is_candidate = rules.access[i] != PathAccess::kNone && avoid != i;
        views[i] = PathView{.access = rules.access[i],
                            .is_connected = is_candidate && paths_.live_queue(i) != nullptr,
                            .in_flight = paths_.in_flight(i)};
    }
    return select_path(views, rules.rules, cursor_);
}

bool RemoteChannel::dispatch(Operation& operation, std::optional<uint32_t> avoid) {
    BASALT_ASSERT(operation.state == State::kDispatching);
    const NamespaceTable& rules = table();
    if (rules.is_gone) [[unlikely]] {
        finish_later(operation, Error(Errc::kDeviceGone));
        return true;
    }
    const std::optional<uint8_t> path = choose(avoid);
    if (!path) {
        if (avoid) {
            return false;
        }
        if (rules.fails_now) {
            finish_later(operation, Error(Errc::kUnreachable));
            return true;
        }
        operation.state = State::kWaiting;
        waiting_.push_back(operation);
        return true;
    }
    operation.path = *path;
    operation.epoch = paths_.epoch(*path);
    build(operation);
    operation.state = State::kOnPath;
    ++paths_.in_flight(*path);
    const Status accepted = paths_.live_queue(*path)->submit(operation.command);
    BASALT_ASSERT(accepted.has_value());  // A live queue takes everything.
    return true;
}

void RemoteChannel::build(Operation& operation) {
    operation.command.pieces = {};
    operation.command.start = PiecePosition{};
    operation.command.data_bytes = 0;
    switch (operation.request->op) {
        case IoOp::kRead: build_transfer(operation, nvme_cmd_read); return;
        case IoOp::kWrite: build_transfer(operation, nvme_cmd_write); return;
        case IoOp::kCompare: build_transfer(operation, nvme_cmd_compare); return;
        case IoOp::kWriteZeroes: build_zeroes(operation); return;
        case IoOp::kUnmap: build_deallocate(operation); return;
        case IoOp::kFlush:
            operation.command.sqe = make_command(nvme_cmd_flush, CommandId(0), shared_.nsid);
            return;
    }
}

void RemoteChannel::build_transfer(Operation& operation, uint8_t opcode) {
    const IoRequest& request = *operation.request;
    HostCommand& command = operation.command;
    uint64_t bytes = (request.count.raw() - operation.done_blocks) * shared_.block_bytes;
    bytes = std::min<uint64_t>(bytes, paths_.transfer_bytes_max(operation.path));
    if (request.piece_count > kHostPiecesMax) [[unlikely]] {
        bytes = std::min(bytes, reachable_bytes(request, operation.at));
    }
    operation.step_blocks = std::min(bytes / shared_.block_bytes, kCommandBlocksMax);
    command.sqe = make_command(opcode, CommandId(0), shared_.nsid);
    set_range(command.sqe,
              request.first + BlockCount(operation.done_blocks),
              BlockCount(operation.step_blocks),
              request.fua == bdev::Fua::kYes ? Fua::kYes : Fua::kNo);
    const size_t first = operation.at.index;
    const size_t count = std::min<size_t>(request.piece_count - first, kHostPiecesMax);
    command.pieces = {request.pieces + first, count};
    command.start = PiecePosition{.offset_bytes = operation.at.offset_bytes};
    command.data_bytes = static_cast<uint32_t>(operation.step_blocks * shared_.block_bytes);
}

void RemoteChannel::build_zeroes(Operation& operation) {
    const IoRequest& request = *operation.request;
    // Before NVMe 2.0 a controller can't say how much it zeroes at once; Linux takes MDTS too.
    const uint64_t path_blocks = paths_.transfer_bytes_max(operation.path) / shared_.block_bytes;
    operation.step_blocks =
        std::min({request.count.raw() - operation.done_blocks, path_blocks, kCommandBlocksMax});
    Sqe& sqe = operation.command.sqe;
    sqe = make_command(nvme_cmd_write_zeroes, CommandId(0), shared_.nsid);
    set_range(sqe,
              request.first + BlockCount(operation.done_blocks),
              BlockCount(operation.step_blocks),
              request.fua == bdev::Fua::kYes ? Fua::kYes : Fua::kNo);
    if (request.may_deallocate && shared_.zeroes_may_deallocate) {
        sqe.cdw12.set(sqe.cdw12.get() | kDeallocateZeroes);
    }
}

void RemoteChannel::build_deallocate(Operation& operation) {
    const IoRequest& request = *operation.request;
    operation.step_blocks =
        std::min(request.count.raw() - operation.done_blocks, kDeallocateBlocksMax);
    operation.range.blocks.set(static_cast<uint32_t>(operation.step_blocks));
    operation.range.first.set(request.first.raw() + operation.done_blocks);
    operation.piece = iovec{&operation.range, sizeof(operation.range)};
    operation.command.sqe = make_deallocate(CommandId(0), shared_.nsid, 1);
    operation.command.pieces = {&operation.piece, 1};
    operation.command.data_bytes = sizeof(operation.range);
}

// --- Answers ---------------------------------------------------------------------------------

/// True if the command ended with its connection instead of being answered.
bool RemoteChannel::is_lost(const Operation& operation) const {
    const Status& status = operation.command.status;
    return !status && status.error().detail == 0 && paths_.live_queue(operation.path) == nullptr;
}

void RemoteChannel::on_answer(Operation& operation) {
    BASALT_ASSERT(operation.state == State::kOnPath);
    --paths_.in_flight(operation.path);
    operation.state = State::kDispatching;
    const Status& status = operation.command.status;
    if (status) [[likely]] {
        step_done(operation, kOk);
        return;
    }
    const Judgement judgement = judge(operation.request->op,
                                      status,
                                      is_lost(operation),
                                      operation.attempts,
                                      table().retries_max,
                                      paths_.retry_delays(operation.path));
    if (judgement.verdict == Verdict::kDone) {
        step_done(operation, judgement.outcome);
        return;
    }
    const uint16_t detail = status.error().detail;
    retry(operation, judgement, detail != 0 && is_ana_status(NvmeStatus::from_raw(detail)));
}

void RemoteChannel::retry(Operation& operation, const Judgement& judgement, bool is_ana) {
    switch (judgement.verdict) {
        case Verdict::kDone: break;
        case Verdict::kRetry:
            ++operation.attempts.failed;
            pause(operation, judgement.delay_ns);
            return;
        case Verdict::kRetryElsewhere:
            ++operation.attempts.moved;
            if (is_ana) {
                // Until the log has been read again. Nobody needs to try meanwhile.
                table().access[operation.path] = PathAccess::kInaccessible;
                paths_.report_ana(operation.path);
                dispatch(operation);
            } else if (!dispatch(operation, operation.path)) {
                pause(operation, kRetryDelayNs);
            }
            return;
        case Verdict::kRetryLost:
            ++operation.attempts.moved;
            dispatch(operation);
            return;
        case Verdict::kRetryFenced:
            ++operation.attempts.moved;
            if (paths_.is_fenced(operation.path, operation.epoch)) {
                dispatch(operation);
                return;
            }
            operation.state = State::kFenced;
            fenced_.push_back(operation);
            return;
    }
}

void RemoteChannel::pause(Operation& operation, uint64_t delay_ns) {
    operation.state = State::kPausing;
    here_.start_timer(operation.timer, delay_ns);
}

void RemoteChannel::on_paths_changed() {
    Operations ready;
    ready.splice_back(waiting_);
    Operations held;
    held.splice_back(fenced_);
    while (Operation* operation = held.pop_front()) {
        const bool is_free = paths_.is_fenced(operation->path, operation->epoch);
        (is_free ? ready : fenced_).push_back(*operation);
    }
    while (Operation* operation = ready.pop_front()) {
        operation->state = State::kDispatching;
        dispatch(*operation);
    }
}

void RemoteChannel::step_done(Operation& operation, Status outcome) {
    const IoRequest& request = *operation.request;
    if (!outcome) {
        // A flush that the controller failed: what it was to save may be lost.
        if (request.op == IoOp::kFlush && outcome.error().detail != 0) {
            shared_.has_lost_writes.store(true, std::memory_order_relaxed);
        }
        finish(operation, outcome);
        return;
    }
    if (has_range(request.op)) {
        operation.done_blocks += operation.step_blocks;
        if (operation.done_blocks < request.count.raw()) {
            if (!operation.command.pieces.empty() && request.op != IoOp::kUnmap) {
                advance(request, operation.at, operation.command.data_bytes);
            }
            operation.attempts = Attempts{};
            dispatch(operation);
            return;
        }
    }
    finish(operation, kOk);
}

IoRequest& RemoteChannel::release(Operation& operation) {
    IoRequest& request = *std::exchange(operation.request, nullptr);
    operation.state = State::kFree;
    free_.push_front(operation);
    return request;
}

void RemoteChannel::finish(Operation& operation, Status outcome) {
    IoRequest& request = release(operation);
    if (IoRequest* next = line_.pop_front()) {
        Operation* freed = free_.pop_front();
        BASALT_ASSERT(freed != nullptr);
        start(*freed, *next);
    }
    request.complete(outcome);
}

void RemoteChannel::finish_later(Operation& operation, Error why) {
    IoRequest& request = release(operation);
    complete_later(here_, request, why);
    if (!line_.empty() && !line_event_.is_waiting()) {
        here_.defer(line_event_);
    }
}

/// Not from finish_later() itself: a long line that all fails would be as deep a stack.
void RemoteChannel::start_from_line() {
    while (!free_.empty() && !line_.empty()) {
        Operation* operation = free_.pop_front();
        IoRequest* next = line_.pop_front();
        BASALT_ASSERT(operation != nullptr && next != nullptr);
        start(*operation, *next);
    }
}

}  // namespace basalt::nvmf
