#include "control/plane/attachments.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include <fmt/format.h>

#include "control/plane/limits.h"
#include "reactor/base/log.h"
#include "rpc/proto/replication.pb.h"

namespace basalt::cluster {
namespace {

using rpc::RpcError;

constexpr uint64_t kBytesAMib = uint64_t{1} << 20U;
constexpr uint32_t kNsid = 1;

/// The daemon said so: it is not only out of reach.
bool is_definite(const RpcError& error) {
    return error.code != -EHOSTUNREACH && error.code != -ETIMEDOUT && error.code != -ECANCELED;
}

}  // namespace

std::string words_of(const Volume& volume) {
    return "volume '" + volume.name() + "'";
}

RpcError to_failure(Error error, std::string_view what) {
    if (error.code == Errc::kCompareMismatch) {
        return {-ESTALE, std::string(what) + ": it was changed since: look at it again"};
    }
    if (error.code == Errc::kUnreachable) {
        return {
            -EHOSTUNREACH,
            std::string(what) + ": the store of the metadata can't be reached; nothing was done"};
    }
    if (error.code == Errc::kTimedOut) {
        return {-ETIMEDOUT,
                std::string(what) +
                    ": the store of the metadata did not answer in time, and it is "
                    "not known whether it was done: call again"};
    }
    return rpc::to_rpc_error(error, what);
}

Task<void> wait_until_seen(Reactor& here, ClusterView& view, Revision revision) {
    const uint64_t end_ns = here.clock().now_ns() + kSeenTimeoutNs;
    while (view.is_current() && view.revision() < revision && here.clock().now_ns() < end_ns) {
        co_await sleep_for(here, kSeenPollNs);
    }
}

/// The one call that changes a volume, while it lives.
class [[nodiscard]] Attachments::Turn {
  public:
    Turn(std::set<Uuid>& busy, const Uuid& volume)
        : busy_(busy), volume_(volume), is_mine_(busy.insert(volume).second) {}
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    ~Turn() {
        if (is_mine_) {
            busy_.erase(volume_);
        }
    }
    [[nodiscard]] bool is_mine() const { return is_mine_; }
    [[nodiscard]] static RpcError refusal() {
        return {-EAGAIN, "another call is changing the volume: call again when that is over"};
    }

  private:
    std::set<Uuid>& busy_;
    const Uuid volume_;
    const bool is_mine_;
};

std::string Attachments::device_of(const Uuid& volume) {
    return "vol-" + volume.to_string();
}

std::string Attachments::address_of(const Uuid& node) const {
    const auto known = parts_.view.nodes().find(node);
    return known == parts_.view.nodes().end() ? "" : known->second.record.address();
}

const Drive* Attachments::drive_of(uint32_t number) const {
    for (const auto& [uuid, drive] : parts_.view.drives()) {
        if (drive.record.number() == number) {
            return &drive.record;
        }
    }
    return nullptr;
}

std::string Attachments::state(const Uuid& volume, const Attachment& attachment) const {
    const NodeWatch::Heard* heard = parts_.watch.find(to_uuid(attachment.node()));
    if (heard == nullptr || heard->heard_ns == 0 || !heard->problem.empty()) {
        return "unknown";
    }
    for (const v1::NodeVolumeInfo& one : heard->info.volumes()) {
        if (one.uuid() == volume.to_string()) {
            return one.role();
        }
    }
    return "missing";
}

// ---- attach

Task<Failure> Attachments::attach(AttachWish wish) {
    const Turn turn(busy_, wish.volume);
    if (!turn.is_mine()) {
        co_return Turn::refusal();
    }
    const Uuid node = wish.node;
    const Uuid volume = wish.volume;
    Task<Failure> attaching = attach_now(std::move(wish));
    Failure failure = co_await attaching;
    // So that its state is as it is now, and hosts may come if all is well.
    co_await parts_.watch.ask(node);
    const uint64_t end_ns = parts_.here.clock().now_ns() + kServesWaitNs;
    while (!failure && is_beginning(volume) && parts_.here.clock().now_ns() < end_ns) {
        co_await sleep_for(parts_.here, kServesPollNs);
        co_await parts_.watch.ask(node);
    }
    co_return failure;
}

bool Attachments::is_beginning(const Uuid& volume) const {
    const auto attached = parts_.view.attachments().find(volume);
    return attached != parts_.view.attachments().end() &&
           state(volume, attached->second.record) == "begins";
}

Task<Failure> Attachments::attach_now(AttachWish wish) {
    Result<Versioned<Volume>> volume =
        co_await get_record<Volume>(parts_.store, key_of(kVolumes, wish.volume));
    if (!volume) {
        co_return to_failure(volume.error(), "volume");
    }
    const std::string words = words_of(volume->record);
    if (volume->record.state() != Volume::READY) {
        co_return RpcError(-EBUSY, words + " is being created or deleted");
    }
    if (!volume->record.map_node().empty() && to_uuid(volume->record.map_node()) != wish.node) {
        co_return RpcError(-EBUSY,
                           words + " has its map (" + volume->record.map_file() + ") on node " +
                               to_uuid(volume->record.map_node()).to_string() +
                               ": it can be attached to that one only");
    }
    Versioned<Attachment> attachment;
    Result<Versioned<Attachment>> known =
        co_await get_record<Attachment>(parts_.store, key_of(kAttachments, wish.volume));
    if (known) {
        attachment = std::move(*known);
        if (attachment.record.state() == Attachment::LEAVING) {
            co_return RpcError(-EBUSY, words + " is being detached; end that first: detach it");
        }
        if (to_uuid(attachment.record.node()) != wish.node) {
            co_return RpcError(-EBUSY, words + " is attached to another node; detach it first");
        }
    } else if (known.error().code != Errc::kNotFound) {
        co_return to_failure(known.error(), words);
    }
    if (Failure failure = co_await provision(*volume)) {
        co_return failure;
    }
    const bool is_new = attachment.version == Revision();
    const bool has_new_map = volume->record.map_node().empty();
    if (Failure failure = co_await record(wish, *volume, attachment)) {
        co_return failure;
    }
    Failure failure = co_await make_head(volume->record, attachment.record);
    if (failure && is_definite(*failure) && is_new) {
        static_cast<void>(co_await take_back(volume->record, has_new_map));
        co_return failure;
    }
    if (!failure) {
        failure = co_await make_subsystem(volume->record, attachment.record);
    }
    if (failure && is_definite(*failure) && is_new) {
        static_cast<void>(co_await take_back(volume->record, false));
    } else if (failure) {
        failure->message += " (it stays attached, and is served as soon as that is possible)";
    }
    co_return failure;
}

/// Makes the copies if there were never any. They are those of a new volume, which may be done only
/// as long as nobody can have written: it is recorded, durably, before a head is made.
Task<Failure> Attachments::provision(Versioned<Volume>& volume) {
    if (!volume.record.replica_drives().empty()) {
        co_return std::nullopt;
    }
    const Uuid uuid = to_uuid(volume.record.uuid());
    const std::vector<uint32_t> numbers = drives_of(parts_.view, uuid);
    if (numbers.size() != volume.record.replicas()) {
        co_return RpcError(
            -EOPNOTSUPP,
            fmt::format("{} has {} copies on {} drives; heads serve volumes only that are on as "
                        "many drives as they have copies: create it with stride {}",
                        words_of(volume.record),
                        volume.record.replicas(),
                        numbers.size(),
                        volume.record.replicas()));
    }
    std::vector<std::pair<Uuid, std::string>> drives;  // And their nodes' addresses.
    for (const uint32_t number : numbers) {
        const Drive* drive = drive_of(number);
        const std::string address = drive == nullptr ? "" : address_of(to_uuid(drive->node()));
        if (address.empty()) {
            co_return RpcError(
                -ENODEV,
                fmt::format(
                    "drive {} of {}, which has left the cluster", number, words_of(volume.record)));
        }
        drives.emplace_back(to_uuid(drive->uuid()), address);
    }
    for (const auto& [drive, address] : drives) {
        v1::ReplicationCreateReplicaRequest request;
        request.set_volume(volume.record.number());
        request.set_size_in_mib(volume.record.size_bytes() / kBytesAMib);
        request.set_uuid(drive.to_string());
        v1::Done done;
        const Failure failure = co_await parts_.api.call(
            address, "replication_create_replica", request, done, kChangeTimeoutNs);
        if (failure && failure->code != -EEXIST) {
            co_return failure;
        }
        if (failure) {
            if (Failure used = co_await check_copy(address, drive, volume.record)) {
                co_return used;
            }
        }
    }
    for (const auto& [drive, address] : drives) {
        volume.record.add_replica_drives(to_field(drive));
    }
    const Result<Revision> put =
        co_await put_record(parts_.store, key_of(kVolumes, uuid), volume.record, volume.version);
    if (!put) {
        co_return to_failure(put.error(), words_of(volume.record));
    }
    volume.version = *put;
    co_return std::nullopt;
}

/// Writes down what is wanted.
Task<Failure> Attachments::record(const AttachWish& wish,
                                  Versioned<Volume>& volume,
                                  Versioned<Attachment>& attachment) {
    co_await parts_.watch.ask(wish.node);
    const NodeWatch::Heard* heard = parts_.watch.find(wish.node);
    if (heard == nullptr) {
        co_return RpcError(-ENODEV, "node " + wish.node.to_string() + ": no such object");
    }
    if (!heard->problem.empty() || heard->heard_ns == 0) {
        co_return RpcError(-EHOSTUNREACH, heard->problem);
    }
    const std::string uuid = wish.volume.to_string();
    Attachment& wanted = attachment.record;
    wanted.set_volume(volume.record.uuid());
    wanted.set_node(to_field(wish.node));
    wanted.set_nqn("nqn.2026-01.io.basalt:" + uuid);
    wanted.set_nsid(kNsid);
    wanted.set_allow_any_host(wanted.allow_any_host() || wish.allow_any_host);
    if (wanted.addresses().empty()) {
        *wanted.mutable_addresses() = heard->info.nvmf_addresses();
    }
    for (const std::string& host : wish.hosts) {
        if (std::ranges::find(wanted.hosts(), host) == wanted.hosts().end()) {
            wanted.add_hosts(host);
        }
    }
    if (wanted.hosts_size() > static_cast<int>(kHostsMax)) {
        co_return RpcError(-ENOSPC,
                           "an attachment has at most " + std::to_string(kHostsMax) + " hosts");
    }
    if (volume.record.map_node().empty()) {
        volume.record.set_map_node(to_field(wish.node));
        volume.record.set_map_file(read_settings(parts_.view.settings()).map_folder + "/" + uuid +
                                   ".map");
    }
    const Result<Revision> put = co_await put_attachment(parts_.store, attachment, volume);
    if (!put) {
        co_return to_failure(put.error(), words_of(volume.record));
    }
    attachment.version = *put;
    volume.version = *put;
    co_await wait_until_seen(parts_.here, parts_.view, *put);
    co_return std::nullopt;
}

/// After an attachment that the node refused. `has_new_map`: there was never a head.
Task<Failure> Attachments::take_back(Volume volume, bool has_new_map) {
    const Uuid uuid = to_uuid(volume.uuid());
    if (Failure failure = co_await detach_now(uuid)) {
        co_return failure;
    }
    if (has_new_map) {
        std::function<Status(Volume&)> forget = [](Volume& record) -> Status {
            record.clear_map_node();
            record.clear_map_file();
            return kOk;
        };
        Task<Result<Versioned<Volume>>> updating = update_record<Volume>(
            parts_.store, key_of(kVolumes, uuid), Revision(), std::move(forget));
        const Result<Versioned<Volume>> updated = co_await updating;
        if (updated) {
            co_await wait_until_seen(parts_.here, parts_.view, updated->version);
        }
    }
    co_return std::nullopt;
}

// ---- detach

Task<Failure> Attachments::detach(Uuid volume) {
    const Turn turn(busy_, volume);
    if (!turn.is_mine()) {
        co_return Turn::refusal();
    }
    co_return co_await detach_now(volume);
}

Task<Failure> Attachments::detach_now(Uuid volume) {
    const std::string key = key_of(kAttachments, volume);
    std::function<Status(Attachment&)> leave = [](Attachment& record) -> Status {
        record.set_state(Attachment::LEAVING);
        return kOk;
    };
    Task<Result<Versioned<Attachment>>> updating =
        update_record<Attachment>(parts_.store, key, Revision(), std::move(leave));
    const Result<Versioned<Attachment>> leaving = co_await updating;
    if (!leaving) {
        if (leaving.error().code == Errc::kNotFound) {
            co_return std::nullopt;
        }
        co_return to_failure(leaving.error(), "the attachment");
    }
    const Uuid node = to_uuid(leaving->record.node());
    done_.erase(volume);
    if (Failure failure = co_await unserve(volume, leaving->record)) {
        co_return failure;
    }
    metadata::Transaction transaction;
    transaction.conditions.push_back({key, leaving->version});
    transaction.changes.push_back({.key = key, .value = std::nullopt, .lease = {}});
    const Result<metadata::Outcome> outcome = co_await parts_.store.commit(std::move(transaction));
    if (!outcome) {
        co_return to_failure(outcome.error(), "the attachment");
    }
    tried_ns_.erase(volume);
    co_await wait_until_seen(parts_.here, parts_.view, outcome->revision);
    co_await parts_.watch.ask(node);
    co_return std::nullopt;
}

// ---- delete

Task<Failure> Attachments::remove(Uuid volume, bool force, Revision version) {
    const Turn turn(busy_, volume);
    if (!turn.is_mine()) {
        co_return Turn::refusal();
    }
    co_return co_await remove_now(volume, force, version);
}

Task<Failure> Attachments::remove_now(Uuid volume, bool force, Revision version) {
    const std::vector<uint32_t> numbers = drives_of(parts_.view, volume);
    const Result<Versioned<Volume>> begun =
        co_await begin_delete_volume(parts_.store, volume, version);
    if (!begun) {
        co_return to_failure(begun.error(),
                             begun.error().code == Errc::kBusy
                                 ? "the volume, which is attached (detach it first)"
                                 : "the volume");
    }
    if (numbers.size() <= begun->record.replicas()) {
        for (const uint32_t number : numbers) {
            const Drive* drive = drive_of(number);
            if (drive == nullptr) {
                continue;
            }
            const Uuid uuid = to_uuid(drive->uuid());
            Failure failure = co_await delete_copy(begun->record, uuid);
            if (failure && !(force && !is_definite(*failure))) {
                failure->message += "; call again, or with force to leave the copy there";
                co_return failure;
            }
        }
    }
    const Status finished = co_await finish_delete_volume(parts_.store, volume);
    if (!finished) {
        co_return to_failure(finished.error(), words_of(begun->record));
    }
    const uint64_t end_ns = parts_.here.clock().now_ns() + kSeenTimeoutNs;
    while (parts_.view.is_current() && parts_.view.volumes().contains(volume) &&
           parts_.here.clock().now_ns() < end_ns) {
        co_await sleep_for(parts_.here, kSeenPollNs);
    }
    co_return std::nullopt;
}

// ---- mend

Task<void> Attachments::mend(Uuid volume) {
    const auto wanted = parts_.view.attachments().find(volume);
    const auto known = parts_.view.volumes().find(volume);
    if (wanted == parts_.view.attachments().end() || known == parts_.view.volumes().end()) {
        co_return;
    }
    const Attachment attachment = wanted->second.record;
    const Volume record = known->second.record;
    const NodeWatch::Heard* heard = parts_.watch.find(to_uuid(attachment.node()));
    const bool is_leaving = attachment.state() == Attachment::LEAVING;
    const bool is_right =
        !is_leaving && done_.contains(volume) && state(volume, attachment) != "missing";
    if (heard == nullptr || !heard->problem.empty() || heard->heard_ns <= tried_ns_[volume] ||
        is_right) {
        co_return;
    }
    const Turn turn(busy_, volume);
    if (!turn.is_mine()) {
        co_return;
    }
    tried_ns_[volume] = heard->heard_ns;
    const bool is_known = done_.contains(volume);
    Task<Failure> mending = is_leaving ? detach_now(volume) : serve(record, attachment);
    const Failure failure = co_await mending;
    if (failure) {
        BASALT_LOG(kWarn,
                   "cluster",
                   "{}: can't be {} yet: {}",
                   words_of(record),
                   is_leaving ? "detached" : "served",
                   failure->message);
        co_return;
    }
    if (is_leaving || is_known) {
        BASALT_LOG(kInfo,
                   "cluster",
                   "{} is {}",
                   words_of(record),
                   is_leaving ? "detached, as was asked for before" : "served again by its node");
    }
}

}  // namespace basalt::cluster
