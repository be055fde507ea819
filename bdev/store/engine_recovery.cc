#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "bdev/store/engine.h"
#include "reactor/base/assert.h"
#include "reactor/base/log.h"

/// Opening: the last checkpoint, then the log from where it begins. What is read is checked, and
/// what makes no sense ends the opening; nothing that lies on the device stops the process.
namespace basalt::bdev::store {

namespace {

constexpr uint16_t kHeightMask = 0x7FFF;

constexpr std::array<Place, 2> kPlaces{Place::kA, Place::kB};

TreeRoot root_of(const Pointer& stored) {
    return {.pointer = {.word = stored.block(), .birth = stored.birth, .crc = stored.crc},
            .height = stored.extra() & uint32_t{kHeightMask}};
}

bool is_sound(const TreeRoot& root) {
    return root.height <= kTreeHeightMax && root.pointer.is_hole() == (root.height == 0);
}

}  // namespace

Error Engine::corrupt(const char* what, uint64_t where) const {
    BASALT_LOG(kError, "store", "partition {}: {} ({}): corrupt", place_.index, what, where);
    return Error(Errc::kDataCorrupt);
}

// --- Formatting ----------------------------------------------------------------------------------

Task<Status> Engine::format() {
    // What an earlier partition left at B must not count, and A must not before B is gone.
    const auto block = image_memory().first(kBlockBytes);
    std::ranges::fill(block, std::byte{0});
    for (const Place place : kPlaces) {
        const uint64_t at = place_.layout.checkpoint(place_.index, place);
        const Status erased = co_await DeviceCall(port_, IoOp::kWrite, at, block, Fua::kYes);
        if (!erased) {
            co_return erased;
        }
    }
    const uint32_t bytes = build_image(1, 0);
    BASALT_ASSERT(bytes == kBlockBytes);
    const uint64_t at = place_.layout.checkpoint(place_.index, Place::kB);
    const Status written = co_await write_image(at, bytes);
    checkpoint_sequence_ = 0;
    co_return written;
}

// --- The checkpoint ------------------------------------------------------------------------------

Task<Status> Engine::load() {
    const Status checkpoint = co_await load_checkpoint();
    if (!checkpoint) {
        co_return checkpoint;
    }
    const Status slabs = co_await load_slabs();
    if (!slabs) {
        co_return slabs;
    }
    const Status nodes = co_await load_nodes();
    if (!nodes) {
        co_return nodes;
    }
    const Status log = co_await scan_log();
    co_return log;
}

Task<Status> Engine::load_checkpoint() {
    Place best = Place::kA;
    uint64_t best_sequence = 0;
    for (const Place place : kPlaces) {
        uint64_t sequence = 0;
        const Status read = co_await read_image(place, sequence);
        if (!read) {
            co_return read;
        }
        if (sequence > best_sequence) {
            best = place;
            best_sequence = sequence;
        }
    }
    if (best_sequence == 0) {
        co_return corrupt("no checkpoint is whole", place_.layout.checkpoint(place_.index, best));
    }
    uint64_t again = 0;
    const Status read = co_await read_image(best, again);
    if (!read) {
        co_return read;
    }
    co_return again == best_sequence ? judge_image()
                                     : corrupt("the checkpoint is read differently", again);
}

Task<Status> Engine::read_image(Place place, uint64_t& sequence) {
    const auto memory = image_memory();
    const uint64_t first = place_.layout.checkpoint(place_.index, place);
    const uint32_t step = port_.transfer_max() * kBlockBytes;
    uint32_t bytes = kBlockBytes;
    for (uint32_t done = 0; done < bytes;) {
        const auto part = memory.subspan(done, std::min(step, bytes - done));
        const Status read =
            co_await DeviceCall(port_, IoOp::kRead, first + done / kBlockBytes, part);
        if (!read) {
            // The other place may still do.
            co_return read.error().code == Errc::kMediaError ? kOk : read;
        }
        done += static_cast<uint32_t>(part.size());
        CheckpointHead head{};
        std::memcpy(&head, memory.data(), sizeof(head));
        const uint64_t needed =
            sizeof(head) + uint64_t{head.meta_slab_count} * sizeof(MetaSlab) + head.note_bytes;
        if (head.magic != kCheckpointMagic || head.bytes != needed || needed > memory.size()) {
            co_return kOk;
        }
        bytes = (head.bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
        if (done >= bytes && seal_.holds(memory.first(bytes), offsetof(CheckpointHead, crc))) {
            sequence = head.sequence;
        }
    }
    co_return kOk;
}

Status Engine::judge_image() {
    CheckpointHead head{};
    std::memcpy(&head, image_memory().data(), sizeof(head));
    checkpoint_sequence_ = head.sequence;
    recovery_.log_start = head.log_start;
    recovery_.incarnation = head.incarnation;
    node_root_ = root_of(head.nodes);
    slab_root_ = root_of(head.slabs);
    if (!is_sound(node_root_) || !is_sound(slab_root_) || head.log_start == 0) {
        return corrupt("a checkpoint with impossible roots", head.sequence);
    }
    constexpr uint64_t kSequenceMax = uint64_t{1} << 63U;  // No pool lives so long.
    if (head.log_start > kSequenceMax || head.sequence > kSequenceMax ||
        head.incarnation == UINT32_MAX) {
        return corrupt("a checkpoint with impossible numbers", head.sequence);
    }
    for (uint32_t i = 0; i < head.meta_slab_count; ++i) {
        MetaSlab entry{};
        std::memcpy(
            &entry, image_memory().data() + sizeof(head) + i * sizeof(entry), sizeof(entry));
        const uint32_t index = entry.slab_and_place & ~kMetaSlabPlaceB;
        if (!space_->add_slab(index, SlabKind::kPages, true)) {
            return corrupt("a slab of pages that somebody else has", index);
        }
        Space::Slab& slab = space_->slab(index);
        slab.crc = entry.crc;
        slab.place = (entry.slab_and_place & kMetaSlabPlaceB) != 0 ? Place::kB : Place::kA;
    }
    const auto notes = image_memory().first(head.bytes).last(head.note_bytes);
    return notes_->load(notes, head.note_count)
               ? kOk
               : Status(corrupt("a checkpoint with impossible notes", head.sequence));
}

Task<Status> Engine::load_bitmap(uint32_t index, uint64_t block, uint32_t crc) {
    const auto memory = log_memory().first(kBlockBytes);
    const Status read = co_await DeviceCall(port_, IoOp::kRead, block, memory);
    if (!read) {
        co_return read;
    }
    const bool is_good = crc32c(memory) == crc && space_->load_bitmap(index, memory);
    co_return is_good ? kOk : Status(corrupt("the bitmap of a slab", index));
}

Task<Status> Engine::load_slabs() {
    for (size_t i = 0; i < space_->slabs(SlabKind::kPages).size(); ++i) {
        const uint32_t index = space_->slabs(SlabKind::kPages)[i];
        const Space::Slab& slab = space_->slab(index);
        const uint64_t block = space_->slab_first(index) + (slab.place == Place::kA ? 0 : 1);
        const Status loaded = co_await load_bitmap(index, block, slab.crc);
        if (!loaded) {
            co_return loaded;
        }
    }
    for (uint64_t index = 0, next = 0; index < UINT64_MAX; index = next) {
        const Status page = co_await load_page(slab_tree_, slab_root_, index);
        if (!page) {
            co_return page;
        }
        const Pointer pointer = slab_tree_.walk(slab_root_, index, 0, next).pointer;
        if (pointer.is_hole()) {
            continue;
        }
        const auto slab = static_cast<uint32_t>(index);
        if (index > UINT32_MAX || !space_->add_slab(slab, SlabKind::kData, true) ||
            !space_->is_page_used(pointer.block())) {
            co_return corrupt("a slab of data that can't be", index);
        }
        space_->slab(slab).bitmap = {.word = pointer.block(), .birth = 1, .crc = pointer.crc};
        const Status loaded = co_await load_bitmap(slab, pointer.block(), pointer.crc);
        if (!loaded) {
            co_return loaded;
        }
    }
    co_return kOk;
}

Task<Status> Engine::load_page(PageTree& tree, const TreeRoot& root, uint64_t index) {
    for (;;) {
        const TreeWalk walk = tree.find(root, index, 0);
        if (walk.is_complete()) {
            co_return kOk;
        }
        const bool is_loaded = co_await PageWait(loader_, walk.missing);
        if (!is_loaded) {
            co_return corrupt("a page", loader_.last_damaged());
        }
        if (&tree != &maps_) {
            const uint32_t frame = cache_->find(walk.missing.block());
            if (frame == PageCache::kNone) {
                co_return corrupt("a page", walk.missing.block());
            }
            cache_->frame(frame).is_resident = true;
        }
    }
}

Task<Status> Engine::load_nodes() {
    for (uint64_t index = 0, next = 0; index < UINT64_MAX; index = next) {
        const Status page = co_await load_page(node_tree_, node_root_, index);
        if (!page) {
            co_return page;
        }
        const TreeWalk entry = node_tree_.walk(node_root_, index, 0, next);
        if (entry.pointer.is_hole() || index % 2 == 0) {
            continue;
        }
        // The count is there if the node has a map; the root before it may be empty.
        const uint64_t id = index / 2;
        const TreeRoot root = root_of(node_tree_.find(node_root_, index - 1, 0).pointer);
        if (id == 0 || id > UINT32_MAX || !is_sound(root)) {
            co_return corrupt("a node that can't be", id);
        }
        Node& node = node_of_record(static_cast<uint32_t>(id));
        node.root = root;
        node.has_map = true;
        node.mapped = entry.pointer.block() - 1;
    }
    co_return kOk;
}

Node& Engine::node_of_record(uint32_t id) {
    Node& node = nodes_[id];
    node.entry.id = id;
    return node;
}

// --- The log -------------------------------------------------------------------------------------

Task<Status> Engine::read_log(uint64_t sequence, uint32_t& count) {
    const uint32_t log_blocks = place_.layout.log_blocks;
    const auto place = static_cast<uint32_t>(sequence % log_blocks);
    count = std::min({kLogMemoryBlocks, port_.transfer_max(), log_blocks - place, count});
    const auto memory = log_memory().first(size_t{count} * kBlockBytes);
    const uint64_t block = place_.layout.log(place_.index) + place;
    const Status read = co_await DeviceCall(port_, IoOp::kRead, block, memory);
    co_return read;
}

Task<Status> Engine::scan_log() {
    const uint64_t first = recovery_.log_start;
    recovery_.log_end = 0;
    recovery_.durable = first - 1;
    const uint64_t end = first + place_.layout.log_blocks;
    for (uint64_t sequence = first; sequence < end;) {
        auto count = static_cast<uint32_t>(std::min<uint64_t>(end - sequence, kLogMemoryBlocks));
        const Status read = co_await read_log(sequence, count);
        if (!read) {
            co_return read;
        }
        for (uint32_t i = 0; i < count; ++i, ++sequence) {
            const auto block = log_memory().subspan(size_t{i} * kBlockBytes, kBlockBytes);
            const Status judged = judge_log_block(LogBlockReader(block, seal_), sequence);
            if (!judged) {
                co_return judged;
            }
        }
    }
    if (recovery_.log_end == 0) {
        recovery_.log_end = end;
    }
    co_return kOk;
}

Status Engine::judge_log_block(const LogBlockReader& reader, uint64_t sequence) {
    const LogFinding finding = reader.judge(sequence, recovery_.incarnation);
    if (finding == LogFinding::kUnknown) {
        return corrupt("a block of the log that this program did not write", sequence);
    }
    if (finding == LogFinding::kOther) {
        recovery_.log_end = recovery_.log_end == 0 ? sequence : recovery_.log_end;
        return kOk;
    }
    if (recovery_.log_end != 0) {
        // Beyond the end: it was written while the block at the end was not. If it says that that
        // one was acknowledged, it was there once.
        return reader.durable() >= recovery_.log_end
                   ? Status(corrupt("a block of the log is lost", recovery_.log_end))
                   : kOk;
    }
    recovery_.durable = std::max(recovery_.durable, reader.durable());
    return claim_slabs(reader);
}

Status Engine::claim_slabs(const LogBlockReader& reader) {
    Status outcome = kOk;
    reader.for_each([&](const LogRecord& record) {
        const auto* taken = std::get_if<SlabRecord>(&record);
        // A checkpoint that was made in the midst of replay has those of all of the log.
        const bool is_new = taken != nullptr && !space_->has_slab(taken->slab, taken->kind);
        if (outcome && is_new && !space_->add_slab(taken->slab, taken->kind, true)) {
            outcome = corrupt("a slab that somebody else has", taken->slab);
        }
    });
    return outcome;
}

}  // namespace basalt::bdev::store
