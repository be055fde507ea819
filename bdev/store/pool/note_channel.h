#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <sys/uio.h>

#include "bdev/core/device.h"
#include "bdev/store/note.h"
#include "bdev/store/partition_io.h"
#include "bdev/store/pool/volume.h"
#include "reactor/base/result.h"
#include "reactor/msg/event.h"
#include "reactor/reactor.h"
#include "reactor/task.h"

namespace basalt::bdev::store {

class NoteChannel;

/// A change of a volume that carries a note: after a crash both are there, or neither. Pooled by
/// whoever makes it. Blocks are of 4096 bytes.
///
/// Life: the maker fills it in and calls NoteChannel::submit(); until the completion it, its memory
/// and its note belong to the channel. The completion comes once, from the poll loop, never inside
/// submit(). Core: the channel's.
class NotedRequest {
  public:
    /// `request.status` is set. May free the request or submit it again.
    using Complete = void (*)(NotedRequest& request, void* context);

    NotedRequest();
    NotedRequest(const NotedRequest&) = delete;
    NotedRequest& operator=(const NotedRequest&) = delete;

    /// kUnmap: the blocks read as zeroes afterwards; write zeroes is the same. kAlone: the note and
    /// no data.
    NoteKind kind = NoteKind::kWrite;
    /// 1 to 256 blocks that don't cross a multiple of 256 (1 MiB); kAlone: 0, and the note is kept
    /// with others of that place.
    uint64_t first = 0;
    uint32_t count = 0;
    /// Of a write: together count x 4096 bytes, each piece a multiple of 4096 bytes and aligned to
    /// them.
    const iovec* pieces = nullptr;
    uint32_t piece_count = 0;
    /// Of a write: if not null, the CRC32C of each block, by whoever saw the data right last; what
    /// became other data since is then found when it is read. Null: they are computed here.
    uint32_t* crcs = nullptr;

    std::span<const std::byte> note;  ///< At most kNoteBytesMax (64).
    uint64_t key = 0;                 ///< By which the note is forgotten. Need not be unique.
    /// Earlier notes of the volume in the same chunk's partition that are not needed any more, even
    /// if this request fails. The cheapest way to forget: it costs no I/O and no message. A note
    /// that is not acknowledged yet stays, whatever its key.
    NoteRange forget;

    /// kNoMemory: the partition keeps as many notes as it can; nothing of it was written, and notes
    /// must be forgotten first. kOutOfRange, kReadOnly: as of the volume's device. kNoSpace,
    /// kMediaError: nothing of it was written. kIo: the device failed, nobody knows what is on it.
    Status status;

    Complete complete = nullptr;
    void* context = nullptr;

  private:
    friend class NoteChannel;
    struct Hop : Event {
        NotedRequest* request = nullptr;
    };

    NoteChannel* channel_ = nullptr;
    Reactor* there_ = nullptr;  // Of the partition.
    uint32_t partition_ = 0;
    Hop hop_;
    Note note_;
    PartitionIo io_;
};

/// A volume for a user whose changes carry notes: a replica. Opens the volume's device too, for
/// everything else. What goes through here is not counted in the device's statistics, and waits for
/// no rate that it is limited to.
///
/// Each partition of the pool keeps the notes that came with changes of its chunks. They stay with
/// the volume when snapshots of it are taken; a clone begins without, and a volume that is rolled
/// back or deleted has none any more.
///
/// Owner: whoever opened it. Core: the one it was opened on. Destroyed there with no request or
/// task under way; or, where a simulated machine has lost its power, before the requests.
class NoteChannel {
  public:
    /// `device` is Pool::device_of() a volume, with blocks of 4096 bytes, not a snapshot; the
    /// caller has claimed it, so that the pool does not take it away. On `here`'s core. May
    /// allocate. Errors: kNotSupported (sectors of 512 bytes; a snapshot), kNoMemory.
    [[nodiscard]] static Result<std::unique_ptr<NoteChannel>> open(Device& device, Reactor& here);

    NoteChannel(const NoteChannel&) = delete;
    NoteChannel& operator=(const NoteChannel&) = delete;
    ~NoteChannel();

    /// Takes `request` and completes it later. Never fails itself. One that does not fit what
    /// NotedRequest says is a bug.
    void submit(NotedRequest& request);

    /// For reads, and changes without a note. They and those with notes take place in the order in
    /// which they are acknowledged.
    [[nodiscard]] DeviceChannel& device() { return *device_; }

    /// The notes of all changes that have been acknowledged, or were found when the pool was
    /// opened, and are not forgotten. One of a partition is before another if its change was
    /// acknowledged before the other's was submitted; partitions come one after the other
    /// (StoredNote::partition). For rare use.
    [[nodiscard]] Task<std::vector<StoredNote>> notes();

    /// The volume's notes with these keys are not needed any more, in all partitions. They may be
    /// there again after a crash, and take their room until a checkpoint: while it is written to,
    /// NotedRequest::forget is better.
    [[nodiscard]] Task<void> forget(NoteRange keys);

  private:
    struct Look;

    NoteChannel(Reactor& here, Volume& volume, std::unique_ptr<DeviceChannel> device);

    void arrive(NotedRequest& request, Reactor& there);
    void leave(NotedRequest& request);
    void end(NotedRequest& request);
    [[nodiscard]] Task<void> on_seats(Look& look, Task<void> (*run)(Reactor&, Look&));

    Reactor& here_;
    Volume& volume_;
    std::unique_ptr<DeviceChannel> device_;
    uint32_t under_way_ = 0;
};

}  // namespace basalt::bdev::store
