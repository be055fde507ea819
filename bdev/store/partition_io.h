#pragma once

#include <coroutine>
#include <cstdint>

#include <sys/uio.h>

#include "bdev/store/format.h"
#include "bdev/store/note.h"
#include "reactor/base/intrusive_list.h"
#include "reactor/base/result.h"

namespace basalt::bdev::store {

enum class PartitionOp : uint8_t {
    kRead,
    kWrite,
    kUnmap,  ///< The blocks read as zeroes afterwards and take no space; write zeroes is the same.
    kNote,   ///< Makes the note durable, with no data.
};

/// One request to a partition, pooled by whoever makes it (a volume's channel). All numbers are in
/// blocks of 4096 bytes, and `first` is the volume's block: the partition neither knows nor cares
/// which chunks are dealt to it.
///
/// Life: the maker fills it in and calls Partition::submit(); until the completion it and its
/// memory belong to the partition. The completion comes once, from the poll loop, never inside
/// submit(). Core: the partition's.
class PartitionIo {
  public:
    /// `io.status` is set. May free the request or submit it again.
    using Complete = void (*)(PartitionIo& io, void* context);

    PartitionIo() = default;
    PartitionIo(const PartitionIo&) = delete;
    PartitionIo& operator=(const PartitionIo&) = delete;

    PartitionOp op = PartitionOp::kRead;
    uint32_t node = 0;  ///< A head for changes and notes; any node for kRead.
    uint64_t first = 0;
    /// 1 to kWriteBlocksMax (256); kUnmap: 1 to any number. A write of up to that many is atomic;
    /// a longer unmap is done in pieces that are. kNote: 0.
    uint64_t count = 0;
    /// The memory of kRead and kWrite: together count x 4096 bytes, each piece a multiple of 4096
    /// bytes and aligned as the device asks (BdevInfo::memory_alignment_bytes).
    const iovec* pieces = nullptr;
    uint32_t piece_count = 0;
    /// kWrite: if not null, what the map must lead to, for each block. Then the write takes place
    /// only if nobody has changed it.
    const Pointer* expected = nullptr;
    /// If not null, one for each block: kRead gets the CRC32Cs that the map has (of a hole: 0);
    /// kWrite puts these into the map, and whoever made them has seen the data right.
    uint32_t* crcs = nullptr;

    /// If not null, is durable if and only if the change is; it and its bytes live until the
    /// completion. Then the change lies within one page of the map, kPagePointers blocks. kNote has
    /// one.
    const Note* note = nullptr;

    /// kMediaError: a block is not readable or not what was written; which one is in the log and in
    /// PartitionStats. kTryAgain: the map leads elsewhere than `expected`. kNoSpace: nothing of it
    /// was written. kNoMemory: likewise; the partition keeps as many notes as it can. kNotFound: no
    /// such node. kReadOnly: the node is frozen. kIo: the device failed; after a failed write or
    /// flush no more writes are taken, since nobody knows what is on the medium
    /// (PartitionStats::is_failed).
    Status status;

    Complete complete = nullptr;
    void* context = nullptr;

    ListLink hold_link;  ///< The partition's.
};

using PartitionIoList = IntrusiveList<PartitionIo, &PartitionIo::hold_link>;

/// `co_await PartitionCall(partition, io)`: goes on, on the partition's core, when the partition
/// has completed it. Takes the request's completion. For rare sequences.
template <typename Taker>
class [[nodiscard]] PartitionCall {
  public:
    PartitionCall(Taker& taker, PartitionIo& io) : taker_(taker), io_(io) {}

    [[nodiscard]] bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> awaiter) {
        io_.context = awaiter.address();
        io_.complete = [](PartitionIo&, void* frame) {
            std::coroutine_handle<>::from_address(frame).resume();
        };
        taker_.submit(io_);
    }
    void await_resume() const {}

  private:
    Taker& taker_;
    PartitionIo& io_;
};

}  // namespace basalt::bdev::store
