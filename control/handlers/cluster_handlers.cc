#include "control/handlers/cluster_handlers.h"

#include <cerrno>
#include <set>

#include "control/handlers/cluster_convert.h"
#include "control/placement/copyset.h"
#include "control/placement/loss.h"
#include "control/placement/rule.h"
#include "control/placement/selector.h"
#include "control/plane/settings.h"

namespace basalt::control {

namespace {

using cluster::ControlPlane;
using cluster::PlaneParts;
using cluster::to_uuid;
using cluster::Uuid;
using placement::DriveSet;
using placement::Topology;
using rpc::Reply;
using rpc::RpcCode;
using rpc::RpcError;

// ---- settings

void fill(const cluster::SettingKind& kind,
          const std::map<std::string, cluster::Setting>& records,
          v1::ClusterSetting& out) {
    const auto set = records.find(std::string(kind.name));
    out.set_name(std::string(kind.name));
    out.set_value(set == records.end() ? std::string(kind.default_value) : set->second.value());
    out.set_default_value(std::string(kind.default_value));
    out.set_help(std::string(kind.help));
}

Task<void> get_settings(ControlPlane& plane,
                        const v1::ClusterGetSettingsRequest& /*request*/,
                        Reply<v1::ClusterGetSettingsResponse> reply) {
    const PlaneParts parts = plane.parts();
    for (const cluster::SettingKind& kind : cluster::setting_kinds()) {
        fill(kind, parts.view.settings(), *reply.result().add_settings());
    }
    reply.send();
    co_return;
}

Task<void> set_setting(ControlPlane& plane,
                       const v1::ClusterSetSettingRequest& request,
                       Reply<v1::ClusterSetting> reply) {
    const PlaneParts parts = plane.parts();
    const Status can_be =
        cluster::check_setting(parts.view.settings(), request.name(), request.value());
    if (!can_be && can_be.error().code == Errc::kNotFound) {
        reply.fail(can_be.error(), "setting '" + request.name() + "'");
        co_return;
    }
    if (!can_be) {
        reply.fail(RpcError(RpcCode::kInvalidParams,
                            "value: " + request.name() + " can't be '" + request.value() +
                                "', alone or together with the other settings "
                                "(cluster_get_settings says what they are)"));
        co_return;
    }
    const std::string key = cluster::key_of(cluster::kSettings, request.name());
    metadata::Change change{.key = key, .value = std::nullopt, .lease = {}};
    if (!request.value().empty()) {
        cluster::Setting setting;
        setting.set_name(request.name());
        setting.set_value(request.value());
        change.value = setting.SerializeAsString();
    }
    metadata::Transaction transaction;
    transaction.changes.push_back(std::move(change));
    const Result<metadata::Outcome> outcome = co_await parts.store.commit(std::move(transaction));
    if (!outcome) {
        reply.fail(cluster::to_failure(outcome.error(), "setting '" + request.name() + "'"));
        co_return;
    }
    co_await cluster::wait_until_seen(parts.here, parts.view, outcome->revision);
    for (const cluster::SettingKind& kind : cluster::setting_kinds()) {
        if (kind.name == request.name()) {
            fill(kind, parts.view.settings(), reply.result());
        }
    }
    reply.send();
}

// ---- placement

/// The different sets of drives that have chunks of a volume, by index of `topology`.
std::vector<DriveSet> sets_of(const cluster::ClusterView& view,
                              const Uuid& volume,
                              const Topology& topology) {
    std::map<uint32_t, uint32_t> indexes;  // By number.
    for (const auto& [uuid, drive] : view.drives()) {
        if (const Result<uint32_t> index = topology.find(uuid)) {
            indexes.emplace(drive.record.number(), *index);
        }
    }
    std::set<DriveSet> found;
    const cluster::ChunkMap* map = view.chunks(volume);
    for (uint64_t chunk = 0; map != nullptr && chunk < map->chunks(); ++chunk) {
        DriveSet set;
        for (const uint32_t number : map->drives(chunk)) {
            if (const auto index = indexes.find(number); index != indexes.end()) {
                set.push_back(index->second);
            }
        }
        found.insert(std::move(set));
    }
    return {found.begin(), found.end()};
}

void fill(const placement::StepReport& step,
          const Topology& topology,
          v1::ClusterPlacementStep& out) {
    const placement::PlacementRule rule{.steps = {step.step}};
    out.set_step(rule.to_string());
    out.set_fallback(step.is_fallback);
    for (const placement::Candidate& one : step.candidates) {
        v1::ClusterPlacementCandidate& candidate = *out.add_candidates();
        candidate.set_domain(topology.domain(one.level, one.domain).path);
        candidate.set_outcome(std::string(to_string(one.outcome)));
        const bool was_in_the_race = one.outcome == placement::Candidate::Outcome::kTaken ||
                                     one.outcome == placement::Candidate::Outcome::kLost;
        if (was_in_the_race) {
            candidate.set_score(one.score);
        }
        if (one.drive) {
            candidate.set_drive(topology.drive(*one.drive).to_string());
        }
    }
}

/// As plan_volume() does it. Errors: kNoSpace; those of the rule and of the topology.
Status explain(const cluster::ClusterView& view,
               const cluster::Volume& volume,
               uint64_t chunk,
               v1::ClusterExplainPlacementResponse& out) {
    BASALT_TRY(const placement::PlacementRule rule,
               placement::PlacementRule::parse(volume.placement_rule()));
    BASALT_TRY(const Topology topology, view.topology());
    if (topology.weight() == 0) {
        return Errc::kNoSpace;
    }
    const Uuid uuid = to_uuid(volume.uuid());
    const placement::Copyset copyset =
        placement::choose_copyset(topology, rule, volume.replicas(), volume.stride(), uuid);
    const Topology subset = topology.subset(copyset.drives, copyset.weights);
    const placement::Selector selector(subset, rule, volume.replicas());
    const uint64_t key = placement::placement_key(uuid, chunk);
    out.set_rule(rule.to_string());
    for (const uint32_t drive : copyset.drives) {
        out.add_copyset(topology.drive(drive).to_string());
    }
    for (const placement::StepReport& step : selector.explain(key)) {
        fill(step, subset, *out.add_steps());
    }
    for (const uint32_t drive : selector.select(key)) {
        out.add_computed(subset.drive(drive).to_string());
    }
    const std::vector<DriveSet> sets = sets_of(view, uuid, topology);
    if (out.failures() > topology.drive_count()) {
        return Errc::kOutOfRange;
    }
    out.set_loss_probability(
        placement::estimate_loss(
            topology, sets, volume.replicas() - 1, placement::Level::kDrive, out.failures())
            .probability);
    return kOk;
}

Task<void> explain_placement(ControlPlane& plane,
                             const v1::ClusterExplainPlacementRequest& request,
                             Reply<v1::ClusterExplainPlacementResponse> reply) {
    const PlaneParts parts = plane.parts();
    const Uuid uuid = find_volume(parts.view, request.volume(), reply);
    if (uuid.is_nil()) {
        co_return;
    }
    const cluster::Volume& volume = parts.view.volumes().at(uuid).record;
    const cluster::ChunkMap* map = parts.view.chunks(uuid);
    if (map == nullptr || request.chunk() >= map->chunks()) {
        reply.fail(RpcError(RpcCode::kInvalidParams,
                            "chunk: the volume has " +
                                std::to_string(map == nullptr ? 0 : map->chunks()) +
                                ", counted from 0"));
        co_return;
    }
    v1::ClusterExplainPlacementResponse& out = reply.result();
    out.set_failures(request.has_failures() ? request.failures() : volume.replicas());
    for (const uint32_t number : map->drives(request.chunk())) {
        out.add_stored(drive_text(parts.view, number));
    }
    const Status explained = explain(parts.view, volume, request.chunk(), out);
    if (!explained) {
        const bool is_failures = explained.error().code == Errc::kOutOfRange;
        reply.fail(is_failures
                       ? RpcError(RpcCode::kInvalidParams, "failures: there are not so many drives")
                       : rpc::to_rpc_error(explained.error(), "the drives of the cluster"));
        co_return;
    }
    reply.send();
}

// ---- status

void fill(const PlaneParts& parts,
          const cluster::Attachments& attachments,
          v1::ClusterStatus& out) {
    out.set_uuid(parts.cluster.to_string());
    out.set_version(parts.view.revision().raw());
    uint32_t up = 0;
    for (const auto& [uuid, node] : parts.view.nodes()) {
        up += parts.watch.state(uuid) == health::NodeState::kUp ? 1U : 0U;
    }
    out.set_nodes(static_cast<uint32_t>(parts.view.nodes().size()));
    out.set_nodes_up(up);
    uint32_t usable = 0;
    uint64_t capacity_bytes = 0;
    uint64_t used_bytes = 0;
    const ClusterUsage no_usage;
    for (const auto& [uuid, drive] : parts.view.drives()) {
        v1::ClusterDrive shown;
        fill(parts, no_usage, drive, shown);
        const auto node = parts.view.nodes().find(to_uuid(drive.record.node()));
        const bool is_usable = node != parts.view.nodes().end() &&
                               node->second.record.state() == cluster::Node::ACTIVE &&
                               node->second.record.health() == cluster::Node::UP &&
                               drive.record.state() == cluster::Drive::ONLINE;
        usable += is_usable ? 1U : 0U;
        capacity_bytes += shown.capacity_bytes();
        used_bytes += shown.used_bytes();
    }
    out.set_drives(static_cast<uint32_t>(parts.view.drives().size()));
    out.set_drives_usable(usable);
    out.set_capacity_bytes(capacity_bytes);
    out.set_used_bytes(used_bytes);
    out.set_volumes(static_cast<uint32_t>(parts.view.volumes().size()));
    out.set_volumes_attached(static_cast<uint32_t>(parts.view.attachments().size()));
    uint32_t not_served = 0;
    for (const auto& [uuid, attachment] : parts.view.attachments()) {
        not_served += attachments.state(uuid, attachment.record) == "serves" ? 0U : 1U;
    }
    out.set_volumes_not_served(not_served);
}

}  // namespace

void ClusterHandlers::get_status(const v1::ClusterGetStatusRequest& /*request*/,
                                 Reply<v1::ClusterStatus> reply) {
    ControlPlane* plane = context().plane;
    const std::optional<RpcError> refusal = check_plane(context());
    if (plane == nullptr) {
        reply.fail(*refusal);
        return;
    }
    v1::ClusterStatus& out = reply.result();
    out.set_store(plane->source().kind());
    out.set_store_address(plane->source().address());
    if (refusal) {
        out.set_state("unreachable");
        out.set_problem(plane->problem());
        reply.send();
        return;
    }
    out.set_state("ready");
    out.set_leader(plane->is_leader());
    fill(plane->parts(), plane->attachments(), out);
    reply.send();
}

void ClusterHandlers::add_to(rpc::MethodTable& table) {
    table.add("cluster_get_status", *this, &ClusterHandlers::get_status);
    add<&get_settings>(table, "cluster_get_settings", &get_settings);
    add<&set_setting>(table, "cluster_set_setting", &set_setting);
    add<&explain_placement>(table, "cluster_explain_placement", &explain_placement);
}

}  // namespace basalt::control
