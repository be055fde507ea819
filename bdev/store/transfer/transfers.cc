#include "bdev/store/transfer/transfers.h"

#include <algorithm>
#include <utility>

#include "reactor/base/assert.h"
#include "reactor/base/log.h"

namespace basalt::bdev::store {

namespace {

/// Until it is asked again whether a transfer that was stopped has ended.
constexpr uint64_t kStopLookNs = 5 * kNsPerMs;

}  // namespace

Transfers::~Transfers() {
    BASALT_ASSERT(running_.empty() || control_.is_abandoned());
}

Result<uint64_t> Transfers::send(Pool& pool, StreamFiles& files, const SendOptions& options) {
    if (is_full()) {
        return Errc::kBusy;
    }
    auto sender = std::make_unique<SnapshotSender>(pool, files, options);
    BASALT_CHECK(sender->choose(options));
    return start(std::move(sender));
}

Result<uint64_t> Transfers::receive(Pool& pool, StreamFiles& files, const ReceiveOptions& options) {
    if (is_full()) {
        return Errc::kBusy;
    }
    return start(std::make_unique<SnapshotReceiver>(pool, files, options));
}

uint64_t Transfers::start(std::unique_ptr<Transfer> transfer) {
    Transfer& kept = *running_.emplace_back(std::move(transfer));
    const uint64_t id = next_id_++;
    kept.report().id = id;
    run(kept).detach();
    return id;
}

Task<void> Transfers::run(Transfer& transfer) {
    Task<Status> running = transfer.run();
    const Status status = co_await running;
    TransferReport report = transfer.report();
    report.ended_ns = control_.now_ns();
    report.state = TransferReport::State::kDone;
    if (!status) {
        const bool is_stopped = status.error().code == Errc::kCancelled;
        report.state =
            is_stopped ? TransferReport::State::kStopped : TransferReport::State::kFailed;
        report.problem = is_stopped ? "" : report.problem;
    }
    BASALT_LOG(kInfo,
               "store",
               "pool {}: {} of {} at {} has ended: {}; {} blocks of data{}{}",
               report.pool,
               report.is_send ? "sending" : "receiving",
               report.snapshot,
               report.path,
               status ? "all is there" : describe(status.error().code),
               report.data_blocks,
               report.problem.empty() ? "" : "; ",
               report.problem);
    ended_.push_back(std::move(report));
    if (ended_.size() > kTransfersTold) {
        ended_.pop_front();
    }
    running_.remove_if([&transfer](const auto& one) { return one.get() == &transfer; });
}

Transfer* Transfers::find(uint64_t id) {
    const auto found = std::find_if(
        running_.begin(), running_.end(), [id](const auto& one) { return one->report().id == id; });
    return found == running_.end() ? nullptr : found->get();
}

Task<Status> Transfers::stop(uint64_t id) {
    if (find(id) == nullptr) {
        co_return Errc::kNotFound;
    }
    for (Transfer* one = find(id); one != nullptr; one = find(id)) {
        one->stop();
        sleep_for pause(control_, kStopLookNs);
        co_await pause;
    }
    co_return kOk;
}

Task<void> Transfers::stop_all() {
    is_closed_ = true;
    while (!running_.empty()) {
        for (const std::unique_ptr<Transfer>& one : running_) {
            one->stop();
        }
        sleep_for pause(control_, kStopLookNs);
        co_await pause;
    }
}

std::vector<TransferReport> Transfers::reports() const {
    std::vector<TransferReport> all(ended_.begin(), ended_.end());
    for (const std::unique_ptr<Transfer>& one : running_) {
        all.push_back(one->report());
    }
    return all;
}

ResumeToken resume_token_of(const Catalogue& catalogue, const VolumeEntry& entry) {
    BASALT_ASSERT(entry.is_receiving);
    const Uuid* base = catalogue.user_of(catalogue.find_node(entry.head)->parent);
    return {entry.uuid, base == nullptr ? Uuid{} : *base, entry.received_blocks};
}

}  // namespace basalt::bdev::store
