#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/plane/control_plane.h"
#include "rpc/proto/cluster.pb.h"

namespace basalt::control {

/// What all volumes together use: one pass over all chunks. A value.
struct ClusterUsage {
    std::map<uint32_t, uint64_t> chunks;         ///< Copies on a drive, by its number.
    std::map<cluster::Uuid, uint32_t> volumes;   ///< That have copies on a node.
    std::map<cluster::Uuid, uint32_t> attached;  ///< To a node.
};
[[nodiscard]] ClusterUsage usage_of(const cluster::ClusterView& view);

// Records as the API shows them.
void fill(const cluster::PlaneParts& parts,
          const ClusterUsage& usage,
          const cluster::Versioned<cluster::Node>& node,
          v1::ClusterNode& out);
void fill(const cluster::PlaneParts& parts,
          const ClusterUsage& usage,
          const cluster::Versioned<cluster::Drive>& drive,
          v1::ClusterDrive& out);
void fill(const cluster::PlaneParts& parts,
          const cluster::Attachments& attachments,
          const cluster::Versioned<cluster::Volume>& volume,
          v1::ClusterVolume& out);
void fill(const cluster::PlaneParts& parts,
          const cluster::Attachments& attachments,
          const cluster::Attachment& attachment,
          v1::ClusterAttachment& out);

/// UUID of the drive with that number; empty if there is none.
[[nodiscard]] std::string drive_text(const cluster::ClusterView& view, uint32_t number);

/// Sets the labels of a request, NAME=VALUE each, in a node's record; what is wrong with them,
/// or empty.
[[nodiscard]] std::string set_labels(const google::protobuf::RepeatedPtrField<std::string>& labels,
                                     cluster::Node& node);

/// The drives's states in words; nothing for another word.
[[nodiscard]] std::optional<cluster::Drive::State> parse_drive_state(std::string_view word);
[[nodiscard]] std::optional<cluster::Node::State> parse_node_state(std::string_view word);

/// "10.0.0.1:4500" of what listens on it, or on all addresses of a node whose gRPC is at
/// `node_address`.
[[nodiscard]] std::string reachable(const std::string& listens, const std::string& node_address);

}  // namespace basalt::control
