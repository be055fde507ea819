#pragma once

#include <cstdint>

#include "bdev/core/uuid.h"
#include "replication/core/messages.h"
#include "replication/core/replica_core.h"
#include "replication/link/block_buffer.h"

namespace basalt::replication {

class ReplicaPort;

/// Where a replica's answers to one connection go.
class ReplyPort {
  public:
    virtual ~ReplyPort() = default;

    /// What `reply` leads to is not used after the call. `data`: of a read that was done, with its
    /// sums. From the poll loop, never from inside ReplicaPort::take(). Never fails: who is behind
    /// on sending holds it, and has few messages taken from the peer meanwhile.
    virtual void reply(const Reply& reply, BlockRef data) = 0;

    /// `replica` goes away, which called this port `connection`, as others may call theirs: nothing
    /// on it is answered any more, and the port is not called again. From the poll loop, never from
    /// inside ReplicaPort::take().
    virtual void replica_gone(const ReplicaPort& replica, uint64_t connection) = 0;
};

/// Where the window and the dirty bitmap of a message that comes in pieces are put together. Memory
/// of the replica, because only it knows how large they are; only connections look inside. One
/// message at a time: of the newest head that has begun one.
struct MessageLists {
    explicit MessageLists(const Settings& settings)
        : window(settings.window_ops * kWindowEntriesPerOp), dirty(settings.blocks) {}

    Window window;
    BlockBitmap dirty;
    // Whose message it is; whether all of its window, and of its bitmap, is there.
    const void* owner = nullptr;
    Epoch tenure{};
    uint32_t session = 0;
    bool has_window = false;
    bool has_dirty = false;
};

/// A replica as connections see it, those of the network and those in the process alike.
///
/// Owner: the process, by a ReplicaDirectory. Core: one, that of its store; who is on another one
/// sends messages.
class ReplicaPort {
  public:
    virtual ~ReplicaPort() = default;

    /// `port` gets the answers to what comes on the connection whose name is returned (never 0),
    /// until disconnect().
    [[nodiscard]] virtual uint64_t connect(ReplyPort& port) = 0;
    /// What is under way goes on; nobody is told.
    virtual void disconnect(uint64_t connection) = 0;

    /// `message` has been checked as to its form (ranges inside of the limits; data of as many
    /// blocks as the range, whose sums agree with it); the replica checks it against the volume.
    /// What it leads to is not used after the call. Takes everything: who asks is bounded by what
    /// it was given credits for. Message::connection is filled in here.
    virtual void take(uint64_t connection, const Message& message, BlockRef data) = 0;

    /// Memory for data that comes in, or that was asked for. Outlives all connections.
    [[nodiscard]] virtual BlockBuffers& buffers() = 0;

    /// What is durable now, ReplicaCore::state(): after a fence or a join was answered, connections
    /// read the window and the bitmap from here, piece by piece.
    [[nodiscard]] virtual const ReplicaState& state() const = 0;
    /// See there. Lives as long as the replica.
    [[nodiscard]] virtual MessageLists& lists() = 0;
};

/// The replicas of one process on one core.
class ReplicaDirectory {
  public:
    virtual ~ReplicaDirectory() = default;

    /// The replica of the volume (part) `volume` on `drive`; null: there is none here. It may go
    /// away later (ReplyPort::replica_gone()).
    [[nodiscard]] virtual ReplicaPort* find(const bdev::Uuid& drive, uint64_t volume) = 0;
    /// Whether the drive is one of this process at all.
    [[nodiscard]] virtual bool has_drive(const bdev::Uuid& drive) = 0;
};

}  // namespace basalt::replication
