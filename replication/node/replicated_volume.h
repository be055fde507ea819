#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "reactor/io/storage.h"
#include "reactor/task.h"
#include "replication/head/head.h"
#include "replication/head/scrubber.h"
#include "replication/head/static_authority.h"
#include "replication/link/store_connection.h"
#include "replication/node/replica_host.h"
#include "replication/node/volume_lines.h"

namespace basalt::replication {

/// Where a replica of a volume is. A value.
struct ReplicaPlace {
    SocketAddress address{};  ///< Of the store's server.
    bdev::Uuid drive{};
};

/// A volume with replicas, as one head has it. A value.
struct ReplicatedVolumeOptions {
    std::string name;      ///< Of the device.
    bdev::Uuid uuid{};     ///< Of the device and the volume: the same at every head.
    uint64_t volume = 0;   ///< Its number at the replicas.
    bdev::Uuid cluster{};  ///< As the stores have it.
    std::vector<ReplicaPlace> replicas;
    Settings settings{};
    CoreId core{};         ///< That has the head.
    std::string map_path;  ///< Of the static authority's file.
    uint64_t lease_us = 1'000'000;
    bool is_standby = false;  ///< Is no head until it is told to take over.
    HeadMemoryOptions memory{};
};

/// Who is told that a head of this process serves, or does not any more. Core: the control thread.
class HeadWatcher {
  public:
    virtual void head_changed() = 0;

  protected:
    ~HeadWatcher() = default;
};

/// What comparing a volume's replicas has come to. A value.
struct ReplicaScrubReport {
    ScrubState scrub{};
    Findings findings{};
};

/// Where the heads of a process live. All of it outlives them.
struct ReplicatedHome {
    Reactor& control;
    bdev::BdevRegistry& registry;
    FileSystem& files;
    ReplicaHost& host;
    HeadWatcher* watcher = nullptr;  ///< Or null.
};

/// A volume's head with all that belongs to it in a process: the map authority's file, memory,
/// connections to the stores. A replica that the process's own host keeps on the head's core is
/// reached without a socket.
///
/// Life: open(), …, close() when no request is under way. Owner: ReplicatedVolumes. Core: the
/// control thread; the head and its connections are visited on their core. One task at a time.
class ReplicatedVolume final : private ServingUser {
  public:
    /// What this process is to the volume.
    enum class Role : uint8_t {
        kBegins,   ///< Is to be the head, or is, but does not serve yet.
        kServes,   ///< Is the head.
        kStandby,  ///< Another process is, or nobody: until this one is told to take over.
    };

    /// Begins to be the volume's head; that it is takes as long as it takes. Errors, explained in
    /// `problem`: kInvalidArgument; kNoMemory; those of StaticAuthority::open(), kBusy if another
    /// process has the file.
    [[nodiscard]] static Task<Result<std::unique_ptr<ReplicatedVolume>>> open(
        ReplicatedHome home, ReplicatedVolumeOptions options, std::string& problem);
    ReplicatedVolume(const ReplicatedVolume&) = delete;
    ReplicatedVolume& operator=(const ReplicatedVolume&) = delete;
    ~ReplicatedVolume();

    /// What hosts wait for is refused from now on, and all that comes (Head::give_up()).
    [[nodiscard]] Task<void> give_up();
    [[nodiscard]] Task<void> close();

    /// Is to be the head, in place of whoever is.
    [[nodiscard]] Task<void> take_over();
    [[nodiscard]] Role role() const;
    [[nodiscard]] Task<HeadStatistics> statistics();
    /// Replica `index` is at `place` from now on, on a drive that has a blank one. Errors: kBusy:
    /// the answers of the one before count still, or the head is another process, which has it
    /// elsewhere; those of StaticAuthority::set_drive().
    [[nodiscard]] Task<Status> replace(uint32_t index, ReplicaPlace place);

    /// As Scrubber's start() and cancel().
    [[nodiscard]] Task<Status> start_scrub(uint64_t bytes_per_second);
    [[nodiscard]] Task<void> stop_scrub();
    [[nodiscard]] Task<ReplicaScrubReport> scrub_report();

    [[nodiscard]] const ReplicatedVolumeOptions& options() const { return options_; }
    /// Whether the replica is reached without a socket.
    [[nodiscard]] bool is_local(uint32_t index) const { return local_[index] != nullptr; }
    [[nodiscard]] Head& head() { return *head_; }
    [[nodiscard]] VolumeLines& lines() { return *lines_; }

  private:
    struct Order;

    ReplicatedVolume(ReplicatedHome home, ReplicatedVolumeOptions options);

    [[nodiscard]] Task<Status> start(std::string& problem);
    [[nodiscard]] Task<void> visit_core(Order& order, Task<void> (*run)(Reactor&, Order&));
    void give_back(uint32_t index);
    [[nodiscard]] StaticAuthorityOptions map_options();
    [[nodiscard]] std::string words_for(Errc code) const;
    void serving_changed(bool serves) override;

    // On the head's core.
    static Task<void> start_there(Reactor& there, Order& order);
    static Task<void> give_up_there(Reactor& there, Order& order);
    static Task<void> take_over_there(Reactor& there, Order& order);
    static Task<void> stop_there(Reactor& there, Order& order);
    static Task<void> end_there(Reactor& there, Order& order);
    static Task<void> look_there(Reactor& there, Order& order);
    static Task<void> replace_there(Reactor& there, Order& order);
    static Task<void> start_scrub_there(Reactor& there, Order& order);
    static Task<void> stop_scrub_there(Reactor& there, Order& order);
    static Task<void> report_scrub_there(Reactor& there, Order& order);
    [[nodiscard]] std::unique_ptr<ReplicaLink> make_link(Reactor& there,
                                                         const ReplicaPlace& place,
                                                         ReplicaDirectory* local,
                                                         std::unique_ptr<StoreConnection>& out);
    [[nodiscard]] bool has_all_memory() const;

    ReplicatedHome home_;
    ReplicatedVolumeOptions options_;
    std::vector<ReplicaDirectory*> local_;  // Null: by a socket.
    std::unique_ptr<StaticAuthority> authority_;
    bool serves_ = false;
    std::unique_ptr<VolumeLines> lines_;
    std::unique_ptr<HeadMemory> memory_;
    // On the head's core.
    std::vector<std::unique_ptr<StoreConnection>> connections_;  // Null: none is needed.
    std::unique_ptr<Head> head_;
    std::unique_ptr<Scrubber> scrubber_;
};

}  // namespace basalt::replication
