#include "nvmf/target/io/fused_pair.h"

#include <cstring>
#include <utility>

#include "nvmf/target/command_executor.h"
#include "nvmf/target/connection.h"
#include "nvmf/target/io_commands.h"
#include "nvmf/target/poll_group.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/wire/command.h"

namespace basalt::nvmf {

namespace {

constexpr BufferPool::Counts kPairBuffers{0, 0, kFusedPairs};
constexpr uint32_t kHalfBytes = FusedPairs::kBufferBytes / 4;
static_assert(kFusedBytesMax <= kHalfBytes);
static_assert(kAdminCapsuleDataBytes <= kFusedBytesMax, "a half takes whatever a capsule brings");

/// The device's part of a half, to be submitted.
bdev::IoRequest& prepare(Request& request, bdev::IoOp op) {
    const RwView command(request.sqe);
    bdev::IoRequest& io = request.io;
    io.op = op;
    io.first = command.slba();
    io.count = command.nlb();
    const bool is_durable = command.fua() || (op == bdev::IoOp::kWrite &&
                                              request.connection().link.settings.is_write_through);
    io.fua = is_durable ? bdev::Fua::kYes : bdev::Fua::kNo;
    io.pieces = &request.piece;
    io.piece_count = 1;
    return io;
}

}  // namespace

FusedPair::FusedPair(PollGroup& group, FusedPairs& owner, Buffer buffer)
    : group_(group),
      owner_(owner),
      buffer_(buffer),
      fence_(
          group,
          [](void* self) { static_cast<FusedPair*>(self)->compare(); },
          [](void* self) {
              FusedPair& pair = *static_cast<FusedPair*>(self);
              std::exchange(pair.namespace_, nullptr)->release();
              pair.free_if_unused();
          },
          this) {
    partner_timer_.set([](Timer&, void* self) { static_cast<FusedPair*>(self)->partner_missing(); },
                       this);
}

std::byte* FusedPair::memory(Fuse half) const {
    return buffer_.data + (half == Fuse::kSecond ? kHalfBytes : 0);
}

void FusedPair::add(Request& request) {
    request.fused = this;
    if (request.sqe.fuse() == Fuse::kFirst) {
        BASALT_ASSERT(state_ == State::kFree);
        state_ = State::kHasFirst;
        first_ = &request;
        is_first_refused_ = false;
        connection_ = &request.connection();
        // The pair may outlive the connection, and its buffer counts as the host's.
        host_ = &group_.hosts().join(connection_->link.host_nqn);
        connection_->half_pair = this;
    } else {
        BASALT_ASSERT(state_ == State::kHasFirst);
        group_.reactor().stop_timer(partner_timer_);
        connection_->half_pair = nullptr;
        state_ = State::kReceiving;
        second_ = &request;
    }
}

void FusedPair::capsule_received(Request& request) {
    is_busy_ = true;
    if (&request == first_) {
        first_received();
    } else {
        second_received();
    }
    is_busy_ = false;
    free_if_unused();
}

NvmeStatus FusedPair::judge(Request& request) {
    if (request.is_abort_wanted) {
        return status::kAbortRequested;
    }
    if (request.has_digest_error) {
        return status::kTransientTransportError;
    }
    return request.early_status.ok() ? check_command(request) : request.early_status;
}

void FusedPair::complete(Request& request, NvmeStatus status) {
    if (request.is_abort_wanted && status.is(status::kAbortRequested)) {
        request.connection().finish_abort(request);
    } else {
        request.connection().complete(request, status);
    }
}

void FusedPair::first_received() {
    group_.reactor().start_timer(partner_timer_, kFusedPartnerTimeoutNs);
    first_->early_status = judge(*first_);
    if (first_->early_status.ok()) {
        first_->set_state(Request::State::kAwaitingPartner);
        return;
    }
    is_first_refused_ = true;
    complete(*first_, first_->early_status);
}

void FusedPair::second_received() {
    if (is_first_refused_) {
        complete(*second_, status::kAbortedFailedFused.with_dnr());
        state_ = State::kDone;
        return;
    }
    const NvmeStatus verdict = judge(*second_);
    if (!verdict.ok()) {
        end(status::kAbortedFailedFused.with_dnr(), verdict);
        return;
    }
    const RwView compare(first_->sqe);
    const RwView write(second_->sqe);
    if (first_->sqe.nsid() != second_->sqe.nsid() || compare.slba() != write.slba() ||
        compare.nlb() != write.nlb()) {
        end(status::kInvalidField.with_dnr(), status::kInvalidField.with_dnr());
        return;
    }
    data_awaited_ = 0;
    for (Request* request : {first_, second_}) {
        receive_data(*request);
    }
    if (data_awaited_ == 0) {
        execute();
    }
}

void FusedPair::receive_data(Request& request) {
    if (request.is_data_in_capsule) {
        if (request.state() != Request::State::kAwaitingPartner) {
            request.set_state(Request::State::kAwaitingPartner);
        }
        return;
    }
    ++data_awaited_;
    request.piece = iovec{memory(request.sqe.fuse()), request.data_bytes};
    request.connection().ask_for_data(request);
}

void FusedPair::data_received(Request& request) {
    request.set_state(Request::State::kAwaitingPartner);
    if (--data_awaited_ > 0) {
        return;
    }
    is_busy_ = true;
    execute();
    is_busy_ = false;
    free_if_unused();
}

NvmeStatus FusedPair::judge_both() {
    // The namespaces and reservations may have changed since.
    for (Request* request : {first_, second_}) {
        const NvmeStatus verdict = judge(*request);
        if (!verdict.ok()) {
            const bool is_first = request == first_;
            end(is_first ? verdict : status::kAbortedFailedFused.with_dnr(),
                is_first ? status::kAbortedFailedFused.with_dnr() : verdict);
            return verdict;
        }
    }
    return status::kSuccess;
}

void FusedPair::execute() {
    if (!judge_both().ok()) {
        return;
    }
    for (Request* request : {first_, second_}) {
        request->set_state(Request::State::kExecuting);
        request->connection().hold();
    }
    const Nsid nsid = first_->sqe.nsid();
    namespace_ = first_->connection().link.subsystem->find_namespace(nsid);
    BASALT_ASSERT(namespace_ != nullptr);  // Judged before.
    namespace_->acquire();
    state_ = State::kFencing;
    const RwView command(first_->sqe);
    fence_.acquire(*namespace_->config().bdev, nsid, {command.slba().raw(), command.nlb().raw()});
}

void FusedPair::compare() {
    BASALT_ASSERT(state_ == State::kFencing);
    if (connection_->is_closing()) {
        // Nobody would hear whether the write has happened: better not.
        end(status::kAbortRequested, status::kAbortedFailedFused);
        return;
    }
    // While the fence was awaited another host may have taken the right to write, or made the
    // namespace read-only, or another device may have come in its place.
    if (!judge_both().ok()) {
        return;
    }
    if (first_->connection().link.subsystem->find_namespace(first_->sqe.nsid()) != namespace_) {
        end(status::kNamespaceNotReady, status::kAbortedFailedFused);
        return;
    }
    BASALT_ASSERT(namespace_ != nullptr);  // Or the pair has ended above.
    state_ = State::kComparing;
    if (!namespace_->info().can(bdev::IoOp::kCompare)) {
        compare_by_reading();
        return;
    }
    bdev::IoRequest& io = prepare(*first_, bdev::IoOp::kCompare);
    io.push_completion([](bdev::IoRequest& done,
                          void* self) { static_cast<FusedPair*>(self)->compared(done.status); },
                       this);
    namespace_->channel().submit(io);
}

void FusedPair::compare_by_reading() {
    stored_ = iovec{buffer_.data + size_t{2} * kHalfBytes, first_->data_bytes};
    bdev::IoRequest& io = prepare(*first_, bdev::IoOp::kRead);
    io.pieces = &stored_;
    io.push_completion(
        [](bdev::IoRequest& done, void* self) {
            FusedPair& pair = *static_cast<FusedPair*>(self);
            const iovec& stored = pair.stored_;
            const bool is_equal =
                std::memcmp(stored.iov_base, pair.first_->piece.iov_base, stored.iov_len) == 0;
            pair.compared(done.status && !is_equal ? Status(Errc::kCompareMismatch) : done.status);
        },
        this);
    namespace_->channel().submit(io);
}

void FusedPair::compared(Status outcome) {
    BASALT_ASSERT(state_ == State::kComparing);
    const NvmeStatus answer =
        outcome ? status::kSuccess : to_nvme_status(outcome.error(), MediaAccess::kRead);
    count_outcome(*first_, *namespace_, outcome, answer);
    if (!outcome) {
        end(answer, status::kAbortedFailedFused.with_dnr());
        return;
    }
    state_ = State::kWriting;
    bdev::IoRequest& io = prepare(*second_, bdev::IoOp::kWrite);
    io.push_completion([](bdev::IoRequest& done,
                          void* self) { static_cast<FusedPair*>(self)->written(done.status); },
                       this);
    namespace_->channel().submit(io);
}

void FusedPair::written(Status outcome) {
    BASALT_ASSERT(state_ == State::kWriting);
    const NvmeStatus answer =
        outcome ? status::kSuccess : to_nvme_status(outcome.error(), MediaAccess::kWrite);
    count_outcome(*second_, *namespace_, outcome, answer);
    end(status::kSuccess, answer);
}

void FusedPair::end(NvmeStatus first, NvmeStatus second) {
    const bool has_fence = !fence_.is_idle();
    state_ = State::kDone;
    // Completing may free a request at once, which takes its half of the pair away.
    Request& one = *first_;
    Request& other = *second_;
    complete(one, first);
    complete(other, second);
    if (has_fence) {
        fence_.release();
    }
}

void FusedPair::partner_missing(NvmeStatus status) {
    BASALT_ASSERT(state_ == State::kHasFirst);
    group_.reactor().stop_timer(partner_timer_);
    connection_->half_pair = nullptr;
    is_busy_ = true;
    state_ = State::kDone;
    Request* first = first_;
    if (first != nullptr && !is_first_refused_) {
        first->connection().complete(*first, status);
    }
    is_busy_ = false;
    free_if_unused();
}

void FusedPair::forget(const Request& request) {
    BASALT_ASSERT(&request == first_ || &request == second_);
    (&request == first_ ? first_ : second_) = nullptr;
    free_if_unused();
}

void FusedPair::free_if_unused() {
    if (is_busy_ || first_ != nullptr || second_ != nullptr || !fence_.is_idle() ||
        state_ == State::kFree) {
        return;
    }
    // A first half that was refused and answered: the pair goes on waiting for the second.
    if (state_ == State::kHasFirst && is_first_refused_) {
        return;
    }
    BASALT_ASSERT(!partner_timer_.is_running());
    state_ = State::kFree;
    HostShare& host = *std::exchange(host_, nullptr);
    owner_.pool().release(buffer_, host.pairs);
    group_.hosts().leave(host);
}

// --- FusedPairs --------------------------------------------------------------------------------

size_t FusedPairs::region_bytes() {
    return BufferPool::region_bytes(kPairBuffers);
}

FusedPairs::FusedPairs(PollGroup& group, std::span<std::byte> region)
    : region_(region.data()), pool_(region, kPairBuffers) {
    for (uint32_t i = 0; i < kFusedPairs; ++i) {
        const Buffer buffer{region_ + size_t{i} * kBufferBytes, kBufferBytes, 2};
        pairs_.push_back(std::make_unique<FusedPair>(group, *this, buffer));
    }
}

FusedPair& FusedPairs::pair_of(Buffer buffer) {
    const auto index = static_cast<size_t>(buffer.data - region_) / kBufferBytes;
    return *pairs_[index];
}

}  // namespace basalt::nvmf
