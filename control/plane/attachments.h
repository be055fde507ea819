#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/cluster/operations.h"
#include "control/plane/node_api.h"
#include "control/plane/node_watch.h"
#include "control/plane/settings.h"

namespace basalt::cluster {

/// Null: it was done.
using Failure = std::optional<rpc::RpcError>;

/// What a control process works with while its store is open. All of it outlives its users.
struct PlaneParts {
    Reactor& here;
    metadata::MetadataStore& store;
    ClusterView& view;
    NodeApi& api;
    NodeWatch& watch;
    const Uuid cluster;
};

/// Who is to serve a volume, and to whom. A value.
struct AttachWish {
    Uuid volume{};
    Uuid node{};
    std::vector<std::string> hosts{};
    bool allow_any_host = false;
};

/// Makes volumes of the records real: copies at stores, heads and subsystems at targets; and takes
/// that away again. The records say what is wanted before anything is done, so that what was broken
/// off is brought to its end: by calling again, or by mend().
///
/// One call at a time changes a volume; others are refused (-EAGAIN). Owner: ControlPlane. Core:
/// the control thread's.
class Attachments {
  public:
    explicit Attachments(PlaneParts parts) : parts_(parts) {}
    Attachments(const Attachments&) = delete;
    Attachments& operator=(const Attachments&) = delete;

    /// Errors: those of ClusterAttachVolume.
    [[nodiscard]] Task<Failure> attach(AttachWish wish);
    /// Also one that is not attached. Errors: those of ClusterDetachVolume.
    [[nodiscard]] Task<Failure> detach(Uuid volume);
    /// Deletes a volume with its copies. `force`: what is at nodes that do not answer stays there.
    /// Errors: those of ClusterDeleteVolume.
    [[nodiscard]] Task<Failure> remove(Uuid volume, bool force, Revision version);

    /// Brings about what the record of an attachment says, if this process has not done so yet, or
    /// its node has lost it; after each time that the node was heard of once at most.
    [[nodiscard]] Task<void> mend(Uuid volume);

    /// "serves", "begins", "standby" or "missing", as the node said last; "unknown": it was not
    /// heard of.
    [[nodiscard]] std::string state(const Uuid& volume, const Attachment& attachment) const;

    /// The name of a volume's device at its target.
    [[nodiscard]] static std::string device_of(const Uuid& volume);

  private:
    class Turn;
    struct Step;

    [[nodiscard]] Task<Failure> attach_now(AttachWish wish);
    [[nodiscard]] Task<Failure> detach_now(Uuid volume);
    [[nodiscard]] Task<Failure> remove_now(Uuid volume, bool force, Revision version);
    [[nodiscard]] Task<Failure> provision(Versioned<Volume>& volume);
    [[nodiscard]] Task<Failure> look_for_fresh_copy(std::string address,
                                                    Uuid drive,
                                                    Volume volume,
                                                    bool& is_there);
    [[nodiscard]] Task<Failure> check_copy(std::string address, Uuid drive, Volume volume);
    [[nodiscard]] bool is_beginning(const Uuid& volume) const;
    [[nodiscard]] Task<Failure> record(const AttachWish& wish,
                                       Versioned<Volume>& volume,
                                       Versioned<Attachment>& attachment);
    [[nodiscard]] Task<Failure> take_back(Volume volume, bool has_new_map);
    [[nodiscard]] Task<Failure> make_head(Volume volume, Attachment attachment);
    [[nodiscard]] Task<Failure> serve(Volume volume, Attachment attachment);
    [[nodiscard]] Task<Failure> make_subsystem(Volume record, Attachment attachment);
    [[nodiscard]] Task<Failure> unserve(Uuid volume, Attachment attachment);
    [[nodiscard]] Task<Failure> delete_copy(Volume volume, Uuid drive);
    [[nodiscard]] std::string address_of(const Uuid& node) const;
    [[nodiscard]] const Drive* drive_of(uint32_t number) const;

    PlaneParts parts_;
    std::set<Uuid> busy_;
    std::map<Uuid, uint64_t> tried_ns_;  // By mend(): when what it acted on was heard.
    std::set<Uuid> done_;  // Attachments that were made from end to end by this process.
};

/// Waits until `view` has all up to `revision`, or that takes too long.
[[nodiscard]] Task<void> wait_until_seen(Reactor& here, ClusterView& view, Revision revision);

/// A failed operation on `what`; kCompareMismatch is -ESTALE: it has another version.
[[nodiscard]] rpc::RpcError to_failure(Error error, std::string_view what);

/// "volume 'vol1'", for messages.
[[nodiscard]] std::string words_of(const Volume& volume);

}  // namespace basalt::cluster
