#include "control/handlers/bdev_replicated_handlers.h"

#include <string>

#include "control/handlers/device_calls.h"
#include "control/handlers/replication_convert.h"

namespace basalt::control {

namespace {

using replication::HeadCore;
using replication::HeadStatistics;
using replication::ReplicaPlace;
using replication::ReplicatedVolumeOptions;
using replication::ReplicatedVolumeReport;
using rpc::Reply;
using rpc::RpcCode;
using rpc::RpcError;

constexpr uint64_t kBytesAMbyte = 1'000'000;
constexpr uint64_t kBlocksAMib = (uint64_t{1} << 20U) / replication::kBlockBytes;
constexpr uint64_t kUsAMs = 1000;

RpcError wrong(std::string problem) {
    return {RpcCode::kInvalidParams, std::move(problem)};
}

std::string wrong_place(const char* parameter, const std::string& text) {
    return std::string(parameter) + ": '" + text +
           "' is no ADDRESS:PORT/DRIVE; write for example "
           "\"10.0.0.1:4500/3f2b0d3e-98c1-4f6a-8e57-0a4d1b2c3d4e\"";
}

/// The times and rates of a request; what it leaves out stays as it is.
void read_times(const v1::BdevReplicatedCreateRequest& request, ReplicatedVolumeOptions& options) {
    replication::Settings& settings = options.settings;
    if (request.has_lease_ms()) {
        options.lease_us = request.lease_ms() * kUsAMs;
    }
    if (request.has_read_timeout_ms()) {
        settings.read_timeout_us = request.read_timeout_ms() * kUsAMs;
    }
    if (request.has_slow_ms()) {
        settings.slow_us = request.slow_ms() * kUsAMs;
    }
    if (request.has_drop_timeout_ms()) {
        settings.drop_timeout_us = request.drop_timeout_ms() * kUsAMs;
    }
    if (request.has_takeover_wait_ms()) {
        settings.takeover_wait_us = request.takeover_wait_ms() * kUsAMs;
    }
    if (request.has_resync_mbytes_per_sec()) {
        settings.resync_bytes_per_second = request.resync_mbytes_per_sec() * kBytesAMbyte;
    }
}

/// What a request asks for. What is wrong with it goes to `problem`.
ReplicatedVolumeOptions read_options(Context& context,
                                     const v1::BdevReplicatedCreateRequest& request,
                                     std::string& problem) {
    ReplicatedVolumeOptions options;
    options.name = request.name();
    options.uuid = *bdev::Uuid::parse(request.uuid());
    options.volume = request.volume();
    options.cluster = *bdev::Uuid::parse(request.cluster());
    options.map_path = request.map_file();
    options.is_standby = request.standby();
    for (const std::string& text : request.replicas()) {
        const std::optional<ReplicaPlace> place = parse_replica_place(text);
        if (!place) {
            problem = wrong_place("replicas", text);
            return options;
        }
        options.replicas.push_back(*place);
    }
    const auto count = static_cast<uint32_t>(options.replicas.size());
    const uint32_t cores = context.threads.count();
    const auto volumes = static_cast<uint32_t>(context.replicated.all().size());
    const uint32_t core = request.has_core() ? request.core() : volumes % cores;
    if (core >= cores) {
        problem = "core: there are " + std::to_string(cores) + " reactors, counted from 0";
        return options;
    }
    options.core = CoreId(core);
    replication::Settings& settings = options.settings;
    settings.blocks = request.size_in_mib() * kBlocksAMib;
    settings.replicas = count;
    settings.write_quorum = request.has_write_quorum() ? request.write_quorum() : count / 2 + 1;
    settings.read_quorum = request.has_read_quorum() ? request.read_quorum() : 1;
    read_times(request, options);
    return options;
}

Task<void> create(Context& context,
                  const v1::BdevReplicatedCreateRequest& request,
                  Reply<v1::BdevReplicatedCreateResponse> reply) {
    std::string problem;
    ReplicatedVolumeOptions options = read_options(context, request, problem);
    if (!problem.empty()) {
        reply.fail(wrong(problem));
        co_return;
    }
    Task<Status> making = context.replicated.create(std::move(options), problem);
    const Status made = co_await making;
    if (!made) {
        // The lock's own error number says to try again.
        const bool is_busy = made.error().code == Errc::kBusy;
        reply.fail(is_busy ? Error(Errc::kBusy) : made.error(),
                   bdev_words(request.name()) + ": " + problem);
        co_return;
    }
    reply.result().set_name(request.name());
    reply.send();
}

Task<void> remove(Context& context,
                  const v1::BdevReplicatedDeleteRequest& request,
                  Reply<v1::Done> reply) {
    bdev::Device* device = context.devices.find(request.name());
    const std::string user = device == nullptr ? "" : device->user();
    const std::string& name = request.name();
    const Status removed = co_await context.replicated.remove(name);
    if (removed) {
        reply.send();
    } else {
        reply.fail(removed.error(),
                   "replicated volume '" + name + "'" + (user.empty() ? "" : ", used by " + user));
    }
}

Task<void> take_over(Context& context,
                     const v1::BdevReplicatedTakeOverRequest& request,
                     Reply<v1::Done> reply) {
    const std::string& name = request.name();
    const Status begun = co_await context.replicated.take_over(name);
    if (begun) {
        reply.send();
    } else {
        reply.fail(begun.error(), "replicated volume '" + name + "'");
    }
}

Task<void> replace(Context& context,
                   const v1::BdevReplicatedReplaceReplicaRequest& request,
                   Reply<v1::Done> reply) {
    const std::optional<ReplicaPlace> place = parse_replica_place(request.replica());
    if (!place) {
        reply.fail(wrong(wrong_place("replica", request.replica())));
        co_return;
    }
    const replication::ReplicatedVolume* volume = context.replicated.find(request.name());
    if (volume == nullptr) {
        reply.fail(Error(Errc::kNotFound), "replicated volume '" + request.name() + "'");
        co_return;
    }
    const bdev::Uuid drive = *bdev::Uuid::parse(request.drive());
    const std::vector<ReplicaPlace>& replicas = volume->options().replicas;
    uint32_t index = 0;
    while (index < replicas.size() && replicas[index].drive != drive) {
        ++index;
    }
    if (index == replicas.size()) {
        reply.fail(Error(Errc::kNotFound), "a replica on drive " + request.drive());
        co_return;
    }
    const std::string& name = request.name();
    const ReplicaPlace to = *place;
    const Status replaced = co_await context.replicated.replace(name, index, to);
    if (replaced) {
        reply.send();
    } else if (replaced.error().code == Errc::kExists) {
        reply.fail(replaced.error(), "a replica of the volume on drive " + to.drive.to_string());
    } else {
        reply.fail(replaced.error(), "the replica on drive " + request.drive() + ", which counts");
    }
}

const char* state_word(HeadCore::State state) {
    switch (state) {
        case HeadCore::State::kIdle: return "idle";
        case HeadCore::State::kRecovering: return "recovering";
        case HeadCore::State::kAgreeing: return "agreeing";
        case HeadCore::State::kOpening: return "opening";
        case HeadCore::State::kOpen: break;
    }
    return "open";
}

const char* replica_word(const HeadStatistics& head, uint32_t index) {
    if (head.live.has(index)) {
        return "in_sync";
    }
    if (head.joining.has(index)) {
        return "resyncing";
    }
    return head.set.has(index) ? "awaited" : "out";
}

void fill_replicas(const ReplicatedVolumeReport& report, v1::ReplicatedVolumeInfo& out) {
    for (uint32_t i = 0; i < report.options.replicas.size(); ++i) {
        const replication::ReplicaStatistics& of = report.head.replicas[i];
        v1::ReplicatedVolumeReplica& replica = *out.add_replicas();
        replica.set_replica(replica_place_text(report.options.replicas[i]));
        replica.set_local(report.is_local[i]);
        replica.set_connected(of.is_linked);
        replica.set_state(replica_word(report.head, i));
        replica.set_writes(of.writes);
        replica.set_reads(of.reads);
        replica.set_errors(of.errors);
        replica.set_lost_links(of.lost_links);
        replica.set_write_latency_us(of.write_latency_us);
    }
}

void fill_resync(const HeadStatistics& head, v1::ReplicatedVolumeResync& out) {
    out.set_blocks_left(head.blocks_to_copy);
    out.set_blocks_copied(head.resync_blocks);
    out.set_elapsed_ms(head.resync_us / kUsAMs);
    if (head.resync_blocks > 0) {
        const double us_a_block =
            static_cast<double>(head.resync_us) / static_cast<double>(head.resync_blocks);
        const double left_us = us_a_block * static_cast<double>(head.blocks_to_copy);
        out.set_remaining_ms(static_cast<uint64_t>(left_us) / kUsAMs);
    }
}

void fill(const ReplicatedVolumeReport& report, v1::ReplicatedVolumeInfo& out) {
    const ReplicatedVolumeOptions& options = report.options;
    const HeadStatistics& head = report.head;
    out.set_name(options.name);
    out.set_uuid(options.uuid.to_string());
    out.set_volume(options.volume);
    out.set_num_blocks(options.settings.blocks);
    out.set_core(options.core.raw());
    out.set_map_file(options.map_path);
    out.set_write_quorum(options.settings.write_quorum);
    out.set_read_quorum(options.settings.read_quorum);
    const bool is_standby = report.role == replication::ReplicatedVolume::Role::kStandby;
    out.set_state(is_standby ? "standby" : state_word(head.state));
    out.set_epoch(head.epoch.raw());
    fill_replicas(report, out);
    out.set_dirty_blocks(head.blocks_dirty);
    if (!head.joining.empty()) {
        fill_resync(head, *out.mutable_resync());
    }
    out.mutable_watermark()->set_epoch(head.watermark.epoch.raw());
    out.mutable_watermark()->set_count(head.watermark.count);
    out.set_writes_under_way(head.ops);
    out.set_requests_waiting(head.requests_waiting);
    out.set_reads(head.reads);
    out.set_writes(head.writes);
    out.set_stale_requests(head.stale_requests);
    out.set_openings(head.openings);
    out.set_drops(head.drops);
    out.set_returns(head.returns);
    out.set_repairs(head.repairs);
    out.set_copied_blocks(head.copied_blocks);
}

Task<void> get(Context& context,
               const v1::BdevReplicatedGetRequest& request,
               Reply<v1::BdevReplicatedGetResponse> reply) {
    const std::string& name = request.name();
    const std::vector<ReplicatedVolumeReport> reports = co_await context.replicated.report(name);
    if (reports.empty() && !name.empty()) {
        reply.fail(Error(Errc::kNotFound), "replicated volume '" + name + "'");
        co_return;
    }
    for (const ReplicatedVolumeReport& report : reports) {
        fill(report, *reply.result().add_volumes());
    }
    reply.send();
}

}  // namespace

void BdevReplicatedHandlers::add_to(rpc::MethodTable& table) {
    add_change<&create>(table, "bdev_replicated_create", &create);
    add_change<&remove>(table, "bdev_replicated_delete", &remove);
    add_change<&take_over>(table, "bdev_replicated_take_over", &take_over);
    add_change<&replace>(table, "bdev_replicated_replace_replica", &replace);
    add<&get>(table, "bdev_replicated_get", &get);
}

}  // namespace basalt::control
