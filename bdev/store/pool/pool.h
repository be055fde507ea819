#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "bdev/store/block_io.h"
#include "bdev/store/catalogue.h"
#include "bdev/store/catalogue_file.h"
#include "bdev/store/partition.h"
#include "bdev/store/pool/care_reports.h"
#include "bdev/store/pool/pool_options.h"
#include "bdev/store/pool/volume_bdev.h"
#include "bdev/store/slab_table.h"
#include "bdev/store/superblock.h"
#include "reactor/async_mutex.h"
#include "reactor/base/result.h"
#include "reactor/task.h"
#include "reactor/timer_queue.h"

namespace basalt::bdev::store {

/// A device that holds thin volumes, snapshots and clones, each of them a device too ("POOL/NAME").
///
/// Life: create() or open(); changes, one after the other; close(). Without close() it is as after
/// a crash, and open() finds all that was acknowledged. Every change is durable when its task ends.
///
/// Owner: Pools. Core: the control thread; its partitions live on the registry's cores, in turn,
/// and are visited there. Invariant: closed when destroyed, or its machine has lost its power.
class Pool {
  public:
    /// Formats `device`, whatever is on it. Errors, explained in `problem`, which lives until this
    /// is over: kInvalidArgument (name, UUID, partitions), kNotSupported (a device that has no
    /// blocks of 4096 bytes or can't be written), kNoSpace (too small), kExists (another device has
    /// that UUID's name), kBusy (the device is used); those of the device.
    [[nodiscard]] static Task<Result<std::unique_ptr<Pool>>> create(PoolHome home,
                                                                    Device& device,
                                                                    PoolOptions options,
                                                                    std::string& problem);

    /// Opens the pool on `device`, and makes the devices of its volumes and snapshots. A device
    /// that has grown since gives it more space. A volume whose name or UUID is that of another
    /// device gets none (it is in the log). Errors, explained in `problem`: kNotFound (no pool
    /// there), kNotSupported (a newer one), kDataCorrupt, kNoSpace (the device has shrunk), kBusy;
    /// those of the device.
    [[nodiscard]] static Task<Result<std::unique_ptr<Pool>>> open(PoolHome home,
                                                                  Device& device,
                                                                  PartitionOptions options,
                                                                  std::string& problem);

    /// Says what is on a device: kPool for what open() would take. Errors: those of the device;
    /// kBusy.
    [[nodiscard]] static Task<Result<SuperblockFinding>> examine(PoolHome home, Device& device);

    /// Makes `device` one without a pool. Errors: kBusy, kNotSupported; those of the device.
    [[nodiscard]] static Task<Status> erase(PoolHome home, Device& device);

    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;
    ~Pool();

    /// Removes the devices, makes checkpoints, lets go of the device. Errors: kBusy: a volume is
    /// used (nothing is changed); kIo: the last checkpoint failed (it is closed nevertheless).
    [[nodiscard]] Task<Status> close();

    // ---- Volumes. Errors of all: kNotFound, kExists, kInvalidArgument (names, sizes), kBusy (the
    // device is used; it is sent or received), kNoSpace (the catalogue is full), kDeviceGone (the
    // volume has no device: it is being received, or something has its name or UUID), kIo (the
    // pool's device failed; the outcome is known after the next opening: see is_fenced()).

    [[nodiscard]] Task<Status> create_volume(VolumeOptions options);
    /// Its snapshots stay. Space is given back in the background.
    [[nodiscard]] Task<Status> delete_volume(std::string name);

    // While the volume is used or not. Hosts are told by whoever calls.

    /// A volume that had no device because of its name gets one.
    [[nodiscard]] Task<Status> rename(std::string name, std::string new_name);
    /// What is under way is still written, or refused.
    [[nodiscard]] Task<Status> set_read_only(std::string name);
    /// A volume that shrinks loses what is beyond its end; I/O there is refused (kOutOfRange), all
    /// other goes on. If it fails the volume stays as large as it was, but zeroes may be beyond the
    /// end that it was to have.
    [[nodiscard]] Task<Status> resize(std::string name, uint64_t size_blocks);

    /// Takes snapshots of one or more volumes, all at one point: a cut of what was acknowledged.
    /// Writes wait for one write of the catalogue; reads for nothing.
    [[nodiscard]] Task<Status> snapshot(std::vector<SnapshotOptions> snapshots);
    /// Errors: also kBusy with WithClones::kRefuse: others have grown out of it.
    [[nodiscard]] Task<Status> delete_snapshot(std::string name, WithClones with_clones);
    /// A writable volume that begins as the snapshot is; `options.size_blocks` and block_bytes are
    /// the snapshot's.
    [[nodiscard]] Task<Status> clone(std::string snapshot, VolumeOptions options);
    /// The contents of a volume that nobody uses become those of its snapshot, what was written
    /// since is gone. Errors: also kInvalidArgument (another volume's snapshot, or of another
    /// size).
    [[nodiscard]] Task<Status> roll_back(std::string volume, std::string snapshot);

    /// Takes what the device has grown by since the pool was opened, while volumes are used; gives
    /// the blocks that it got (0: there is no more, or not a slab more, or a checkpoint can list no
    /// more slabs: a pool grows to eight times what it began with). Errors: kBusy: it is being
    /// closed; kIo and those of the device: the superblock can't be written (nothing is changed).
    [[nodiscard]] Task<Result<uint64_t>> grow();

    // ---- Care. The pool is not closed meanwhile (kBusy), and one that closes is not looked at.

    /// Recomputes what is in use, in all partitions; adds up. Errors: kBusy, kIo.
    [[nodiscard]] Task<Result<CheckReport>> check();
    /// Each partition's, in order; none of a pool that closes.
    [[nodiscard]] Task<std::vector<PartitionStats>> stats();
    [[nodiscard]] Task<PoolUsage> usage();
    /// The pool is low on space when less than `percent` of it is free; 0: never. It looks every
    /// second, and the log tells when it becomes low and when it is not any more. Not kept on the
    /// device.
    void set_low_space(uint32_t percent) { low_space_percent_ = percent; }
    [[nodiscard]] uint32_t low_space_percent() const { return low_space_percent_; }
    [[nodiscard]] bool is_low_on_space() const { return is_low_on_space_; }
    /// How often it has become low since it was opened.
    [[nodiscard]] uint64_t low_space_events() const { return low_space_events_; }
    /// Blocks that would be free if the volume or snapshot were deleted. Errors: kNotFound,
    /// kMediaError, kBusy.
    [[nodiscard]] Task<Result<uint64_t>> exclusive_blocks(std::string name);
    /// Ends when all that was deleted has been given back, or can't be for now.
    [[nodiscard]] Task<void> swept();
    /// Begins to read and verify all data and mapping that volumes and snapshots hold now, in the
    /// background. Errors: kBusy (a scrub is running).
    [[nodiscard]] Status start_scrub(ScrubOptions options);
    /// Ends when no scrub is running. A pool that closes stops it too.
    [[nodiscard]] Task<void> stop_scrub();
    [[nodiscard]] const ScrubReport& scrub_report() const { return scrub_; }
    /// Where a volume or snapshot is different from a snapshot that it has grown out of ("": where
    /// it holds anything), from `from` on: at most `ranges_max` ranges, and perhaps none though
    /// there are more: until `is_end`. A volume is looked at as it is meanwhile. Errors: kNotFound;
    /// kInvalidArgument (it has not grown out of `older`); kMediaError, kBusy.
    [[nodiscard]] Task<Result<ChangedStep>> changed(std::string older,
                                                    std::string newer,
                                                    uint64_t from,
                                                    size_t ranges_max);
    /// Copies what a volume has in common with its parent, or with all ancestors, so that it does
    /// not depend on them; then it takes space of its own. Hosts may use it. Errors: kNotFound;
    /// kInvalidArgument (kParent, and it has none); kBusy: it is being flattened, or a snapshot of
    /// it was taken meanwhile; kCancelled, kMediaError, kNoSpace, kIo: it is as it was, but for
    /// the space that copies take, and may be begun again.
    [[nodiscard]] Task<Status> flatten(std::string name, FlattenFrom from);
    /// Has it end, with kCancelled, soon. Errors: kNotFound: it is not being flattened.
    [[nodiscard]] Status stop_flatten(std::string_view name);
    /// Volumes that are being flattened.
    [[nodiscard]] const std::map<Uuid, FlattenReport>& flattening() const { return flattening_; }
    /// The process is about to end: what takes long gives up (kCancelled).
    void cancel_work() { is_cancelled_ = true; }

    [[nodiscard]] const Catalogue& catalogue() const { return catalogue_; }
    [[nodiscard]] const PoolIdentity& identity() const { return identity_; }
    [[nodiscard]] Device& device() const { return device_; }
    [[nodiscard]] const PoolHome& home() const { return home_; }
    /// The device of a volume or snapshot; null if there is none.
    [[nodiscard]] Device* device_of(std::string_view name) const;

    /// A change of the catalogue failed, and it may have reached the device all the same. From then
    /// on all changes are refused (kIo), and a volume that may be gone or rolled back is used by
    /// nobody, until the pool has been closed and opened again.
    [[nodiscard]] bool is_fenced() const { return file_ != nullptr && file_->has_failed(); }

  private:
    struct Seat {
        PoolSeat place;
        std::unique_ptr<DeviceChannel> channel;
        std::unique_ptr<Partition> partition;
    };
    struct Making;
    struct ScrubRound;
    struct Comparison;
    struct Flattening;
    template <typename Argument>
    struct Visit;
    class Look;
    friend class TransferPool;  // Streams of snapshots: ../transfer/.

    Pool(PoolHome home, Device& device);

    // Life (pool.cc).
    [[nodiscard]] Task<Status> attach(std::string& problem);
    [[nodiscard]] Task<Status> format(PoolOptions options, std::string& problem);
    [[nodiscard]] Task<Status> read_superblock(SuperblockFinding& finding);
    [[nodiscard]] Task<Status> write_superblock(Place place, PoolState state);
    [[nodiscard]] Task<Status> take_growth();
    [[nodiscard]] Task<Status> load(PartitionOptions options, bool is_new, std::string& problem);
    [[nodiscard]] Task<Status> open_partitions(PartitionOptions options, bool is_new);
    static Task<void> make_there(Reactor& there, Visit<Making>& visit);
    [[nodiscard]] Task<void> detach();
    [[nodiscard]] bool is_used() const;
    void start_background();
    void add_devices();

    // Changes (pool_volumes.cc).
    [[nodiscard]] Task<Status> commit(std::vector<CatalogueChange> changes);
    [[nodiscard]] Task<void> tell_nodes(std::vector<NodeEntry> nodes);
    [[nodiscard]] Task<void> tell_note_owners();
    void add_device(const VolumeBdevOptions& options);
    /// Null if the volume or snapshot has none.
    [[nodiscard]] VolumeBdev* find_bdev(const Uuid& uuid) const;
    /// Asks the partitions what these devices hold, so that they can tell before they are written.
    [[nodiscard]] Task<void> publish_usage(std::vector<Uuid> devices);
    [[nodiscard]] Result<Claim> claim(const Uuid& uuid);
    /// What a device's limits hold on the cores goes before the device does.
    [[nodiscard]] Task<void> clear_limits(Uuid uuid);
    void remove_device(const Uuid& uuid);
    [[nodiscard]] VolumeBdevOptions options_of(const VolumeEntry& volume) const;
    [[nodiscard]] VolumeBdevOptions options_of(const SnapshotEntry& snapshot) const;
    [[nodiscard]] std::string full_name(std::string_view name) const;
    /// Whether it can be a part of a device's name.
    [[nodiscard]] static bool is_name(std::string_view name);
    /// Nobody else gets the name, and the UUID, from now on. A nil one: the UUID stays.
    [[nodiscard]] Result<Reservation> reserve(std::string_view name, const Uuid& uuid);
    [[nodiscard]] Result<Reservation> reserve_new(std::string_view name, const Uuid& uuid);
    [[nodiscard]] bool has_clones(const SnapshotEntry& snapshot) const;
    /// Whether a volume or snapshot with that node is needed for one that is sent or received.
    [[nodiscard]] bool is_held(const Uuid& uuid, uint32_t node) const;
    [[nodiscard]] Task<void> hold(std::vector<Uuid> volumes);
    /// Ends hold(); each volume goes on in its heir, which is told to the partitions as `nodes`
    /// are.
    [[nodiscard]] Task<void> resume(std::vector<Uuid> volumes,
                                    std::vector<uint32_t> heirs,
                                    std::vector<NodeEntry> nodes);
    [[nodiscard]] Task<Status> commit_one(CatalogueChange change);
    [[nodiscard]] Task<Status> hide(Uuid uuid, CatalogueChange gone, NodeEntry node);
    /// Tells the partitions. Afterwards nothing beyond the end is read or written, and if it is
    /// read-only nothing at all is written.
    [[nodiscard]] Task<void> set_bounds(VolumeBdev& bdev, uint64_t end, bool is_read_only);
    [[nodiscard]] Task<Status> unmap_beyond(VolumeEntry volume, uint64_t size_blocks);

    // Looks (pool_care.cc).
    [[nodiscard]] Task<std::vector<PartitionStats>> all_stats();
    [[nodiscard]] PoolUsage sum_up(const std::vector<PartitionStats>& all) const;
    void look_later();
    [[nodiscard]] Task<void> look_at_space();
    void judge_space(const PoolUsage& usage);

    // The sweep (pool_sweep.cc).
    void start_sweep();
    [[nodiscard]] Task<void> sweep();
    [[nodiscard]] Task<Status> sweep_node(NodeEntry node);
    [[nodiscard]] const NodeEntry* next_to_sweep() const;

    // The scrub (pool_scrub.cc).
    [[nodiscard]] Task<void> scrub(ScrubOptions options);
    [[nodiscard]] Task<void> scrub_node(uint32_t node, ScrubOptions options);
    void add_finding(const DamagedBlock& damaged);
    [[nodiscard]] std::string name_of_node(uint32_t node) const;

    // Differences and flattening (pool_changes.cc).
    [[nodiscard]] bool is_ancestor(uint32_t older, uint32_t newer) const;
    [[nodiscard]] Task<Result<ChangedStep>> compare(
        uint32_t older, uint32_t newer, uint64_t from, uint64_t end, size_t max);
    [[nodiscard]] Task<Status> flatten_once(Uuid uuid, FlattenFrom from);
    [[nodiscard]] Task<Status> flatten_all(Uuid uuid, Flattening& all);

    /// Runs `run` for each partition on its core, all at once; the first error there was.
    template <typename Argument>
    [[nodiscard]] Task<Status> on_seats(Argument& argument,
                                        Task<void> (*run)(Reactor&, Visit<Argument>&));

    PoolHome home_;
    Device& device_;
    Claim claim_;
    std::unique_ptr<DeviceChannel> channel_;  // On the first core, for superblock and catalogue.
    std::unique_ptr<BlockIo> io_;
    PoolIdentity identity_;
    Place newest_ = Place::kA;  // Of the superblocks: the other one is written next.
    std::unique_ptr<CatalogueFile> file_;
    Catalogue catalogue_;
    std::unique_ptr<SlabTable> slabs_;
    std::vector<Seat> seats_;
    std::vector<PoolSeat> places_;  // Of seats_, for the volumes.
    std::map<Uuid, VolumeBdev*> devices_;
    std::map<Uuid, Claim> suspended_;  // Devices of which nobody knows what became: is_fenced().
    AsyncMutex changes_;
    AsyncMutex sweep_turn_;
    bool is_sweeping_ = false;
    std::set<uint32_t> unswept_;  // Nodes that could not be swept since the pool was opened.
    AsyncMutex scrub_turn_;
    ScrubReport scrub_;
    bool is_scrub_stopped_ = false;
    std::map<Uuid, FlattenReport> flattening_;
    bool is_cancelled_ = false;
    std::multiset<Uuid> held_;  // Being sent or received.
    bool is_closing_ = false;
    Timer space_timer_;
    AsyncMutex space_turn_;
    uint32_t low_space_percent_ = kLowSpacePercentDefault;
    bool is_low_on_space_ = false;
    uint64_t low_space_events_ = 0;
    uint32_t looks_ = 0;  // Under way from the outside: checks, statistics; see Look.
};

}  // namespace basalt::bdev::store
