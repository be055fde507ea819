#include <algorithm>
#include <coroutine>
#include <cstring>
#include <utility>
#include <vector>

#include "reactor/base/log.h"
#include "replication/replica/pool_replica_store.h"

namespace basalt::replication {

namespace {

using bdev::store::NoteChannel;
using bdev::store::NotedRequest;

/// `co_await NoteCall(channel, request)`: goes on when the channel has completed it.
class [[nodiscard]] NoteCall {
  public:
    NoteCall(NoteChannel& channel, NotedRequest& request) : channel_(channel), request_(request) {}

    [[nodiscard]] bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> awaiter) {
        request_.context = awaiter.address();
        request_.complete = [](NotedRequest&, void* frame) {
            std::coroutine_handle<>::from_address(frame).resume();
        };
        channel_.submit(request_);
    }
    void await_resume() const {}

  private:
    NoteChannel& channel_;
    NotedRequest& request_;
};

/// `co_await DeviceCall(channel, request)`: likewise.
class [[nodiscard]] DeviceCall {
  public:
    DeviceCall(bdev::BdevChannel& channel, bdev::IoRequest& request)
        : channel_(channel), request_(request) {}

    [[nodiscard]] bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> awaiter) {
        request_.push_completion(
            [](bdev::IoRequest&, void* frame) {
                std::coroutine_handle<>::from_address(frame).resume();
            },
            awaiter.address());
        channel_.submit(request_);
    }
    void await_resume() const {}

  private:
    bdev::BdevChannel& channel_;
    bdev::IoRequest& request_;
};

/// Reads or writes whole blocks, in steps as large as the device takes.
Task<Status> transfer_blocks(bdev::DeviceChannel& device,
                             bdev::IoOp op,
                             uint64_t first,
                             std::span<std::byte> memory) {
    bdev::WholeIoRequest io;
    iovec piece{};
    io.op = op;
    io.pieces = &piece;
    io.piece_count = 1;
    const size_t step_max = device.info().transfer_max.raw() * kBlockBytes;
    while (!memory.empty()) {
        const size_t step = std::min(memory.size(), step_max);
        piece = {memory.data(), step};
        io.first = Lba(first);
        io.count = BlockCount(step / kBlockBytes);
        DeviceCall call(device, io);
        co_await call;
        if (!io.status) {
            co_return io.status;
        }
        first += step / kBlockBytes;
        memory = memory.subspan(step);
    }
    co_return kOk;
}

Task<Status> unmap(bdev::DeviceChannel& device, uint64_t first, uint64_t count) {
    bdev::WholeIoRequest io;
    io.op = bdev::IoOp::kUnmap;
    io.first = Lba(first);
    io.count = BlockCount(count);
    DeviceCall call(device, io);
    co_await call;
    co_return io.status;
}

/// Writes one place, all or nothing.
Task<Status> write_place(NoteChannel& metadata, uint64_t sequence, std::span<std::byte> bytes) {
    NotedRequest request;
    const iovec piece{bytes.data(), bytes.size()};
    request.kind = bdev::store::NoteKind::kWrite;
    request.first = place_first(sequence);
    request.count = static_cast<uint32_t>(bytes.size() / kBlockBytes);
    request.pieces = &piece;
    request.piece_count = 1;
    // Only such a write takes more than 128 KiB at once; what its note says nobody needs.
    request.key = sequence;
    request.forget = {1, sequence - 1};
    NoteCall call(metadata, request);
    co_await call;
    co_return request.status;
}

/// Reads both places, and says which one is newer. `memory` has room for one.
Task<Result<StateRecord>> read_newest(NoteChannel& metadata,
                                      bdev::Uuid drive,
                                      uint64_t volume,
                                      std::span<std::byte> memory) {
    Result<StateRecord> newest = Errc::kNotFound;
    uint64_t sum = 0;
    for (uint64_t place = 1; place <= 2; ++place) {
        const Status read = co_await transfer_blocks(
            metadata.device(), bdev::IoOp::kRead, place_first(place), memory);
        if (!read) {
            co_return read.error();
        }
        Result<StateRecord> found = decode_state(memory, drive, volume);
        if (!found && found.error().code != Errc::kNotFound) {
            co_return found.error();
        }
        if (found && place_first(found->sequence) != place_first(place)) {
            co_return Errc::kDataCorrupt;
        }
        sum += found ? found->sequence : 0;
        if (found && (!newest || found->sequence > newest->sequence)) {
            newest = found;
        }
    }
    // Both are whole, always, and one follows the other: an older state than the newest would give
    // up what was promised.
    if (newest && sum != 2 * newest->sequence - 1) {
        co_return Errc::kDataCorrupt;
    }
    co_return newest;
}

}  // namespace

Task<Status> PoolReplicaStore::format(
    NoteChannel& metadata, bdev::Uuid drive, uint64_t volume, Settings settings, bool is_blank) {
    bdev::store::BlockMemory memory(1);
    StateRecord record;
    record.drive = drive;
    record.volume = volume;
    record.sequence = 1;
    record.blocks = settings.blocks;
    record.window_ops = settings.window_ops;
    record.reads = settings.reads;
    record.marks.is_blank = is_blank;
    static_cast<void>(encode_state(record, {}, {}, memory.all()));
    const Status written = co_await write_place(metadata, 1, memory.all());
    co_return written;
}

Task<Result<StateRecord>> PoolReplicaStore::examine(NoteChannel& metadata,
                                                    bdev::Uuid drive,
                                                    uint64_t volume) {
    bdev::store::BlockMemory memory(kStateBlocksMax);
    Result<StateRecord> record = co_await read_newest(metadata, drive, volume, memory.all());
    co_return record;
}

// ---- opening

Task<Result<std::unique_ptr<ReplicaState>>> PoolReplicaStore::load_state() {
    Result<StateRecord> record =
        co_await read_newest(*parts_.metadata, parts_.drive, parts_.volume, memory_.all());
    if (!record) {
        BASALT_LOG(kError,
                   "replica",
                   "volume {}: its state is not readable: {}",
                   parts_.volume,
                   describe(record.error().code));
        const Errc code = record.error().code;
        co_return code == Errc::kNotFound ? Errc::kDataCorrupt : code;
    }
    sequence_ = record->sequence;
    area_ = record->dirty_area;
    settings_.blocks = record->blocks;
    settings_.window_ops = record->window_ops;
    settings_.reads = record->reads;
    unwritten_ = BlockBitmap(bitmap_pages(record->blocks));
    const uint64_t data_blocks = parts_.data->device().info().block_count.get().raw();
    const uint64_t its_blocks = parts_.metadata->device().info().block_count.get().raw();
    if (data_blocks != record->blocks || its_blocks != metadata_blocks(record->blocks)) {
        BASALT_LOG(kError,
                   "replica",
                   "volume {}: its volumes are of another size than its state",
                   parts_.volume);
        co_return Errc::kDataCorrupt;
    }
    auto state = std::make_unique<ReplicaState>(settings_);
    static_cast<ReplicaMarks&>(*state) = record->marks;
    const Status read = co_await transfer_blocks(
        parts_.metadata->device(), bdev::IoOp::kRead, place_first(sequence_), memory_.all());
    if (!read) {
        co_return read.error();
    }
    const Result<StateRecord> again = decode_state(memory_.all(), parts_.drive, parts_.volume);
    if (!again || again->sequence != sequence_) {
        co_return Errc::kDataCorrupt;
    }
    state->window = decode_state_window(memory_.all(), *record);
    const Status loaded = co_await load_dirty(state->dirty);
    if (!loaded) {
        co_return loaded.error();
    }
    const Result<uint64_t> covers = co_await replay(*state, record->covers);
    if (!covers) {
        co_return covers.error();
    }
    // From here on as if there had been no crash.
    notes_.reset(*covers);
    live_ = state.get();
    const Status tidied = co_await checkpoint_now();
    live_ = nullptr;
    if (!tidied) {
        co_return tidied.error();
    }
    co_return state;
}

Task<Result<uint64_t>> PoolReplicaStore::replay(ReplicaState& state, uint64_t covers) {
    const std::vector<bdev::store::StoredNote> stored = co_await parts_.data->notes();
    std::vector<ReplicaNote> notes;
    for (const bdev::store::StoredNote& one : stored) {
        const Result<ReplicaNote> note = decode_note(one.bytes(), settings_.blocks);
        if (!note) {
            BASALT_LOG(kError,
                       "replica",
                       "volume {}: a note of its is not one: {}",
                       parts_.volume,
                       describe(note.error().code));
            co_return note.error();
        }
        notes.push_back(*note);
        if (note->sequence > covers && note->message.is_replica_away) {
            mark_pages(note->message.range);
        }
    }
    Result<uint64_t> highest = replay_notes(state, covers, notes);
    if (!highest) {
        BASALT_LOG(
            kError, "replica", "volume {}: its notes do not go with its state", parts_.volume);
    }
    co_return highest;
}

Task<Status> PoolReplicaStore::load_dirty(BlockBitmap& dirty) {
    const uint64_t first = area_first(area_, settings_.blocks);
    const uint64_t pages = bitmap_pages(settings_.blocks);
    for (uint64_t page = 0; page < pages; page += kStateBlocksMax) {
        const auto count = std::min<uint64_t>(kStateBlocksMax, pages - page);
        const std::span<std::byte> bytes = memory_.all().first(count * kBlockBytes);
        const Status read = co_await transfer_blocks(
            parts_.metadata->device(), bdev::IoOp::kRead, first + page, bytes);
        if (!read) {
            co_return read;
        }
        if (!dirty.load(page * kBitsAPage, bytes)) {
            BASALT_LOG(
                kError, "replica", "volume {}: its bitmap goes beyond its end", parts_.volume);
            co_return Errc::kDataCorrupt;
        }
    }
    co_return kOk;
}

// ---- control messages and barriers

Task<void> PoolReplicaStore::change(StoreJob& job) {
    co_await turn_.acquire();
    const AsyncMutex::Turn turn(turn_);
    BASALT_ASSERT(!notes_.has_under_way());
    const Status stored = co_await store_change(job);
    const uint64_t covers = notes_.last();
    if (stored) {
        notes_.cover(covers);
    } else if (stored.error().code == Errc::kIo) {
        has_failed_ = true;
    }
    job.done(job, stored ? Errc::kOk : stored.error().code, job.context);
    if (stored) {
        const bdev::store::NoteRange keys{1, covers};
        co_await parts_.data->forget(keys);
    }
}

Task<Status> PoolReplicaStore::store_change(StoreJob& job) {
    const Message& message = *job.message;
    if (job.change == nullptr) {
        if (job.draws_line) {
            const Status drawn = co_await volumes_.draw_line(parts_.volume, message.number);
            if (!drawn) {
                co_return drawn;
            }
        }
        const Status written = co_await write_pages(live_->dirty, area_);
        if (!written) {
            co_return written;
        }
        ReplicaMarks marks = static_cast<const ReplicaMarks&>(*live_);
        marks.generation = message.number;
        const WindowEntry line{message.number, message.range};
        const Status stored =
            co_await write_state(marks, live_->window.entries(), line, notes_.last(), area_);
        co_return stored;
    }
    const ControlChange& change = *job.change;
    uint32_t area = area_;
    Status written = kOk;
    switch (change.dirty_change) {
        case DirtyChange::kMore:
            for (const WindowEntry& entry : live_->window.entries()) {
                mark_pages(entry.range);
            }
            if (live_->is_blank && !change.marks.is_blank) {
                unwritten_.set_all();
            }
            written = co_await write_pages(*change.dirty, area);
            break;
        case DirtyChange::kSame: written = co_await write_pages(live_->dirty, area); break;
        case DirtyChange::kCleared:
        case DirtyChange::kReplaced: {
            // What counts stays as it is until the state names the other area.
            const bool is_empty = change.dirty == nullptr || change.dirty->empty();
            if (!is_empty || !live_->dirty.empty()) {
                area = 1 - area_;
                written = co_await replace_area(change.dirty, area);
            }
            break;
        }
    }
    if (!written) {
        co_return written;
    }
    const WindowEntry none{};
    const Status stored =
        co_await write_state(change.marks, change.window, none, notes_.last(), area);
    if (stored && area != area_) {
        area_ = area;
        unwritten_.clear_all();
    }
    co_return stored;
}

Task<Status> PoolReplicaStore::write_state(ReplicaMarks marks,
                                           std::span<const WindowEntry> window,
                                           WindowEntry more,
                                           uint64_t covers,
                                           uint32_t area) {
    StateRecord record;
    record.drive = parts_.drive;
    record.volume = parts_.volume;
    record.sequence = sequence_ + 1;
    record.covers = covers;
    record.blocks = settings_.blocks;
    record.window_ops = settings_.window_ops;
    record.reads = settings_.reads;
    record.marks = marks;
    record.dirty_area = area;
    const uint32_t blocks = encode_state(record, window, more, memory_.all());
    const std::span<std::byte> bytes = memory_.all().first(size_t{blocks} * kBlockBytes);
    const Status written = co_await write_place(*parts_.metadata, record.sequence, bytes);
    if (written) {
        sequence_ = record.sequence;
    }
    co_return written;
}

// ---- the bitmap

void PoolReplicaStore::mark_pages(BlockRange range) {
    if (range.count > 0) {
        unwritten_.set(range.first / kBitsAPage);
        unwritten_.set((range.end() - 1) / kBitsAPage);
    }
}

/// Writes the pages that have changed. Bits are only added between two replacements, so that each
/// page may be written in its place at any time.
Task<Status> PoolReplicaStore::write_pages(const BlockBitmap& dirty, uint32_t area) {
    const uint64_t first = area_first(area, settings_.blocks);
    for (uint64_t page = unwritten_.next(0); page < unwritten_.blocks();
         page = unwritten_.next(page + 1)) {
        const std::span<std::byte> bytes = memory_.block(0);
        dirty.save(page * kBitsAPage, bytes);
        // Whoever adds bits meanwhile marks it again.
        unwritten_.clear(page);
        const Status written = co_await transfer_blocks(
            parts_.metadata->device(), bdev::IoOp::kWrite, first + page, bytes);
        if (!written) {
            unwritten_.set(page);
            co_return written;
        }
    }
    co_return kOk;
}

/// Makes the area what `dirty` is; null: empty.
Task<Status> PoolReplicaStore::replace_area(const BlockBitmap* dirty, uint32_t area) {
    const uint64_t first = area_first(area, settings_.blocks);
    const Status cleared =
        co_await unmap(parts_.metadata->device(), first, area_blocks(settings_.blocks));
    if (!cleared || dirty == nullptr) {
        co_return cleared;
    }
    for (uint64_t block = dirty->next(0); block < dirty->blocks();) {
        const uint64_t page = block / kBitsAPage;
        const std::span<std::byte> bytes = memory_.block(0);
        dirty->save(page * kBitsAPage, bytes);
        const Status written = co_await transfer_blocks(
            parts_.metadata->device(), bdev::IoOp::kWrite, first + page, bytes);
        if (!written) {
            co_return written;
        }
        const uint64_t next = (page + 1) * kBitsAPage;
        block = next < dirty->blocks() ? dirty->next(next) : dirty->blocks();
    }
    co_return kOk;
}

// ---- checkpoints

void PoolReplicaStore::consider_checkpoint() {
    const bool is_wanted =
        retries_ != nullptr || notes_.coverable_count() >= kNotesBeforeCheckpoint;
    if (is_wanted && !is_checkpointing_ && !has_failed_) {
        is_checkpointing_ = true;
        checkpoint().detach();
    }
}

Task<void> PoolReplicaStore::checkpoint() {
    co_await turn_.acquire();
    Status written = kOk;
    {
        const AsyncMutex::Turn turn(turn_);
        written = co_await checkpoint_now();
    }
    if (!written && written.error().code == Errc::kIo) {
        has_failed_ = true;
    }
    is_checkpointing_ = false;
    if (!written && notes_.is_full()) {
        fail_stores(written.error().code);  // They would wait for ever.
    }
    Operation* retry = std::exchange(retries_, nullptr);
    while (retry != nullptr) {
        Operation& again = *std::exchange(retry, retry->next);
        written ? write(again) : end(again, written.error().code);
    }
    run_lines();
}

/// Writes the state as it is, so that notes up to now are not needed. Writes go on meanwhile: what
/// they change is in their notes, which are done again on top of it.
Task<Status> PoolReplicaStore::checkpoint_now() {
    const uint64_t covers = notes_.coverable();
    const Status pages = co_await write_pages(live_->dirty, area_);
    if (!pages) {
        co_return pages;
    }
    const ReplicaMarks marks = static_cast<const ReplicaMarks&>(*live_);
    const WindowEntry none{};
    const Status stored = co_await write_state(marks, live_->window.entries(), none, covers, area_);
    if (!stored) {
        co_return stored;
    }
    ++checkpoints_;
    notes_.cover(covers);
    const bdev::store::NoteRange keys{1, covers};
    co_await parts_.data->forget(keys);
    co_return kOk;
}

// ---- the end

Task<Status> PoolReplicaStore::stop() {
    Status tidied = kOk;
    {
        co_await turn_.acquire();
        const AsyncMutex::Turn turn(turn_);
        if (has_failed_) {
            tidied = Errc::kIo;
        } else if (live_ != nullptr) {
            tidied = co_await checkpoint_now();
        }
    }
    BASALT_ASSERT(loads_.empty());
    BASALT_ASSERT(stores_.empty());
    parts_.data.reset();
    parts_.metadata.reset();
    co_await volumes_.let_go(parts_.volume);
    co_return tidied;
}

}  // namespace basalt::replication
