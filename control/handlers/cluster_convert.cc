#include "control/handlers/cluster_convert.h"

#include <algorithm>
#include <set>

#include "control/cluster/limits.h"
#include "control/plane/limits.h"

namespace basalt::control {

namespace {

using cluster::Attachment;
using cluster::Drive;
using cluster::Node;
using cluster::to_uuid;
using cluster::Uuid;
using cluster::Versioned;
using cluster::Volume;

// Of a volume; more are of interest by chunk only.
constexpr size_t kDrivesShown = 64;

std::string_view word_of(Drive::State state) {
    if (state == Drive::DRAINING) {
        return "draining";
    }
    return state == Drive::DOWN ? "down" : "online";
}

std::string_view word_of(Volume::State state) {
    if (state == Volume::READY) {
        return "ready";
    }
    return state == Volume::DELETING ? "deleting" : "creating";
}

std::string name_of(const cluster::ClusterView& view, const Uuid& node) {
    const auto known = view.nodes().find(node);
    return known == view.nodes().end() ? "" : known->second.record.name();
}

/// The host of "HOST:PORT", and the rest.
std::pair<std::string, std::string> split(const std::string& address) {
    const size_t colon = std::min(address.rfind(':'), address.size());
    return {address.substr(0, colon), address.substr(colon)};
}

/// A label that has a field of its own; null: it has none.
std::string* field_of(std::string_view label, Node& node) {
    if (label == "name") {
        return node.mutable_name();
    }
    if (label == "datacenter") {
        return node.mutable_datacenter();
    }
    if (label == "rack") {
        return node.mutable_rack();
    }
    return label == "host" ? node.mutable_host() : nullptr;
}

void set_other_label(const std::string& name, const std::string& value, Node& node) {
    auto& labels = *node.mutable_labels();
    const auto known = std::ranges::find(labels, name, &cluster::Label::name);
    if (value.empty()) {
        if (known != labels.end()) {
            labels.erase(known);
        }
        return;
    }
    cluster::Label& label = known == labels.end() ? *labels.Add() : *known;
    label.set_name(name);
    label.set_value(value);
}

}  // namespace

ClusterUsage usage_of(const cluster::ClusterView& view) {
    ClusterUsage usage;
    std::map<uint32_t, Uuid> nodes;
    for (const auto& [uuid, drive] : view.drives()) {
        nodes.emplace(drive.record.number(), to_uuid(drive.record.node()));
    }
    std::vector<uint64_t> counts;  // By number.
    for (const auto& [uuid, volume] : view.volumes()) {
        const cluster::ChunkMap* map = view.chunks(uuid);
        std::set<Uuid> on;
        for (uint64_t chunk = 0; map != nullptr && chunk < map->chunks(); ++chunk) {
            for (const uint32_t number : map->drives(chunk)) {
                counts.resize(std::max<size_t>(counts.size(), size_t{number} + 1));
                ++counts[number];
            }
        }
        for (const uint32_t number : cluster::drives_of(view, uuid)) {
            on.insert(nodes[number]);
        }
        for (const Uuid& node : on) {
            ++usage.volumes[node];
        }
    }
    for (const auto& [number, node] : nodes) {
        usage.chunks[number] = number < counts.size() ? counts[number] : 0;
    }
    for (const auto& [uuid, attachment] : view.attachments()) {
        ++usage.attached[to_uuid(attachment.record.node())];
    }
    return usage;
}

void fill(const cluster::PlaneParts& parts,
          const ClusterUsage& usage,
          const Versioned<Node>& node,
          v1::ClusterNode& out) {
    const Uuid uuid = to_uuid(node.record.uuid());
    out.set_uuid(uuid.to_string());
    out.set_name(node.record.name());
    out.set_address(node.record.address());
    out.set_datacenter(node.record.datacenter());
    out.set_rack(node.record.rack());
    out.set_host(node.record.host());
    for (const cluster::Label& label : node.record.labels()) {
        out.add_labels(label.name() + "=" + label.value());
    }
    out.set_state(node.record.state() == Node::DRAINING ? "draining" : "active");
    out.set_health(std::string(to_string(parts.watch.state(uuid))));
    out.set_silent_ms(parts.watch.silent_ns(uuid) / kNsPerMs);
    uint32_t drives = 0;
    for (const auto& [key, drive] : parts.view.drives()) {
        drives += drive.record.node() == node.record.uuid() ? 1U : 0U;
    }
    out.set_drives(drives);
    const auto volumes = usage.volumes.find(uuid);
    out.set_volumes(volumes == usage.volumes.end() ? 0 : volumes->second);
    const auto attached = usage.attached.find(uuid);
    out.set_volumes_attached(attached == usage.attached.end() ? 0 : attached->second);
    out.set_version(node.version.raw());
}

void fill(const cluster::PlaneParts& parts,
          const ClusterUsage& usage,
          const Versioned<Drive>& drive,
          v1::ClusterDrive& out) {
    const Uuid node = to_uuid(drive.record.node());
    const std::string uuid = to_uuid(drive.record.uuid()).to_string();
    out.set_uuid(uuid);
    out.set_number(drive.record.number());
    out.set_node(node.to_string());
    out.set_node_name(name_of(parts.view, node));
    out.set_address(drive.record.address());
    out.set_pool(drive.record.pool());
    out.set_capacity_bytes(drive.record.capacity_bytes());
    if (const cluster::NodeWatch::Heard* heard = parts.watch.find(node)) {
        for (const v1::NodeDriveInfo& one : heard->info.drives()) {
            if (one.uuid() == uuid) {
                out.set_used_bytes(one.used_bytes());
            }
        }
    }
    out.set_state(std::string(word_of(drive.record.state())));
    const auto chunks = usage.chunks.find(drive.record.number());
    out.set_chunks(chunks == usage.chunks.end() ? 0 : chunks->second);
    out.set_version(drive.version.raw());
}

void fill(const cluster::PlaneParts& parts,
          const cluster::Attachments& attachments,
          const Versioned<Volume>& volume,
          v1::ClusterVolume& out) {
    const Volume& record = volume.record;
    const Uuid uuid = to_uuid(record.uuid());
    out.set_uuid(uuid.to_string());
    out.set_name(record.name());
    out.set_number(record.number());
    out.set_state(std::string(word_of(record.state())));
    out.set_size_bytes(record.size_bytes());
    out.set_chunk_bytes(record.chunk_bytes());
    out.set_chunks(cluster::chunk_count(record.size_bytes(), record.chunk_bytes()));
    out.set_replicas(record.replicas());
    out.set_write_quorum(record.write_quorum());
    out.set_read_quorum(record.read_quorum());
    out.set_stride(record.stride());
    out.set_placement_rule(record.placement_rule());
    for (const uint32_t number : cluster::drives_of(parts.view, uuid)) {
        if (out.drives_size() < static_cast<int>(kDrivesShown)) {
            out.add_drives(drive_text(parts.view, number));
        }
    }
    out.set_provisioned(!record.replica_drives().empty());
    const auto attached = parts.view.attachments().find(uuid);
    if (attached != parts.view.attachments().end()) {
        fill(parts, attachments, attached->second.record, *out.mutable_attachment());
    }
    out.set_version(volume.version.raw());
}

void fill(const cluster::PlaneParts& parts,
          const cluster::Attachments& attachments,
          const Attachment& attachment,
          v1::ClusterAttachment& out) {
    const Uuid node = to_uuid(attachment.node());
    const Uuid volume = to_uuid(attachment.volume());
    out.set_node(node.to_string());
    out.set_node_name(name_of(parts.view, node));
    out.set_nqn(attachment.nqn());
    out.set_nsid(attachment.nsid());
    const auto known = parts.view.nodes().find(node);
    for (const std::string& one : attachment.addresses()) {
        out.add_addresses(known == parts.view.nodes().end()
                              ? one
                              : reachable(one, known->second.record.address()));
    }
    *out.mutable_hosts() = attachment.hosts();
    out.set_allow_any_host(attachment.allow_any_host());
    const auto record = parts.view.volumes().find(volume);
    if (record != parts.view.volumes().end()) {
        out.set_map_file(record->second.record.map_file());
    }
    out.set_state(attachments.state(volume, attachment));
}

std::string drive_text(const cluster::ClusterView& view, uint32_t number) {
    for (const auto& [uuid, drive] : view.drives()) {
        if (drive.record.number() == number) {
            return uuid.to_string();
        }
    }
    return {};
}

std::string set_labels(const google::protobuf::RepeatedPtrField<std::string>& labels, Node& node) {
    for (const std::string& label : labels) {
        const size_t equals = label.find('=');
        const std::string name = label.substr(0, equals);
        const std::string value = equals == std::string::npos ? "" : label.substr(equals + 1);
        if (equals == std::string::npos || !cluster::is_name(name) ||
            (!value.empty() && !cluster::is_name(value))) {
            return "labels: '" + label + "' is no NAME=VALUE";
        }
        std::string* field = field_of(name, node);
        if (field == nullptr) {
            set_other_label(name, value, node);
            continue;
        }
        // What paths of failure domains are made of.
        if (name != "name" && (value.empty() || value.find('/') != std::string::npos)) {
            return "labels: '" + label + "': a " + name + " has a name, without '/'";
        }
        if (name == "name" && cluster::Uuid::parse(value)) {
            return "labels: '" + label + "': a name must not look like a UUID";
        }
        *field = value;
    }
    if (node.labels_size() > static_cast<int>(cluster::kLabelsMax)) {
        return "labels: a node has at most " + std::to_string(cluster::kLabelsMax);
    }
    return {};
}

std::optional<Drive::State> parse_drive_state(std::string_view word) {
    for (const Drive::State state : {Drive::ONLINE, Drive::DRAINING, Drive::DOWN}) {
        if (word_of(state) == word) {
            return state;
        }
    }
    return std::nullopt;
}

std::optional<Node::State> parse_node_state(std::string_view word) {
    if (word == "active") {
        return Node::ACTIVE;
    }
    return word == "draining" ? std::optional(Node::DRAINING) : std::nullopt;
}

std::string reachable(const std::string& listens, const std::string& node_address) {
    const auto [host, port] = split(listens);
    return host == "0.0.0.0" || host == "[::]" ? split(node_address).first + port : listens;
}

}  // namespace basalt::control
