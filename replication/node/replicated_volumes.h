#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "reactor/async_mutex.h"
#include "replication/node/replicated_volume.h"

namespace basalt::replication {

/// How a volume stands. A value.
struct ReplicatedVolumeReport {
    ReplicatedVolumeOptions options;
    std::vector<bool> is_local;  ///< Of each replica: reached without a socket.
    HeadStatistics head{};
    ReplicatedVolume::Role role{};
};

/// The replicated volumes that this process is, or would be, the head of, each a device.
///
/// Life: changes one after the other, then shut_down() when no device is used any more. Owner:
/// whoever wires the process. Core: the control thread.
class ReplicatedVolumes {
  public:
    explicit ReplicatedVolumes(ReplicatedHome home) : home_(home), changes_(home.control) {}
    ReplicatedVolumes(const ReplicatedVolumes&) = delete;
    ReplicatedVolumes& operator=(const ReplicatedVolumes&) = delete;
    ~ReplicatedVolumes() { BASALT_ASSERT(volumes_.empty() || home_.control.is_abandoned()); }

    /// Makes the device and begins to be the head. Errors, explained in `problem`: those of
    /// ReplicatedVolume::open() and BdevRegistry::add().
    [[nodiscard]] Task<Status> create(ReplicatedVolumeOptions options, std::string& problem);

    /// Removes the device and gives the volume up; its replicas stay. Errors: kNotFound; kBusy: the
    /// device is used.
    [[nodiscard]] Task<Status> remove(std::string name);

    /// This process is to be the volume's head, in place of whoever is; that it is takes as long as
    /// it takes. Errors: kNotFound.
    [[nodiscard]] Task<Status> take_over(std::string name);

    /// `watcher` is told of changes from now on. Before any volume is made.
    void watch(HeadWatcher& watcher) { home_.watcher = &watcher; }

    /// Replica `index` of that volume is at `place` from now on. Errors: kNotFound; kExists:
    /// another one is on that drive; those of ReplicatedVolume::replace().
    [[nodiscard]] Task<Status> replace(std::string name, uint32_t index, ReplicaPlace place);

    /// All, or the one with that name; none if there is none.
    [[nodiscard]] Task<std::vector<ReplicatedVolumeReport>> report(std::string name);

    /// Begins or ends a scrub of that volume. Errors: kNotFound; those of Scrubber::start().
    [[nodiscard]] Task<Status> start_scrub(std::string name, uint64_t bytes_per_second);
    [[nodiscard]] Task<Status> stop_scrub(std::string name);
    /// Errors: kNotFound.
    [[nodiscard]] Task<Result<ReplicaScrubReport>> scrub_report(std::string name);

    /// As VolumeLines has them. Errors: also kNotFound: there is no such volume. What waits for
    /// replicas holds nothing else up.
    [[nodiscard]] Task<Result<OpNumber>> snapshot(std::string name, std::string snapshot);
    [[nodiscard]] Task<Status> delete_snapshot(std::string name, std::string snapshot);
    [[nodiscard]] Task<Result<std::vector<LineRecord>>> snapshots(std::string name);

    /// Before the end of the process: hosts that wait for replicas have waited long enough.
    [[nodiscard]] Task<void> give_up();
    /// At the end of the process, when nobody uses a device any more.
    [[nodiscard]] Task<void> shut_down();

    /// By the device's name; null if there is none.
    [[nodiscard]] const ReplicatedVolume* find(std::string_view name) const;
    /// In the order in which they were made.
    [[nodiscard]] const std::vector<std::unique_ptr<ReplicatedVolume>>& all() const {
        return volumes_;
    }

  private:
    /// As find(), to be changed, while it is this task's turn.
    [[nodiscard]] ReplicatedVolume* find_own(std::string_view name) const;
    template <typename Outcome>
    [[nodiscard]] Task<Outcome> on_lines(std::string name,
                                         std::string snapshot,
                                         Task<Outcome> (VolumeLines::*what)(std::string));
    [[nodiscard]] Task<void> close(std::unique_ptr<ReplicatedVolume> volume);

    ReplicatedHome home_;
    AsyncMutex changes_;
    std::vector<std::unique_ptr<ReplicatedVolume>> volumes_;
};

}  // namespace basalt::replication
