#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "control/cluster/cluster.pb.h"
#include "control/cluster/cluster_view.h"
#include "control/cluster/records.h"
#include "control/cluster/volume_plan.h"
#include "replication/core/types.h"

namespace basalt::cluster {

// What changes the cluster's state. Each may be called again when its outcome is not known
// (kTimedOut), and then finds what it has done. `store` and `view` live until it is done. Errors of
// all: the store's; kDataCorrupt: a record makes no sense; kTryAgain: others were faster, too
// often.

/// The cluster's UUID: `fresh`, if it has none yet.
[[nodiscard]] Task<Result<Uuid>> open_cluster(MetadataStore& store, Uuid fresh, uint64_t now_ns);

/// A node that is there already stays as it is known. Errors: kInvalidArgument: no UUID or place.
[[nodiscard]] Task<Result<Versioned<Node>>> register_node(MetadataStore& store, Node node);

/// Gives it a number; one that is there already stays as it is known. Errors: kInvalidArgument: no
/// UUID or capacity; kNotFound: no such node; kExists: it is another node's.
[[nodiscard]] Task<Result<Versioned<Drive>>> add_drive(MetadataStore& store, Drive drive);

/// Takes a node and its drives away, which `view` knows. `version`: only if it is still of that one
/// (0: of any). Errors: kBusy: volumes have chunks there, or one is attached there;
/// kCompareMismatch; kNotFound; kOutOfRange: it has too many drives.
[[nodiscard]] Task<Result<Revision>> remove_node(MetadataStore& store,
                                                 const ClusterView& view,
                                                 Uuid node,
                                                 Revision version);
/// The same of one drive.
[[nodiscard]] Task<Result<Revision>> remove_drive(MetadataStore& store,
                                                  const ClusterView& view,
                                                  Uuid drive,
                                                  Revision version);

/// A name or a request given twice is one volume; one whose creation was broken off is completed.
/// `fresh`: the UUID of a new one. Errors: plan_volume()'s and to_volume()'s; kExists: another
/// volume has the name, or it was wanted otherwise.
[[nodiscard]] Task<Result<Versioned<Volume>>> create_volume(MetadataStore& store,
                                                            const ClusterView& view,
                                                            VolumeWish wish,
                                                            Uuid fresh);

/// Errors: kExists: another volume has the name; kInvalidArgument: it is none; kBusy: the volume is
/// not ready; kNotFound; kCompareMismatch: it is not of `version` (0: of any).
[[nodiscard]] Task<Result<Versioned<Volume>>> rename_volume(MetadataStore& store,
                                                            Uuid volume,
                                                            std::string name,
                                                            Revision version);

/// It is attached as `wish` says, which has all but the map; the volume is `volume` then, of which
/// `known` was the version. Errors: kCompareMismatch: one of the two has changed.
[[nodiscard]] Task<Result<Revision>> put_attachment(MetadataStore& store,
                                                    Versioned<Attachment> wish,
                                                    Versioned<Volume> volume);

/// From now on it can't be attached. Errors: kBusy: it is; kNotFound; kCompareMismatch: it is not
/// of `version` (0: of any).
[[nodiscard]] Task<Result<Versioned<Volume>>> begin_delete_volume(MetadataStore& store,
                                                                  Uuid volume,
                                                                  Revision version);
/// Forgets a volume whose copies are gone; one that is forgotten already, too. Errors: kBusy:
/// begin_delete_volume() comes first.
[[nodiscard]] Task<Status> finish_delete_volume(MetadataStore& store, Uuid volume);

/// Volumes that have chunks on one of these drives (numbers), in order.
[[nodiscard]] std::vector<Uuid> volumes_on(const ClusterView& view,
                                           const std::vector<uint32_t>& drives);
/// Numbers of the drives that have chunks of it, in order.
[[nodiscard]] std::vector<uint32_t> drives_of(const ClusterView& view, const Uuid& volume);

/// Makes `node` the head of a volume for as long as `lease` is kept alive, with an epoch that no
/// other grant ever had. Called again with the same lease it gives a new epoch.
/// Errors: kBusy: another head's lease has not ended; kNotFound: no such volume that is ready, or
/// no such lease.
[[nodiscard]] Task<Result<replication::Epoch>> claim_head(MetadataStore& store,
                                                          Uuid volume,
                                                          Uuid node,
                                                          metadata::LeaseId lease);

}  // namespace basalt::cluster
