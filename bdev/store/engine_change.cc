#include <algorithm>
#include <cstring>
#include <utility>

#include "bdev/store/engine.h"
#include "reactor/base/assert.h"
#include "reactor/base/log.h"

namespace basalt::bdev::store {

namespace {

/// Bytes of the log that a record of a write takes at most.
size_t write_bytes(uint32_t blocks) {
    return sizeof(LogWrite) + size_t{blocks} * (8 + 4) + size_t{2} * kRecordAlignment;
}

/// Records that may go before one: a map that begins, a slab that is taken.
constexpr size_t kBeforeBytes = sizeof(LogAdopt) + sizeof(LogSlab);

/// The most blocks that one change frees.
constexpr size_t kFreedMax = kWriteBlocksMax;

/// Of the cache's frames: dirty ones at most, and those that a change under way needs to be there.
constexpr uint32_t kDirtyShare = 4;
constexpr uint32_t kPinnedShare = 4;
/// A checkpoint begins when so much of the room for dirty pages is taken.
constexpr uint32_t kDirtyEarlyShare = 2;

/// Pages that a checkpoint needs: a changed slab's bitmap and the page that leads to it; the pages
/// that lead to a changed node's root; and those at the top of both trees.
constexpr uint64_t kPagesASlab = 2;
constexpr uint64_t kPagesANode = 3;
constexpr uint64_t kPagesOfRoots = uint64_t{2} * kTreeHeightMax;

/// Pages that only unmaps, sweeps and checkpoints may take, so that a full pool can get empty: a
/// share of a slab, for it is by slabs that pages are got.
constexpr uint64_t kReserveShare = 2;

uint64_t page_end(uint64_t index) {
    return (index / kPagePointers + 1) * kPagePointers;
}

/// Where the first change under way behind `unmap`'s page begins, or `next`, whichever is nearer.
uint64_t before_changes(SlotsUnderWay& changes, const Slot& unmap, uint64_t next) {
    for (Slot* other = changes.front(); other != nullptr; other = changes.next(*other)) {
        if (other->node == unmap.node && other->first >= unmap.end) {
            next = std::min(next, other->first);
        }
    }
    return next;
}

}  // namespace

// --- One change at a time in one place -----------------------------------------------------------

void Engine::lock(Slot& slot) {
    if (slot.op == SlotOp::kUnmap) {
        slot.end = slot.next = std::min(slot.io_end, page_end(slot.first));
    }
    slot.blockers = 0;
    for (Slot* other = locks_.front(); other != nullptr; other = locks_.next(*other)) {
        slot.blockers += other->overlaps(slot) ? 1U : 0U;
    }
    locks_.push_back(slot);
    if (Node* node = find_node(slot.node); node != nullptr) {
        ++node->changes;
    }
    slot.state = Slot::State::kLocked;
    if (slot.blockers == 0) {
        run_change(slot);
    }
}

void Engine::unlock(Slot& slot) {
    for (Slot* later = locks_.next(slot); later != nullptr; later = locks_.next(*later)) {
        if (later->blockers > 0 && later->overlaps(slot) && --later->blockers == 0) {
            unlocked_.push_back(*later);
        }
    }
    SlotsUnderWay::remove(slot);
    if (Node* node = find_node(slot.node); node != nullptr) {
        --node->changes;
    }
}

void Engine::end_change(Slot& slot, Status outcome) {
    unlock(slot);
    if (slot.op == SlotOp::kUnmap && outcome && slot.next < slot.io_end) {
        slot.first = slot.next;
        slot.state = Slot::State::kBegun;
        here_.defer(slot.start);  // From the beginning: the node may be held by now.
    } else {
        finish(slot, outcome);
    }
    changed_.notify();
    while (Slot* next = unlocked_.pop_front()) {
        run_change(*next);
    }
}

// --- Up to the gate ------------------------------------------------------------------------------

void Engine::run_change(Slot& slot) {
    slot.state = Slot::State::kWaiting;
    if (is_failed_) {
        end_change(slot, Errc::kIo);
        return;
    }
    switch (slot.op) {
        case SlotOp::kWrite: run_write(slot); break;
        case SlotOp::kUnmap: run_unmap(slot); break;
        case SlotOp::kNote: run_note(slot); break;
        case SlotOp::kHollow: run_hollow(slot); break;
        case SlotOp::kMove: run_move(slot); break;
        case SlotOp::kDrop: run_drop(slot); break;
        case SlotOp::kAdopt: run_adopt(slot); break;
        case SlotOp::kRead: BASALT_ASSERT(false);
    }
}

void Engine::run_write(Slot& slot) {
    Node& node = *find_node(slot.node);
    const TreeRoot& root = map_of(node);
    for (uint64_t index = slot.first; index < slot.end; index = page_end(index)) {
        const TreeWalk walk = maps_.find(root, index, 0);
        if (!walk.is_complete()) {
            wait_for_page(slot, walk);
            return;
        }
    }
    for (uint64_t index = slot.first; slot.io->expected != nullptr && index < slot.end; ++index) {
        if (maps_.find(root, index, 0).pointer != slot.io->expected[index - slot.first]) {
            end_change(slot, Errc::kTryAgain);
            return;
        }
    }
    const uint32_t blocks = slot.block_count();
    const Note& note = slot.note();
    const size_t note_bytes = LogBlockWriter::note_bytes(note);
    if (!pass_gate(slot, {blocks, write_bytes(blocks) + kBeforeBytes + note_bytes, &note})) {
        return;
    }
    give_map(node);
    slot.target = {.node = slot.node,
                   .floor = floor_of(node, slot.first),
                   .second_floor = floor_of(node, slot.end - 1),
                   .first = slot.first};
    slot.extent_count = space_->allocate(blocks, slot.extents);
    uint32_t at = 0;
    for (uint32_t i = 0; i < slot.io->piece_count; ++i) {
        const iovec& piece = slot.io->pieces[i];
        for (size_t done = 0; done < piece.iov_len; done += kBlockBytes) {
            BASALT_ASSERT(at < blocks);
            const auto* bytes = static_cast<const std::byte*>(piece.iov_base) + done;
            slot.crcs[at] =
                slot.io->crcs != nullptr ? slot.io->crcs[at] : crc32c({bytes, kBlockBytes});
            ++at;
        }
    }
    BASALT_ASSERT(at == blocks);
    LogBlockWriter& block = log_.block_for(
        LogBlockWriter::write_bytes(slot.target, slot.extent_count, blocks) + note_bytes);
    const bool fits = block.append_write(slot.target,
                                         std::span(slot.extents).first(slot.extent_count),
                                         std::span(slot.crcs).first(blocks),
                                         note);
    BASALT_ASSERT(fits);
    keep_note(slot, NoteKind::kWrite);
    ++counters_.writes;
    counters_.blocks_written += blocks;
    counters_.write_pieces += slot.extent_count;
    pin(slot, node.root, slot.first, 0);
    pin(slot, node.root, slot.end - 1, 0);
    enter_device(slot);
    issue(slot);
}

void Engine::run_unmap(Slot& slot) {
    Node& node = *find_node(slot.node);
    const TreeRoot& root = map_of(node);
    uint64_t next = 0;
    const TreeWalk leaf = maps_.walk(root, slot.first, 1, next);
    const Note& note = slot.note();
    if (leaf.is_complete() && leaf.pointer.is_hole() && !note.is_there()) {
        // Perhaps far beyond the page that is locked; but what is being written there is no hole.
        slot.next = before_changes(locks_, slot, next);
        end_change(slot, kOk);
        return;
    }
    if (leaf.is_complete() && leaf.pointer.is_hole()) {
        run_note(slot);
        return;
    }
    const TreeWalk walk = leaf.is_complete() ? maps_.find(root, slot.first, 0) : leaf;
    if (!walk.is_complete()) {
        wait_for_page(slot, walk);
        return;
    }
    const Page& page = *cache_->get(leaf.pointer.block());
    const size_t in_page = slot.first % kPagePointers;
    const auto range = std::span(page).subspan(in_page, slot.block_count());
    if (std::ranges::all_of(range, [](const Pointer& pointer) { return pointer.is_hole(); })) {
        note.is_there() ? run_note(slot) : end_change(slot, kOk);
        return;
    }
    const size_t bytes = sizeof(LogUnmap) + LogBlockWriter::note_bytes(note);
    if (!pass_gate(slot, {0, bytes + kBeforeBytes, &note})) {
        return;
    }
    give_map(node);
    slot.target = {.node = slot.node,
                   .floor = floor_of(node, slot.first),
                   .second_floor = 0,
                   .first = slot.first};
    const UnmapRecord record{
        slot.node, slot.target.floor, slot.first, slot.block_count(), slot.note()};
    const bool fits = log_.block_for(bytes).append(record);
    BASALT_ASSERT(fits);
    keep_note(slot, NoteKind::kUnmap);
    ++counters_.unmaps;
    pin(slot, node.root, slot.first, 0);
    slot.is_data_done = true;
    enter_device(slot);
}

/// No data: there is none, or it is unmapped and was none before.
void Engine::run_note(Slot& slot) {
    const NoteRecord record{slot.node, slot.first, slot.block_count(), slot.note()};
    const size_t bytes = sizeof(LogNoteAlone) + LogBlockWriter::note_bytes(record.note);
    if (!pass_gate(slot, {0, bytes, &slot.note()})) {
        return;
    }
    const bool fits = log_.block_for(bytes).append(record);
    BASALT_ASSERT(fits);
    keep_note(slot, record.block_count == 0 ? NoteKind::kAlone : NoteKind::kUnmap);
    slot.op = SlotOp::kNote;
    slot.is_data_done = true;
    enter_device(slot);
}

void Engine::keep_note(Slot& slot, NoteKind kind) {
    if (slot.note().is_there()) {
        slot.note_index = notes_->add(slot.note(), kind, slot.first, slot.block_count());
    }
}

void Engine::give_map(Node& node) {
    if (node.has_map) {
        return;
    }
    const AdoptRecord record{node.entry.id, node.source};
    const bool fits = log_.block_for(sizeof(LogAdopt)).append(record);
    BASALT_ASSERT(fits);
    apply_adopt(node, node.source);  // It holds what it held, so there is nothing to wait for.
}

void Engine::pin(Slot& slot, const TreeRoot& root, uint64_t index, uint32_t level) {
    slot.pin_count += maps_.pin_path(root, index, level, slot.pins.data() + slot.pin_count);
    BASALT_ASSERT(slot.pin_count <= Slot::kPinsMax);
}

// --- The gate ------------------------------------------------------------------------------------

bool Engine::pass_gate(Slot& slot, const Needs& needs) {
    if (!is_closed_ && (gate_line_.empty() || slot.is_admitted)) {
        switch (judge(needs)) {
            case Gate::kOpen: slot.is_admitted = false; return true;
            case Gate::kNoSpace: end_change(slot, Errc::kNoSpace); return false;
            case Gate::kNoMemory: end_change(slot, Errc::kNoMemory); return false;
            case Gate::kWait: break;
        }
    }
    if (std::exchange(slot.is_admitted, false)) {
        gate_line_.push_front(slot);  // It keeps its place.
        is_gate_stuck_ = true;
    } else {
        gate_line_.push_back(slot);
    }
    return false;
}

uint64_t Engine::checkpoint_pages() const {
    return kPagesASlab * space_->changed_data_slabs() + kPagesANode * changed_nodes_ +
           kPagesOfRoots;
}

Gate Engine::judge(const Needs& needs) {
    if (log_.depth() > log_.capacity() / 2) {
        want_checkpoint();
    }
    if (!log_.has_room(needs.log_bytes)) {
        return Gate::kWait;
    }
    if (quarantine_.size() + (behind_gate_ + 1) * kFreedMax > Quarantine::kCapacity) {
        log_.push();
        return Gate::kWait;
    }
    const uint64_t dirty = cache_->dirty() + (behind_gate_ + 1) * kPagesAChange +
                           checkpoint_pages() + space_->slabs(SlabKind::kPages).size();
    const uint32_t dirty_max = cache_->size() / kDirtyShare;
    if (dirty > dirty_max / kDirtyEarlyShare) {
        want_checkpoint();
    }
    const bool is_first = behind_gate_ == 0;  // One fits in any case: kCachePagesMin.
    const bool would_help = cache_->dirty() > 0 || !is_first;
    if ((dirty > dirty_max && would_help) ||
        (!is_first && cache_->pins() > cache_->size() / kPinnedShare)) {
        return Gate::kWait;
    }
    Gate verdict = Gate::kOpen;
    if (!has_notes(needs, verdict) || !has_pages(needs, verdict) || !has_blocks(needs, verdict)) {
        return verdict;
    }
    return Gate::kOpen;
}

bool Engine::has_notes(const Needs& needs, Gate& verdict) {
    if (needs.note == nullptr || !needs.note->is_there()) {
        return true;
    }
    if (notes_->forgotten() > notes_->notes_max() / 2) {
        want_checkpoint();
    }
    if (notes_->has_room(*needs.note)) {
        return true;
    }
    if (notes_->forgotten() > 0) {
        want_checkpoint();
        verdict = Gate::kWait;
    } else {
        verdict = Gate::kNoMemory;
    }
    return false;
}

bool Engine::has_pages(const Needs& needs, Gate& verdict) {
    const uint64_t reserve = needs.data_blocks == 0 ? 0 : space_->slab_blocks() / kReserveShare;
    // A checkpoint must be possible after any of these, and one may free blocks in every slab.
    const uint64_t slabs = space_->slabs(SlabKind::kData).size() + 1;
    const uint64_t need = (behind_gate_ + 1) * (kPagesAChange + kPagesANode) + reserve +
                          kPagesANode * changed_nodes_ + kPagesASlab * slabs + kPagesOfRoots;
    if (take_pages(need)) {
        return true;
    }
    if (behind_gate_ > 0 || is_checkpointing_ || space_->pages_leaving() > 0) {
        want_checkpoint();
        verdict = Gate::kWait;
    } else {
        verdict = Gate::kNoSpace;
    }
    return false;
}

bool Engine::has_blocks(const Needs& needs, Gate& verdict) {
    if (needs.data_blocks == 0) {
        return true;
    }
    // A slab more while there are any keeps free blocks together.
    if (space_->data_free() < needs.data_blocks + space_->slab_blocks() / 4) {
        if (const std::optional<uint32_t> slab = space_->take_slab(SlabKind::kData)) {
            const bool fits =
                log_.block_for(sizeof(LogSlab)).append(SlabRecord{*slab, SlabKind::kData});
            BASALT_ASSERT(fits);
        }
    }
    if (space_->data_free() >= needs.data_blocks) {
        return true;
    }
    const Quarantine::Entry* freed = quarantine_.front();
    if (freed != nullptr && freed->sequence > log_.mark()) {
        log_.push();
    }
    verdict = freed != nullptr || behind_gate_ > 0 ? Gate::kWait : Gate::kNoSpace;
    return false;
}

bool Engine::take_pages(uint64_t count) {
    while (space_->pages_free() < count) {
        if (!space_->take_slab(SlabKind::kPages)) {
            return false;
        }
    }
    return true;
}

void Engine::retry_gate() {
    if (is_retrying_) {
        return;
    }
    is_retrying_ = true;
    is_gate_stuck_ = false;
    while (!is_closed_ && !is_gate_stuck_) {
        Slot* slot = gate_line_.pop_front();
        if (slot == nullptr) {
            break;
        }
        slot->is_admitted = true;
        run_change(*slot);
        // It may wait for a page, and then comes back to the front; or be another's by now.
        slot->is_admitted = slot->is_admitted && slot->state == Slot::State::kWaiting;
    }
    is_retrying_ = false;
}

// --- Behind the gate -----------------------------------------------------------------------------

void Engine::enter_device(Slot& slot) {
    slot.state = Slot::State::kDevice;
    log_.attach(slot.ticket);
    ++behind_gate_;
    start_timer();
}

void Engine::try_acknowledge(Slot& slot) {
    if (slot.state != Slot::State::kDevice || !slot.is_data_done ||
        (!slot.is_logged && !is_failed_)) {
        return;
    }
    slot.state = Slot::State::kLocked;
    Status outcome = is_failed_ ? Status(failure_) : kOk;
    if (outcome && !apply(slot)) {
        fence(Error(Errc::kDataCorrupt), "freeing what is not in use:");
        outcome = Errc::kDataCorrupt;
    }
    if (slot.ticket.link.is_linked()) {
        IntrusiveList<LogTicket, &LogTicket::link>::remove(slot.ticket);
    }
    for (uint32_t i = 0; i < slot.pin_count; ++i) {
        cache_->unpin(slot.pins[i]);
    }
    slot.pin_count = 0;
    --behind_gate_;
    if (outcome) {
        log_.acknowledge(slot.ticket.sequence);
        if (slot.note().is_there()) {
            notes_->confirm(slot.note_index);
        }
    }
    end_change(slot, outcome);
    loader_.retry();
    retry_gate();
}

bool Engine::apply(Slot& slot) {
    const Freer freer{slot.ticket.sequence, true};
    switch (slot.op) {
        case SlotOp::kWrite: {
            const auto extents = std::span(slot.extents).first(slot.extent_count);
            for (const Extent& extent : extents) {
                space_->commit(extent);
            }
            return apply_write(*find_node(slot.node),
                               slot.target,
                               extents,
                               std::span(slot.crcs).first(slot.block_count()),
                               freer);
        }
        case SlotOp::kUnmap: {
            const UnmapRecord record{slot.node, slot.target.floor, slot.first, slot.block_count()};
            return apply_unmap(*find_node(slot.node), record, freer);
        }
        case SlotOp::kHollow: return apply_hollow(*find_node(slot.hollow.node), slot.hollow, freer);
        case SlotOp::kNote:
        case SlotOp::kMove:
        case SlotOp::kAdopt:
        case SlotOp::kDrop: return true;  // Done when it was logged.
        case SlotOp::kRead: break;
    }
    return false;
}

void Engine::release_quarantine() {
    const uint64_t oldest = oldest_read();
    const Quarantine::Entry* entry = quarantine_.front();
    while (entry != nullptr && entry->sequence <= log_.mark() && entry->read_number <= oldest) {
        space_->release(entry->block);
        quarantine_.pop();
        entry = quarantine_.front();
    }
}

}  // namespace basalt::bdev::store
