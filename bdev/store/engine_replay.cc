#include <algorithm>
#include <array>
#include <utility>

#include "bdev/store/engine.h"
#include "reactor/base/assert.h"

/// Doing again what the log says was done since the checkpoint. What a checkpoint holds is exact,
/// so each record finds what it found the first time; one that does not is corruption.
namespace basalt::bdev::store {

namespace {

/// Of loading the paths to two pages at once into a small cache.
constexpr uint32_t kLoadAttempts = 8;

}  // namespace

Task<Status> Engine::open() {
    for (uint64_t sequence = recovery_.log_start; sequence < recovery_.log_end;) {
        auto count = static_cast<uint32_t>(
            std::min<uint64_t>(recovery_.log_end - sequence, kLogMemoryBlocks));
        const Status read = co_await read_log(sequence, count);
        if (!read) {
            co_return read;
        }
        for (uint32_t i = 0; i < count; ++i, ++sequence) {
            const Status replayed = co_await replay_block(sequence, i);
            if (!replayed) {
                co_return replayed;
            }
        }
    }
    const Status settled = co_await settle_nodes();
    if (!settled) {
        co_return settled;
    }
    const uint32_t incarnation = recovery_.incarnation + 1;
    const Status made = co_await write_checkpoint(recovery_.log_end, incarnation, here_.now_ns());
    if (!made) {
        co_return made;
    }
    log_.start(recovery_.log_end, incarnation);
    is_open_ = true;
    co_return kOk;
}

Task<Status> Engine::replay_block(uint64_t sequence, uint32_t in_memory) {
    // So much may have changed since the checkpoint that there is no room for more.
    const uint64_t dirty = cache_->dirty() + checkpoint_pages() + LogWriter::kWindow;
    if (dirty > cache_->size() / 4 && cache_->dirty() > 0) {
        const Status made =
            co_await write_checkpoint(sequence, recovery_.incarnation, here_.now_ns());
        if (!made) {
            co_return made;
        }
    }
    const auto block = log_memory().subspan(size_t{in_memory} * kBlockBytes, kBlockBytes);
    LogBlockReader reader(block, seal_);
    if (reader.judge(sequence, recovery_.incarnation) != LogFinding::kValid) {
        co_return corrupt("a block of the log is read differently", sequence);
    }
    LogRecord record;
    for (size_t at = 0; reader.next(at, record);) {
        const Status replayed = co_await replay_record(record, sequence);
        if (!replayed) {
            co_return replayed;
        }
    }
    co_return kOk;
}

Task<Status> Engine::replay_record(LogRecord record, uint64_t sequence) {
    if (!take_pages(kPagesAChange + checkpoint_pages())) {
        co_return Errc::kNoSpace;
    }
    if (const auto* write = std::get_if<WriteRecord>(&record)) {
        if (sequence > recovery_.durable) {
            const Result<bool> is_there = co_await is_written(*write);
            if (!is_there) {
                co_return is_there.error();
            }
            if (!*is_there) {
                // It was never acknowledged. What was to be forgotten was so all the same, and made
                // room for notes to come.
                notes_->drop(write->note.owner, write->note.forget);
                co_return kOk;
            }
        }
        const BlockRange range{write->first, write->block_count()};
        const Status replayed = co_await replay_write(*write);
        co_return replayed ? replay_note(write->note, NoteKind::kWrite, range) : replayed;
    }
    if (const auto* unmap = std::get_if<UnmapRecord>(&record)) {
        Node& node = node_of_record(unmap->node);
        const Status loaded = co_await pin_for_replay(node, unmap->first, unmap->first);
        if (!loaded) {
            co_return loaded;
        }
        const Status replayed = end_replay(apply_unmap(node, *unmap, {}), sequence);
        const BlockRange range{unmap->first, unmap->block_count};
        co_return replayed ? replay_note(unmap->note, NoteKind::kUnmap, range) : replayed;
    }
    if (const auto* hollow = std::get_if<HollowRecord>(&record)) {
        Node& node = node_of_record(hollow->node);
        const Status loaded = co_await pin_for_replay(node, hollow->first, hollow->first);
        if (!loaded) {
            co_return loaded;
        }
        co_return end_replay(apply_hollow(node, *hollow, {}), sequence);
    }
    if (const auto* note = std::get_if<NoteRecord>(&record)) {
        const NoteKind kind = note->block_count == 0 ? NoteKind::kAlone : NoteKind::kUnmap;
        co_return replay_note(note->note, kind, {note->first, note->block_count});
    }
    if (const auto* adopt = std::get_if<AdoptRecord>(&record)) {
        Node& node = node_of_record(adopt->node);
        if (node.has_map) {
            co_return corrupt("a node that has a map gets another", adopt->node);
        }
        apply_adopt(node, adopt->source);
    } else if (const auto* drop = std::get_if<DropRecord>(&record)) {
        apply_drop(node_of_record(drop->node));
    }
    co_return kOk;
}

Status Engine::replay_note(const Note& note, NoteKind kind, BlockRange range) {
    if (!note.is_there()) {
        return kOk;
    }
    if (!notes_->has_room(note)) {
        return corrupt("more notes than there can be", note.owner);
    }
    notes_->confirm(notes_->add(note, kind, range.first, static_cast<uint32_t>(range.count)));
    return kOk;
}

Status Engine::end_replay(bool is_sound_record, uint64_t sequence) {
    for (uint32_t i = 0; i < replay_.pin_count; ++i) {
        cache_->unpin(replay_.pins[i]);
    }
    replay_.pin_count = 0;
    return is_sound_record ? kOk
                           : Status(corrupt("a record that does not fit what is there", sequence));
}

Task<Status> Engine::pin_for_replay(Node& node, uint64_t first, uint64_t last) {
    if (!node.has_map) {
        co_return corrupt("a change of a node without a map", node.entry.id);
    }
    // While the path to one is loaded, that to the other may give way; not with any sensible cache.
    for (uint32_t attempt = 0; attempt < kLoadAttempts; ++attempt) {
        const Status one = co_await load_page(maps_, node.root, first);
        if (!one) {
            co_return one;
        }
        const Status other = co_await load_page(maps_, node.root, last);
        if (!other) {
            co_return other;
        }
        if (maps_.find(node.root, first, 0).is_complete()) {
            uint32_t* const pins = replay_.pins.data();
            replay_.pin_count = maps_.pin_path(node.root, first, 0, pins);
            replay_.pin_count += maps_.pin_path(node.root, last, 0, pins + replay_.pin_count);
            co_return kOk;
        }
    }
    co_return Errc::kNoMemory;
}

Task<Status> Engine::replay_write(WriteRecord record) {
    Node& node = node_of_record(record.node);
    const uint32_t blocks = record.block_count();
    for (uint32_t i = 0; i < record.extent_count(); ++i) {
        replay_.extents[i] = record.extent(i);
    }
    for (uint32_t i = 0; i < blocks; ++i) {
        replay_.crcs[i] = record.crc(i);
    }
    const WriteTarget target{record.node, record.floor, record.second_floor, record.first};
    const auto extents = std::span(replay_.extents).first(record.extent_count());
    const Status loaded = co_await pin_for_replay(node, target.first, target.first + blocks - 1);
    if (!loaded) {
        co_return loaded;
    }
    for (const Extent& extent : extents) {
        if (!space_->use(extent)) {
            co_return end_replay(false, extent.block);
        }
    }
    const auto crcs = std::span(replay_.crcs).first(blocks);
    co_return end_replay(apply_write(node, target, extents, crcs, {}), target.first);
}

Task<Result<bool>> Engine::is_written(WriteRecord record) {
    const auto memory = data_memory();
    uint32_t index = 0;
    for (uint32_t e = 0; e < record.extent_count(); ++e) {
        const Extent extent = record.extent(e);
        if (!space_->owns(extent.block, extent.count, SlabKind::kData)) {
            co_return corrupt("a write to blocks of somebody else", extent.block);
        }
        for (uint32_t done = 0; done < extent.count;) {
            const uint32_t count = std::min(port_.transfer_max(), extent.count - done);
            const auto part = memory.first(size_t{count} * kBlockBytes);
            const Status read = co_await DeviceCall(port_, IoOp::kRead, extent.block + done, part);
            if (!read && read.error().code != Errc::kMediaError) {
                co_return read.error();
            }
            for (uint32_t i = 0; i < count; ++i, ++index) {
                const auto block = part.subspan(size_t{i} * kBlockBytes, kBlockBytes);
                // What can't be read was perhaps acknowledged: then a read of it shall fail too.
                if (read && crc32c(block) != record.crc(index)) {
                    co_return false;
                }
            }
            done += count;
        }
    }
    co_return true;
}

Task<Status> Engine::settle_nodes() {
    std::vector<uint32_t> ids;
    for (const auto& [id, node] : nodes_) {
        ids.push_back(id);
    }
    std::ranges::sort(ids);  // Parents before children.
    for (const uint32_t id : ids) {
        Node& node = *find_node(id);
        if (!node.is_listed) {
            if (node.has_map) {
                co_return corrupt("a node that the catalogue does not know has a map", id);
            }
            gone_nodes_.push_back(id);
            nodes_.erase(id);
            continue;
        }
        const Node* parent = find_node(node.entry.parent);
        node.source = parent == nullptr ? 0 : parent->has_map ? node.entry.parent : parent->source;
    }
    for (const uint32_t id : ids) {
        Node* node = find_node(id);
        uint32_t children = 0;
        if (node == nullptr || !node->entry.is_hidden || !node->has_map) {
            continue;
        }
        Node* heir = heir_of(id, children);
        node->cursor = 0;
        if (children > 1 || (heir != nullptr && !heir->has_map)) {
            continue;
        }
        // How far it has been swept: up to the first thing that it still holds.
        Difference found = next_difference(*node, heir, 0);
        bool is_readable = true;
        while (is_readable && !found.walk.is_complete()) {
            const bool is_loaded = co_await PageWait(loader_, found.walk.missing);
            is_readable = is_loaded;
            if (is_loaded) {
                found = next_difference(*node, heir, 0);
            }
        }
        if (!is_readable) {
            // It keeps what it may still hold from here on; all else of the partition is well.
            damaged({id, found.index, loader_.last_damaged(), true});
        }
        node->cursor = found.is_end ? UINT64_MAX : found.index;
    }
    co_return kOk;
}

}  // namespace basalt::bdev::store
