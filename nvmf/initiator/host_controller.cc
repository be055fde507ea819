#include "nvmf/initiator/host_controller.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

#include "nvmf/wire/command_build.h"
#include "reactor/base/log.h"

namespace basalt::nvmf {

namespace {

// CC: enabled, submission entries of 2^6 and completion entries of 2^4 bytes, the NVM command set.
constexpr uint32_t kCcBase = (6U << 16U) | (4U << 20U);
constexpr uint32_t kCcEnable = 1U;
constexpr uint32_t kCcShutdownNormal = 1U << 14U;
constexpr uint32_t kCstsReady = 1U;
constexpr uint32_t kCstsFatal = 1U << 1U;
constexpr uint32_t kCstsShutdownMask = 3U << 2U;
constexpr uint32_t kCstsShutdownDone = 2U << 2U;

/// CAP.TO counts in half seconds.
constexpr uint64_t kCapTimeoutUnitNs = 500 * kNsPerMs;

/// Where MDTS says "no limit": more than one command of 16-bit block counts ever moves.
constexpr uint32_t kTransferBytesUnlimited = 32U << 20U;

/// The capsule's command comes out of IOCCSZ, which counts 16 bytes.
constexpr uint32_t kCapsuleUnitBytes = 16;

constexpr size_t kNamespaceListEntries = kIdentifyBytes / sizeof(uint32_t);
constexpr size_t kHostBehaviorBytes = 512;

}  // namespace

HostController::HostController(Reactor& reactor,
                               const HostOptions& options,
                               HostControllerUser* user)
    : reactor_(reactor), options_(options), user_(user) {
    keep_alive_timer_.set(&HostController::on_keep_alive_timer, this);
    shutdown_timer_.set(
        [](Timer&, void* self) {
            static_cast<HostController*>(self)->admin_->close(Error(Errc::kTimedOut));
        },
        this);
    make_admin_queue();
}

void HostController::make_admin_queue() {
    admin_ = std::make_unique<HostQueue>(reactor_, HostQueueOptions{.host = options_});
    admin_->set_closed(&HostController::on_admin_closed, this);
}

bool HostController::is_discovery() const {
    return identity_.cntrltype == NVME_CTRL_CNTRLTYPE_DISCOVERY;
}

uint32_t HostController::transfer_bytes_max() const {
    // MDTS is a power of two of CAP.MPSMIN's page, which is 4096 bytes on every fabrics controller.
    constexpr uint32_t kPageBits = 12;
    if (identity_.mdts == 0 || identity_.mdts + kPageBits >= 25) {
        return kTransferBytesUnlimited;
    }
    return 1U << (identity_.mdts + kPageBits);
}

// --- Life ------------------------------------------------------------------------------------

Task<Status> HostController::connect() {
    const Result<ControllerId> connected = co_await connect_admin();
    if (!connected) {
        co_return connected.error();
    }
    id_ = *connected;
    const Status ready = co_await set_up();
    if (!ready) {
        co_await admin_->end();
        co_return ready;
    }
    is_connected_ = true;
    last_answer_ns_ = reactor_.now_ns();
    start_keep_alive();
    if (!is_discovery() || options_.wants_discovery_events) {
        request_events();
    }
    co_return kOk;
}

/// With secure channel concatenation the first connection, in clear, is there for its key alone: it
/// ends, and the controller is the one behind the second (technical proposal 8018; Linux does the
/// same).
Task<Result<ControllerId>> HostController::connect_admin() {
    const Result<ControllerId> connected = co_await admin_->connect();
    if (!connected || !options_.concatenates || !options_.tls.identity.empty()) {
        co_return connected;
    }
    TlsCredential generated = admin_->take_generated();
    co_await admin_->end();
    options_.tls = std::move(generated);
    make_admin_queue();
    co_return co_await admin_->connect();
}

Task<Status> HostController::set_up() {
    const Status enabled = co_await enable();
    if (!enabled) {
        co_return enabled;
    }
    const Sqe identify = make_identify(CommandId(0), NVME_IDENTIFY_CNS_CTRL, Nsid(0));
    const std::span<std::byte> data = std::as_writable_bytes(std::span(&identity_, 1));
    const Status identified = co_await read(identify, data);
    if (!identified) {
        co_return identified;
    }
    co_return co_await enable_retry_delays();
}

/// Without that a controller may name no delay (NVMe Base Specification, "Host Behavior Support").
Task<Status> HostController::enable_retry_delays() {
    if ((identity_.crdt1 | identity_.crdt2 | identity_.crdt3) == 0 || is_discovery()) {
        co_return kOk;
    }
    std::array<std::byte, kHostBehaviorBytes> behavior{};
    behavior[0] = std::byte{NVME_ENABLE_ACRE};
    const iovec piece{behavior.data(), behavior.size()};
    HostCommand command;
    command.sqe = make_set_features(CommandId(0), NVME_FEAT_FID_HOST_BEHAVIOR, 0);
    command.pieces = {&piece, 1};
    command.data_bytes = static_cast<uint32_t>(behavior.size());
    co_await execute(*admin_, command);
    if (!command.status && admin_->is_live()) {
        BASALT_LOG(kInfo, "nvmf", "controller {}: it names no delays of retries", id_.raw());
        co_return kOk;
    }
    co_return command.status;
}

Task<Status> HostController::enable() {
    const Result<uint64_t> cap = co_await get_property(NVME_REG_CAP, true);
    if (!cap) {
        co_return cap.error();
    }
    queue_entries_max_ = static_cast<uint32_t>(NVME_CAP_MQES(*cap)) + 1;
    if (queue_entries_max_ < kHostQueueEntriesMin) {
        co_return Errc::kNotSupported;
    }
    ready_timeout_ns_ =
        std::max<uint64_t>(kReadyTimeoutNsMin, NVME_CAP_TO(*cap) * kCapTimeoutUnitNs);
    const Status set = co_await set_property(NVME_REG_CC, kCcBase | kCcEnable);
    if (!set) {
        co_return set;
    }
    co_return co_await wait_for_status(kCstsReady, kCstsReady, ready_timeout_ns_);
}

Task<Status> HostController::wait_for_status(uint32_t mask, uint32_t value, uint64_t timeout_ns) {
    const uint64_t end_ns = reactor_.now_ns() + timeout_ns;
    for (;;) {
        const Result<uint64_t> csts = co_await get_property(NVME_REG_CSTS, false);
        if (!csts) {
            co_return csts.error();
        }
        if ((*csts & kCstsFatal) != 0) {
            co_return Errc::kDeviceGone;
        }
        if ((*csts & mask) == value) {
            co_return kOk;
        }
        if (reactor_.now_ns() >= end_ns) {
            co_return Errc::kTimedOut;
        }
        co_await sleep_for(reactor_, kReadyPollNs);
    }
}

Task<Status> HostController::disable() {
    if (!admin_->is_live()) {
        co_return Errc::kConnectionClosed;
    }
    reactor_.stop_timer(keep_alive_timer_);
    is_connected_ = false;  // There is nothing left to shut down or to keep alive.
    const Status asked = co_await set_property(NVME_REG_CC, kCcBase);
    if (!asked) {
        co_return asked;
    }
    const Status disabled = co_await wait_for_status(kCstsReady, 0, ready_timeout_ns_);
    has_stopped_ = disabled.has_value();
    co_return disabled;
}

Task<void> HostController::end() {
    const bool was_connected = is_connected_;
    is_connected_ = false;
    reactor_.stop_timer(keep_alive_timer_);
    if (was_connected && admin_->is_live()) {
        // A courtesy: if it fails the controller notices that the connection has ended. Looking at
        // its status has an end only while it answers, so the timer is for one that does not.
        reactor_.start_timer(shutdown_timer_, kShutdownTimeoutNs);
        const Status asked =
            co_await set_property(NVME_REG_CC, kCcBase | kCcEnable | kCcShutdownNormal);
        if (asked) {
            const Status done =
                co_await wait_for_status(kCstsShutdownMask, kCstsShutdownDone, kShutdownTimeoutNs);
            has_stopped_ = done.has_value();
            if (!done) {
                BASALT_LOG(kInfo,
                           "nvmf",
                           "controller {} does not report its shutdown: {}",
                           id_.raw(),
                           describe(done.error().code));
            }
        }
        reactor_.stop_timer(shutdown_timer_);
    }
    co_await admin_->end();
}

void HostController::on_admin_closed(void* self, Error reason) {
    auto& controller = *static_cast<HostController*>(self);
    controller.reactor_.stop_timer(controller.keep_alive_timer_);
    if (controller.is_connected_) {
        controller.is_connected_ = false;
        if (controller.user_ != nullptr) {
            controller.user_->on_controller_lost(reason);
        }
    }
}

// --- Commands --------------------------------------------------------------------------------

Task<Result<uint64_t>> HostController::get_property(uint32_t offset, bool is_8_bytes) {
    last_property_ns_ = reactor_.now_ns();
    HostCommand command;
    command.sqe = make_property_get(CommandId(0), offset, is_8_bytes);
    co_await execute(*admin_, command);
    if (!command.status) {
        co_return command.status.error();
    }
    co_return is_8_bytes ? command.cqe.result64() : command.cqe.dw0.get();
}

Task<Status> HostController::set_property(uint32_t offset, uint32_t value) {
    last_property_ns_ = reactor_.now_ns();
    HostCommand command;
    command.sqe = make_property_set(CommandId(0), offset, value);
    co_await execute(*admin_, command);
    co_return command.status;
}

Task<Status> HostController::read(Sqe sqe, std::span<std::byte> data) {
    const iovec piece{data.data(), data.size()};
    HostCommand command;
    command.sqe = sqe;
    command.pieces = {&piece, 1};
    command.data_bytes = static_cast<uint32_t>(data.size());
    co_await execute(*admin_, command);
    co_return command.status;
}

Task<Status> HostController::read_log(uint8_t lid, uint64_t offset, std::span<std::byte> data) {
    const auto bytes = static_cast<uint32_t>(data.size());
    const Sqe sqe = make_get_log_page(CommandId(0), lid, offset, bytes);
    co_return co_await read(sqe, data);
}

Task<Result<uint32_t>> HostController::set_io_queue_count(uint32_t wanted) {
    BASALT_ASSERT(wanted >= 1);
    BASALT_ASSERT(wanted <= 65535);
    const uint32_t count_0based = wanted - 1;
    HostCommand command;
    command.sqe = make_set_features(
        CommandId(0), NVME_FEAT_FID_NUM_QUEUES, count_0based | (count_0based << 16U));
    co_await execute(*admin_, command);
    if (!command.status) {
        co_return command.status.error();
    }
    const uint32_t granted = command.cqe.dw0.get();
    co_return std::min({(granted & 0xffffU) + 1, (granted >> 16U) + 1, wanted});
}

Task<Result<HostNamespace>> HostController::identify_namespace(Nsid nsid) {
    HostNamespace found{.nsid = nsid};
    const Status status = co_await identify_raw(nsid, found.id);
    if (!status) {
        co_return status.error();
    }
    if (found.id.nsze == 0) {
        co_return Errc::kNotFound;  // An inactive namespace is all zero.
    }
    // FLBAS has the format's index in bits 3:0 and, above 16 formats, in bits 6:5.
    const uint32_t format = (found.id.flbas & 0xfU) | ((found.id.flbas >> 1U) & 0x30U);
    const nvme_lbaf& lbaf = found.id.lbaf[format];
    if (lbaf.ds < 9 || lbaf.ds > 16 || lbaf.ms != 0) {
        co_return Errc::kNotSupported;
    }
    found.block_bytes = 1U << lbaf.ds;
    found.block_count = found.id.nsze;
    co_return found;
}

Task<Status> HostController::identify_raw(Nsid nsid, nvme_id_ns& id) {
    const Sqe sqe = make_identify(CommandId(0), NVME_IDENTIFY_CNS_NS, nsid);
    const std::span<std::byte> data = std::as_writable_bytes(std::span(&id, 1));
    co_return co_await read(sqe, data);
}

Task<Status> HostController::identify_common(Nsid nsid, nvme_id_independent_id_ns& id) {
    const Sqe sqe = make_identify(CommandId(0), NVME_IDENTIFY_CNS_CSI_INDEPENDENT_ID_NS, nsid);
    const std::span<std::byte> data = std::as_writable_bytes(std::span(&id, 1));
    co_return co_await read(sqe, data);
}

Task<Result<std::vector<Nsid>>> HostController::list_namespaces() {
    std::vector<Nsid> found;
    // A list has those above the number that is asked for: a full one may not be the last.
    while (found.size() % kNamespaceListEntries == 0 && found.size() < kHostNamespacesMax) {
        const Nsid after = found.empty() ? Nsid(0) : found.back();
        std::vector<uint32_t> list(kNamespaceListEntries);
        const Sqe sqe = make_identify(CommandId(0), NVME_IDENTIFY_CNS_NS_ACTIVE_LIST, after);
        const std::span<std::byte> data = std::as_writable_bytes(std::span(list));
        const Status status = co_await read(sqe, data);
        if (!status) {
            co_return status.error();
        }
        if (list[0] == 0) {
            break;
        }
        for (const uint32_t nsid : list) {
            if (nsid == 0) {
                break;
            }
            if (!found.empty() && nsid <= found.back().raw()) {
                co_return Errc::kProtocol;
            }
            found.emplace_back(nsid);
        }
    }
    co_return found;
}

Task<Status> HostController::read_descriptors(Nsid nsid, std::span<std::byte> list) {
    const Sqe sqe = make_identify(CommandId(0), NVME_IDENTIFY_CNS_NS_DESC_LIST, nsid);
    co_return co_await read(sqe, list);
}

Task<Status> HostController::configure_events(uint32_t wanted) {
    HostCommand command;
    command.sqe =
        make_set_features(CommandId(0), NVME_FEAT_FID_ASYNC_EVENT, wanted & identity_.oaes);
    co_await execute(*admin_, command);
    co_return command.status;
}

Task<Result<bool>> HostController::abort(QueueId qid, CommandId cid) {
    HostCommand command;
    command.sqe = make_command(nvme_admin_abort_cmd, CommandId(0), Nsid(0));
    command.sqe.cdw10.set(qid.raw() | (uint32_t{cid.raw()} << 16U));
    co_await execute(*admin_, command);
    if (!command.status) {
        co_return command.status.error();
    }
    co_return (command.cqe.dw0.get() & 1U) == 0;
}

Task<Result<HostController::DiscoveryHead>> HostController::read_discovery_head() {
    // The page's header as bytes: libnvme's structure of it ends in a flexible array, which can't
    // live in a coroutine's frame.
    std::array<std::byte, sizeof(nvmf_discovery_log)> page{};
    const std::span<std::byte> data(page);
    const Status status = co_await read_log(NVME_LOG_LID_DISCOVER, 0, data);
    if (!status) {
        co_return status.error();
    }
    DiscoveryHead head;
    std::memcpy(&head.generation, &page[offsetof(nvmf_discovery_log, genctr)], sizeof(uint64_t));
    std::memcpy(&head.records, &page[offsetof(nvmf_discovery_log, numrec)], sizeof(uint64_t));
    if (head.records > kDiscoveryRecordsMax) {
        BASALT_LOG(kWarn, "nvmf", "a discovery log of {} records is refused", head.records);
        co_return Errc::kProtocol;
    }
    co_return head;
}

Task<Result<std::vector<nvmf_disc_log_entry>>> HostController::read_discovery_log() {
    for (uint32_t attempt = 0; attempt < kDiscoveryAttempts; ++attempt) {
        // The generation is read before and after the records: if it stayed the same, they are of
        // one log (NVMe Base Specification, Discovery log page).
        const Result<DiscoveryHead> before = co_await read_discovery_head();
        if (!before) {
            co_return before.error();
        }
        std::vector<nvmf_disc_log_entry> records(before->records);
        const std::span<std::byte> all = std::as_writable_bytes(std::span(records));
        for (size_t at = 0; at < all.size(); at += kDiscoveryReadBytes) {
            const size_t bytes = std::min<size_t>(kDiscoveryReadBytes, all.size() - at);
            const std::span<std::byte> part = all.subspan(at, bytes);
            const uint64_t offset = sizeof(nvmf_discovery_log) + at;
            const Status status = co_await read_log(NVME_LOG_LID_DISCOVER, offset, part);
            if (!status) {
                co_return status.error();
            }
        }
        const Result<DiscoveryHead> after = co_await read_discovery_head();
        if (!after) {
            co_return after.error();
        }
        if (before->generation == after->generation) {
            co_return records;
        }
    }
    co_return Errc::kTryAgain;
}

HostQueueOptions HostController::io_queue_options(QueueId qid, uint32_t entries) const {
    BASALT_ASSERT(qid != kAdminQueueId);
    const uint32_t capsule_bytes = identity_.ioccsz * kCapsuleUnitBytes;
    // MAXCMD: what of a queue the controller works at; 0: it does not say.
    const uint32_t commands_max = std::max<uint32_t>(identity_.maxcmd, kHostQueueEntriesMin);
    const uint32_t entries_max = std::min({queue_entries_max_,
                                           kHostQueueEntriesMax,
                                           identity_.maxcmd == 0 ? UINT32_MAX : commands_max});
    return {.host = options_,
            .qid = qid,
            .cntlid = id_,
            .entries = std::clamp(entries, kHostQueueEntriesMin, entries_max),
            // Data that does not begin right behind the command (ICDOFF) is not worth the trouble.
            .capsule_data_bytes = identity_.icdoff == 0 && capsule_bytes > sizeof(Sqe)
                                      ? capsule_bytes - static_cast<uint32_t>(sizeof(Sqe))
                                      : 0};
}

// --- Keep alive and events -------------------------------------------------------------------

void HostController::start_keep_alive() {
    if (options_.keep_alive_ms != 0 && is_connected_) {
        // Twice in the time granted, so that one late command does no harm.
        reactor_.start_timer(keep_alive_timer_, options_.keep_alive_ms * kNsPerMs / 2);
    }
}

void HostController::send_keep_alive() {
    is_keep_alive_out_ = true;
    reactor_.start_timer(keep_alive_timer_, options_.keep_alive_ms * kNsPerMs);
    keep_alive_.sqe = make_command(nvme_admin_keep_alive, CommandId(0), Nsid(0));
    keep_alive_.set_done(
        [](HostCommand& command, void* self) {
            auto& controller = *static_cast<HostController*>(self);
            controller.is_keep_alive_out_ = false;
            controller.reactor_.stop_timer(controller.keep_alive_timer_);
            if (command.status) {
                controller.last_answer_ns_ = controller.reactor_.now_ns();
            } else if (controller.admin_->is_live()) {
                BASALT_LOG(kWarn,
                           "nvmf",
                           "controller {}: keep alive failed: {}",
                           controller.id_.raw(),
                           describe(command.status.error().code));
            }
            controller.start_keep_alive();
        },
        this);
    // Refused only when the connection is ending, which has its own notice.
    static_cast<void>(admin_->submit(keep_alive_));
}

void HostController::on_keep_alive_timer(Timer& /*timer*/, void* self) {
    auto& controller = *static_cast<HostController*>(self);
    if (controller.is_keep_alive_out_) {
        // Linux gives it as long. Whoever waits for the time-out of commands knows later.
        controller.admin_->close(Error(Errc::kTimedOut));
        return;
    }
    controller.send_keep_alive();
}

void HostController::request_events() {
    event_.sqe = make_command(nvme_admin_async_event, CommandId(0), Nsid(0));
    event_.never_times_out = true;
    event_.set_done(&HostController::on_event, this);
    static_cast<void>(admin_->submit(event_));
}

void HostController::on_event(HostCommand& command, void* self) {
    auto& controller = *static_cast<HostController*>(self);
    if (!command.status || !controller.is_connected_) {
        return;  // The controller takes no requests, or it ends: no events then.
    }
    const uint32_t result = command.cqe.dw0.get();
    controller.request_events();
    if (controller.user_ != nullptr) {
        controller.user_->on_async_event(result);
    }
}

}  // namespace basalt::nvmf
