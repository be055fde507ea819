#include "bdev/store/transfer/transfer_pool.h"

#include <algorithm>
#include <coroutine>
#include <utility>

#include <fmt/format.h>

#include "bdev/store/pool/pool_visits.h"
#include "bdev/store/pool/volume.h"
#include "reactor/base/assert.h"

namespace basalt::bdev::store {

namespace {

/// Of a hole, before the control thread is asked whether to go on: 256 GiB.
constexpr uint64_t kUnmapBlocks = uint64_t{1024} * kChunkBlocks;

template <typename Map>
auto find_in(const Map& map, const Uuid& uuid) -> decltype(&map.begin()->second) {
    const auto found = map.find(uuid);
    return found == map.end() ? nullptr : &found->second;
}

}  // namespace

/// Blocks that one partition moves in one go.
struct TransferPool::Piece {
    PartitionIo io;
    iovec memory{};
    uint32_t partition = 0;
    Moving* moving = nullptr;
};

/// All pieces of a batch.
struct TransferPool::Moving {
    std::span<Piece> pieces;

    /// Those of one partition, all at once; goes on when the last one is done.
    struct [[nodiscard]] All {
        Pool::Visit<Moving>& visit;
        uint32_t left = 0;
        std::coroutine_handle<> awaiter;

        [[nodiscard]] bool await_ready() {
            const std::span<Piece> all = visit.argument.pieces;
            left = static_cast<uint32_t>(
                std::count_if(all.begin(), all.end(), [this](const Piece& piece) {
                    return piece.partition == visit.index;
                }));
            return left == 0;
        }
        void await_suspend(std::coroutine_handle<> handle) {
            awaiter = handle;
            for (Piece& piece : visit.argument.pieces) {
                if (piece.partition == visit.index) {
                    piece.io.context = this;
                    piece.io.complete = &done;
                    visit.partition().submit(piece.io);
                }
            }
        }
        void await_resume() const {}

        static void done(PartitionIo& io, void* context) {
            auto& self = *static_cast<All*>(context);
            if (!io.status && self.visit.status) {
                self.visit.status = io.status;
            }
            if (--self.left == 0) {
                self.awaiter.resume();
            }
        }
    };

    static Task<void> run(Reactor&, Pool::Visit<Moving>& visit) {
        All all{visit, 0, nullptr};
        co_await all;
    }
};

/// A range that is to hold nothing.
struct TransferPool::Unmapping {
    const TransferPool& self;
    uint64_t first;
    uint64_t end;

    static Task<void> run(Reactor&, Pool::Visit<Unmapping>& visit) {
        const Unmapping& all = visit.argument;
        PartitionIo io;
        for (uint64_t first = all.first; first < all.end && visit.status;) {
            const uint64_t end = std::min(all.end, Volume::chunk_end(first));
            if (all.self.partition_of(first) == visit.index) {
                io.op = PartitionOp::kUnmap;
                io.node = all.self.node_;
                io.first = first;
                io.count = end - first;
                co_await PartitionCall(visit.partition(), io);
                visit.status = io.status;
            }
            first = end;
        }
    }
};

TransferPool::TransferPool(Pool& pool)
    : pool_(pool),
      look_(std::make_unique<Pool::Look>(pool)),
      pieces_(std::make_unique<Piece[]>(kStreamBlocksMax)) {}

TransferPool::~TransferPool() {
    if (pool_.home_.control.is_abandoned()) {
        return;
    }
    for (const Uuid& uuid : held_) {
        pool_.held_.erase(pool_.held_.find(uuid));
    }
}

void TransferPool::hold(const Uuid& uuid) {
    pool_.held_.insert(uuid);
    held_.push_back(uuid);
}

uint32_t TransferPool::partition_of(uint64_t block) const {
    return Volume::partition_of(deal_, block, static_cast<uint32_t>(pool_.seats_.size()));
}

// ---- to send

Status TransferPool::choose(const std::string& snapshot,
                            const std::string& base,
                            StreamBegin& begin) {
    const Catalogue& catalogue = pool_.catalogue_;
    const SnapshotEntry* entry = catalogue.find_snapshot(snapshot);
    const SnapshotEntry* older = catalogue.find_snapshot(base);
    if (entry == nullptr || (older == nullptr && !base.empty())) {
        return Errc::kNotFound;
    }
    if (pool_.is_closing_) {
        return Errc::kBusy;
    }
    if (older != nullptr && (older == entry || !pool_.is_ancestor(older->node, entry->node))) {
        return Errc::kInvalidArgument;
    }
    begin.pool_uuid = pool_.identity_.pool_uuid;
    begin.volume_uuid = entry->volume;
    const VolumeEntry* volume = find_in(catalogue.volumes(), entry->volume);
    begin.volume_name = volume == nullptr ? "" : volume->name;
    begin.snapshot_uuid = entry->uuid;
    begin.snapshot_name = entry->name;
    begin.base_uuid = older == nullptr ? Uuid{} : older->uuid;
    begin.size_blocks = entry->size_blocks;
    begin.block_bytes = entry->block_bytes;
    begin.created_ns = entry->created_ns;
    begin_ = begin;
    node_ = entry->node;
    deal_ = entry->deal;
    base_ = older == nullptr ? 0 : older->node;
    hold(entry->uuid);
    if (older != nullptr) {
        hold(older->uuid);
    }
    return kOk;
}

Task<Result<ChangedStep>> TransferPool::changed(uint64_t from, size_t max) {
    co_return co_await pool_.compare(base_, node_, from, begin_.size_blocks, max);
}

Task<Status> TransferPool::read(BlockBatch batch) {
    co_return co_await move(PartitionOp::kRead, batch);
}

// ---- blocks

Task<Status> TransferPool::move(PartitionOp op, BlockBatch batch) {
    uint32_t count = 0;
    size_t done = 0;
    for (const ChangedRange& range : batch.ranges) {
        for (uint64_t first = range.first; !range.is_hole && first < range.end();) {
            const uint64_t end = std::min(range.end(), Volume::chunk_end(first));
            BASALT_ASSERT(count < kStreamBlocksMax && end - first <= kStreamBlocksMax);
            Piece& piece = pieces_[count++];
            piece.partition = partition_of(first);
            piece.memory = {batch.data.subspan(done * kBlockBytes).data(),
                            (end - first) * kBlockBytes};
            piece.io.op = op;
            piece.io.node = node_;
            piece.io.first = first;
            piece.io.count = end - first;
            piece.io.pieces = &piece.memory;
            piece.io.piece_count = 1;
            piece.io.crcs = batch.crcs.subspan(done).data();
            done += end - first;
            first = end;
        }
    }
    BASALT_ASSERT(batch.data.size() == done * kBlockBytes && batch.crcs.size() == done);
    Moving moving{std::span(pieces_.get(), count)};
    if (count == 0) {
        co_return kOk;
    }
    co_return co_await pool_.on_seats<Moving>(moving, &Moving::run);
}

Task<Status> TransferPool::unmap(uint64_t first, uint64_t end) {
    Status status = kOk;
    while (status && first < end) {
        const uint64_t step = std::min(end, first + kUnmapBlocks);
        Unmapping all{*this, first, step};
        status = co_await pool_.on_seats<Unmapping>(all, &Unmapping::run);
        first = step;
    }
    co_return status;
}

Task<Status> TransferPool::write(BlockBatch batch) {
    Status status = co_await move(PartitionOp::kWrite, batch);
    for (size_t i = 0; status && i < batch.ranges.size(); ++i) {
        if (batch.ranges[i].is_hole) {
            status = co_await unmap(batch.ranges[i].first, batch.ranges[i].end());
        }
    }
    co_return status;
}

// ---- to receive

Status TransferPool::judge_new(const StreamBegin& begin, std::string& problem) const {
    if (begin.first != 0) {
        problem = fmt::format("it goes on at block {}, and nothing of it is here", begin.first);
        return Errc::kNotFound;
    }
    if (begin.base_uuid.is_nil()) {
        return kOk;
    }
    const SnapshotEntry* base = find_in(pool_.catalogue_.snapshots(), begin.base_uuid);
    if (base == nullptr) {
        problem = fmt::format("it tells what is different from a snapshot that is not here: {}",
                              begin.base_uuid.to_string());
        return Errc::kNotFound;
    }
    if (base->block_bytes != begin.block_bytes) {
        problem = "its blocks have another size than those of the snapshot that it builds on";
        return Errc::kInvalidArgument;
    }
    return kOk;
}

Status TransferPool::judge_old(const VolumeEntry& entry,
                               const StreamBegin& begin,
                               const std::string& name,
                               std::string& problem) const {
    const uint32_t parent = pool_.catalogue_.find_node(entry.head)->parent;
    const Uuid* base = pool_.catalogue_.user_of(parent);
    if (!entry.is_receiving) {
        problem = "a volume has its UUID";
        return Errc::kExists;
    }
    if ((base == nullptr ? Uuid{} : *base) != begin.base_uuid ||
        entry.size_blocks != begin.size_blocks || entry.block_bytes != begin.block_bytes) {
        problem = "what is here of it came by a stream that builds on something else";
        return Errc::kInvalidArgument;
    }
    if (begin.first > entry.received_blocks) {
        problem = fmt::format("it goes on at block {}, and {} is what comes next here",
                              begin.first,
                              entry.received_blocks);
        return Errc::kInvalidArgument;
    }
    if (!name.empty() && name != entry.name) {
        problem = fmt::format("what is here of it is called '{}'", entry.name);
        return Errc::kExists;
    }
    return kOk;
}

Task<Status> TransferPool::begin(StreamBegin begin, std::string name, std::string& problem) {
    co_await pool_.changes_.acquire();
    const AsyncMutex::Turn turn(pool_.changes_);
    if (pool_.is_closing_ || pool_.held_.count(begin.snapshot_uuid) != 0) {
        problem = "the pool is being closed, or the same is received already";
        co_return Errc::kBusy;
    }
    if (find_in(pool_.catalogue_.snapshots(), begin.snapshot_uuid) != nullptr) {
        problem = "the pool has that snapshot";
        co_return Errc::kExists;
    }
    const VolumeEntry* entry = find_in(pool_.catalogue_.volumes(), begin.snapshot_uuid);
    const Status judged =
        entry == nullptr ? judge_new(begin, problem) : judge_old(*entry, begin, name, problem);
    if (!judged) {
        co_return judged;
    }
    begin_ = begin;
    hold(begin.snapshot_uuid);
    if (entry == nullptr) {
        co_return co_await make(begin, name, problem);
    }
    node_ = entry->head;
    deal_ = entry->deal;
    kept_ = entry->received_blocks;
    co_return kOk;
}

Task<Status> TransferPool::make(StreamBegin begin, std::string name, std::string& problem) {
    const SnapshotEntry* base = find_in(pool_.catalogue_.snapshots(), begin.base_uuid);
    const uint32_t id = pool_.catalogue_.next_ids().node;
    const NodeEntry node{.id = id, .parent = base == nullptr ? 0 : base->node};
    const VolumeEntry entry{.uuid = begin.snapshot_uuid,
                            .head = id,
                            .block_bytes = begin.block_bytes,
                            .size_blocks = begin.size_blocks,
                            .deal = base == nullptr ? id : base->deal,
                            .name = name.empty() ? begin.snapshot_name : name,
                            .is_receiving = true};
    Result<Reservation> reserved = pool_.reserve_new(entry.name, entry.uuid);
    if (!reserved) {
        problem = fmt::format("'{}' is no name for it, or a device has it or its UUID", entry.name);
        co_return reserved.error();
    }
    reserved_ = std::move(*reserved);
    std::vector<CatalogueChange> changes{NextIds{id + 1}, node, entry};
    const Status status = co_await pool_.commit(changes);
    reserved_.release();
    if (!status) {
        problem = "the pool took no change";
        co_return status;
    }
    std::vector<NodeEntry> nodes{node};
    co_await pool_.tell_nodes(nodes);
    node_ = id;
    deal_ = entry.deal;
    co_return kOk;
}

Task<Status> TransferPool::keep(uint64_t next) {
    co_await pool_.changes_.acquire();
    const AsyncMutex::Turn turn(pool_.changes_);
    VolumeEntry entry = pool_.catalogue_.volumes().at(begin_.snapshot_uuid);
    if (next <= entry.received_blocks) {
        co_return kOk;
    }
    entry.received_blocks = next;
    const CatalogueChange change = entry;
    co_return co_await pool_.commit_one(change);
}

Task<Status> TransferPool::finish() {
    co_await pool_.changes_.acquire();
    const AsyncMutex::Turn turn(pool_.changes_);
    const VolumeEntry entry = pool_.catalogue_.volumes().at(begin_.snapshot_uuid);
    const SnapshotEntry* base = find_in(pool_.catalogue_.snapshots(), begin_.base_uuid);
    if (base != nullptr && base->size_blocks > entry.size_blocks) {
        // The stream tells nothing of what is beyond the end, and it must not come back when a
        // later one is larger again.
        const Status unmapped = co_await unmap(entry.size_blocks, base->size_blocks);
        if (!unmapped) {
            co_return unmapped;
        }
    }
    Result<Reservation> reserved = pool_.reserve(entry.name, entry.uuid);
    if (!reserved) {
        co_return reserved.error();
    }
    reserved_ = std::move(*reserved);
    NodeEntry frozen = *pool_.catalogue_.find_node(entry.head);
    frozen.is_frozen = true;
    const SnapshotEntry snapshot{.uuid = entry.uuid,
                                 .node = entry.head,
                                 .volume = begin_.volume_uuid,
                                 .block_bytes = entry.block_bytes,
                                 .size_blocks = entry.size_blocks,
                                 .deal = entry.deal,
                                 .created_ns = begin_.created_ns,
                                 .name = entry.name};
    std::vector<CatalogueChange> changes{VolumeGone{entry.uuid}, frozen, snapshot};
    const Status status = co_await pool_.commit(changes);
    if (!status) {
        reserved_.release();
        co_return status;
    }
    std::vector<NodeEntry> nodes{frozen};
    co_await pool_.tell_nodes(nodes);
    reserved_.release();
    pool_.add_device(pool_.options_of(snapshot));
    std::vector<Uuid> devices{snapshot.uuid};
    co_await pool_.publish_usage(devices);
    co_return kOk;
}

}  // namespace basalt::bdev::store
