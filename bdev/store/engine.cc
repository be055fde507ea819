#include "bdev/store/engine.h"

#include <algorithm>
#include <utility>

#include "reactor/base/assert.h"
#include "reactor/base/log.h"

namespace basalt::bdev::store {

namespace {

/// Of a partition's slots, so many are for changes: reads go on while those wait for a checkpoint.
constexpr uint32_t kChangesOfFour = 3;
/// Requests to the device of all slots together; a slot that finds none waits.
constexpr uint32_t kSlotIos = 512;

/// One record of the log has the note and all of the change.
bool may_have_note(const PartitionIo& io) {
    if (io.note == nullptr) {
        return io.op != PartitionOp::kNote;
    }
    return io.op != PartitionOp::kRead && io.note->is_there() &&
           io.note->bytes.size() <= kNoteBytesMax &&
           (io.count == 0 || io.first / kPagePointers == (io.first + io.count - 1) / kPagePointers);
}

}  // namespace

uint64_t Engine::scratch_bytes(const PoolLayout& layout) {
    return (uint64_t{layout.checkpoint_blocks} + kLogMemoryBlocks + kWriteBlocksMax) * kBlockBytes;
}

Engine::Engine(Reactor& here,
               BdevChannel& channel,
               const BdevInfo& info,
               const PartitionPlace& place,
               const PartitionOptions& options,
               Parts parts)
    : here_(here),
      place_(place),
      options_(options),
      port_(channel, info),
      seal_(place.pool_uuid.bytes, place.index),
      space_(std::move(parts.space)),
      cache_(std::move(parts.cache)),
      notes_(std::move(parts.notes)),
      scratch_(parts.scratch),
      loader_(port_, *cache_, *space_),
      log_(here, port_, *this, seal_, place.layout.log(place.index), place.layout.log_blocks),
      maps_(*cache_, *space_, PageRank::kMap),
      slab_tree_(*cache_, *space_, PageRank::kSlabs),
      node_tree_(*cache_, *space_, PageRank::kNodes),
      slots_(std::make_unique<Slot[]>(options.requests + 1)),
      ios_(std::make_unique<SlotIo[]>(kSlotIos)),
      changes_max_(std::max(1U, options.requests * kChangesOfFour / 4)),
      care_done_(here),
      changed_(here),
      page_written_(here),
      page_runs_(make_page_runs(*this)) {
    page_order_.reserve(cache_->size());
    for (uint32_t i = 0; i <= options.requests; ++i) {
        Slot& slot = slots_[i];
        slot.engine = this;
        slot.start.slot = slot.waiter.slot = slot.ticket.slot = &slot;
        slot.start.set_run([](Event& event, Reactor&) {
            Slot& started = *static_cast<Slot::Start&>(event).slot;
            started.engine->begin(started);
        });
        slot.waiter.resume = [](PageWaiter& waiter) {
            Slot& waiting = *static_cast<Slot::Waiter&>(waiter).slot;
            waiting.engine->page_is_there(waiting);
        };
        slot.ticket.on_logged = [](LogTicket& ticket) {
            Slot& logged = *static_cast<Slot::Ticket&>(ticket).slot;
            logged.is_logged = true;
            logged.engine->try_acknowledge(logged);
        };
        if (i < options.requests) {
            slot.next_free = std::exchange(free_slots_, &slot);
        }
    }
    for (uint32_t i = 0; i < kSlotIos; ++i) {
        ios_[i].next_free = std::exchange(free_ios_, &ios_[i]);
    }
    timer_.set([](Timer&, void* self) { static_cast<Engine*>(self)->want_checkpoint(); }, this);
    want_checkpoint_.set_run([](Event& event, Reactor&) {
        static_cast<WantCheckpoint&>(event).engine->start_checkpoint();
    });
    want_checkpoint_.engine = this;
}

Engine::~Engine() {
    const bool is_lost = here_.is_abandoned();
    BASALT_ASSERT(is_lost || (locks_.empty() && reads_.empty() && !is_checkpointing_));
    if (!is_lost) {
        here_.stop_timer(timer_);
    }
    for (uint32_t i = 0; i <= options_.requests; ++i) {
        Slot& slot = slots_[i];
        BASALT_ASSERT(is_lost || slot.state == Slot::State::kFree);
        if (slot.start.link.is_linked()) {
            EventList::remove(slot.start);
        }
        if (slot.waiter.link.is_linked()) {
            PageWaiters::remove(slot.waiter);
        }
        if (slot.ticket.link.is_linked()) {
            IntrusiveList<LogTicket, &LogTicket::link>::remove(slot.ticket);
        }
    }
    for (auto& [id, node] : nodes_) {
        node.held.clear();
    }
    read_line_.clear();
    change_line_.clear();
    gate_line_.clear();
    io_line_.clear();
    locks_.clear();
    reads_.clear();
    if (want_checkpoint_.link.is_linked()) {
        EventList::remove(want_checkpoint_);
    }
    source_.release(scratch_);
}

Task<Status> Engine::close() {
    while (behind_gate_ > 0 || changes_ > 0 || !reads_.empty() || is_caring_ || is_checkpointing_ ||
           loader_.under_way() > 0) {
        co_await changed_.wait();
    }
    Status made = failure_;
    if (!is_failed_) {
        made = co_await make_checkpoint();
    }
    is_open_ = false;
    here_.stop_timer(timer_);
    co_return made;
}

// --- Nodes ---------------------------------------------------------------------------------------

Node* Engine::find_node(uint32_t id) {
    const auto found = nodes_.find(id);
    return found == nodes_.end() ? nullptr : &found->second;
}

const TreeRoot& Engine::map_of(const Node& node) {
    static constexpr TreeRoot kEmpty{};
    if (node.has_map) {
        return node.root;
    }
    const Node* source = find_node(node.source);
    return source == nullptr ? kEmpty : source->root;
}

uint32_t Engine::floor_of(const Node& node, uint64_t index) {
    // A hidden parent that has been swept here holds nothing here any more: what it held in common
    // with its only child is the child's.
    uint32_t floor = node.entry.parent;
    for (const Node* parent = find_node(floor); parent != nullptr && parent->entry.is_hidden;
         parent = find_node(floor)) {
        const uint64_t page_end = (index / kPagePointers + 1) * kPagePointers;
        if (parent->has_map && parent->cursor < page_end) {
            break;
        }
        floor = parent->entry.parent;
    }
    return floor;
}

Node* Engine::only_child_of(uint32_t id, uint32_t& count) {
    Node* child = nullptr;
    count = 0;
    for (auto& [child_id, node] : nodes_) {
        if (node.is_listed && node.entry.parent == id) {
            child = &node;
            ++count;
        }
    }
    return child;
}

void Engine::set_node(const NodeEntry& entry) {
    const auto [found, is_new] = nodes_.try_emplace(entry.id);
    Node& node = found->second;
    node.entry = entry;
    node.is_listed = true;
    if (is_new) {
        const Node* parent = find_node(entry.parent);
        node.source = parent == nullptr ? 0 : parent->has_map ? entry.parent : parent->source;
    }
}

void Engine::remove_node(uint32_t id) {
    Node* node = find_node(id);
    BASALT_ASSERT(node != nullptr);
    BASALT_ASSERT(!node->has_map);
    BASALT_ASSERT(node->changes == 0 && node->held.empty());
    if (node->is_changed) {
        gone_nodes_.push_back(id);
    }
    nodes_.erase(id);
}

Task<void> Engine::hold_writes(uint32_t id) {
    Node* node = find_node(id);
    BASALT_ASSERT(node != nullptr);
    node->is_held = true;
    while (node->changes > 0) {
        co_await changed_.wait();
    }
}

void Engine::resume_writes(uint32_t id, uint32_t heir) {
    Node* node = find_node(id);
    BASALT_ASSERT(node != nullptr);
    node->is_held = false;
    // Those that have not come so far go to the heir too: the node may be frozen by now.
    for (PartitionIo* io = change_line_.front(); io != nullptr; io = change_line_.next(*io)) {
        io->node = io->node == id ? heir : io->node;
    }
    for (Slot& slot : std::span(slots_.get(), options_.requests)) {
        const bool is_coming = slot.state == Slot::State::kBegun && slot.is_change;
        slot.node = is_coming && slot.node == id ? heir : slot.node;
    }
    SlotLine held;
    held.splice_back(node->held);
    while (Slot* slot = held.pop_front()) {
        slot->node = heir;
        slot->state = Slot::State::kBegun;
        here_.defer(slot->start);
    }
}

uint64_t Engine::mapped_blocks(uint32_t id) {
    const Node* node = find_node(id);
    if (node != nullptr && !node->has_map) {
        node = find_node(node->source);
    }
    return node == nullptr ? 0 : node->mapped;
}

// --- Slots ---------------------------------------------------------------------------------------

void Engine::submit(PartitionIo& io) {
    BASALT_ASSERT((io.count == 0) == (io.op == PartitionOp::kNote));
    BASALT_ASSERT(may_have_note(io));
    BASALT_ASSERT(io.op == PartitionOp::kUnmap || io.count <= kWriteBlocksMax);
    BASALT_ASSERT(io.first <= kBlockNumberMax - io.count);
    (io.op == PartitionOp::kRead ? read_line_ : change_line_).push_back(io);
    take_from_lines();
}

void Engine::take_from_lines() {
    while (free_slots_ != nullptr) {
        PartitionIo* io = nullptr;
        if (changes_ < changes_max_) {
            io = change_line_.pop_front();
        }
        if (io == nullptr) {
            io = read_line_.pop_front();
        }
        if (io == nullptr) {
            return;
        }
        start(*io);
    }
}

void Engine::start(PartitionIo& io) {
    Slot& slot = *free_slots_;
    free_slots_ = slot.next_free;
    slot.io = &io;
    switch (io.op) {
        case PartitionOp::kRead: slot.op = SlotOp::kRead; break;
        case PartitionOp::kWrite: slot.op = SlotOp::kWrite; break;
        case PartitionOp::kUnmap: slot.op = SlotOp::kUnmap; break;
        case PartitionOp::kNote: slot.op = SlotOp::kNote; break;
    }
    slot.is_change = io.op != PartitionOp::kRead;
    changes_ += slot.is_change ? 1U : 0U;
    slot.node = io.node;
    slot.first = io.first;
    slot.end = io.first + io.count;
    slot.io_end = slot.end;
    slot.state = Slot::State::kBegun;
    here_.defer(slot.start);  // Nothing completes inside submit().
}

void Engine::begin(Slot& slot) {
    slot.status = kOk;
    slot.is_admitted = slot.is_issued = slot.is_logged = slot.is_data_done = false;
    slot.failed_page = 0;
    slot.ios = slot.pin_count = 0;
    slot.extent = slot.extent_done = slot.extent_count = 0;
    slot.piece = slot.slice_count = 0;
    slot.piece_done = 0;
    Node* node = find_node(slot.node);
    if (node == nullptr || !node->is_listed) {
        finish(slot, Errc::kNotFound);
    } else if (!slot.is_change) {
        run_read(slot);
    } else if (slot.io != nullptr && node->is_held) {
        slot.state = Slot::State::kHeld;
        node->held.push_back(slot);
    } else if (slot.io != nullptr && node->entry.is_frozen) {
        finish(slot, Errc::kReadOnly);
    } else {
        lock(slot);
    }
}

Task<void> Engine::begin_care() {
    while (is_caring_) {
        co_await changed_.wait();
    }
    is_caring_ = true;
}

/// Runs what the spare slot says, to its end: its operation, node and range.
Task<void> Engine::run_spare_slot() {
    Slot& slot = slots_[options_.requests];
    slot.is_change = true;
    slot.state = Slot::State::kBegun;
    here_.defer(slot.start);
    while (slot.state != Slot::State::kFree) {
        co_await care_done_.wait();
    }
}

void Engine::end_care() {
    is_caring_ = false;
    changed_.notify();
}

void Engine::finish(Slot& slot, Status outcome) {
    slot.state = Slot::State::kFree;
    changed_.notify();
    if (slot.io == nullptr) {
        slot.status = outcome;
        care_done_.notify();
        return;
    }
    PartitionIo& io = *slot.io;
    slot.io = nullptr;
    changes_ -= slot.is_change ? 1U : 0U;
    slot.next_free = std::exchange(free_slots_, &slot);
    io.status = outcome;
    io.complete(io, io.context);
    take_from_lines();
}

void Engine::wait_for_page(Slot& slot, const TreeWalk& walk) {
    slot.state = Slot::State::kWaiting;
    const bool has_failed = slot.failed_page == walk.missing.block();
    if (has_failed || !loader_.want(walk.missing, slot.waiter)) {
        fail_for_page(slot);
    } else {
        slot.awaited_page = walk.missing.block();
    }
}

void Engine::page_is_there(Slot& slot) {
    // A page that can't be read may have been replaced meanwhile: then it is not missed.
    slot.failed_page = slot.waiter.has_failed ? slot.awaited_page : 0;
    slot.is_change ? run_change(slot) : run_read(slot);
}

void Engine::fail_for_page(Slot& slot) {
    const DamagedBlock page{.node = slot.node,
                            .block = slot.first,
                            .device_block = loader_.last_damaged(),
                            .is_page = true};
    damaged(page);
    if (slot.is_change) {
        end_change(slot, Errc::kMediaError);
    } else {
        finish(slot, Errc::kMediaError);
    }
}

// --- Failures ------------------------------------------------------------------------------------

void Engine::fence(Error error, const char* what) {
    if (std::exchange(is_failed_, true)) {
        return;
    }
    BASALT_LOG(kError,
               "store",
               "partition {}: {} failed ({}): no more writes until the pool is opened again",
               place_.index,
               what,
               describe(error.code));
    failure_ = error;
    // Nobody knows what is on the medium, so whatever is under way has failed too.
    const auto is_waiting_for_log = [](const Slot& slot) {
        return slot.state == Slot::State::kDevice && slot.is_data_done;
    };
    for (Slot* slot = locks_.front(); slot != nullptr;) {
        const bool is_ending = is_waiting_for_log(*slot);
        if (is_ending) {
            try_acknowledge(*slot);  // Others may end with it.
        }
        slot = is_ending ? locks_.front() : locks_.next(*slot);
    }
    retry_gate();
    changed_.notify();
}

void Engine::damaged(const DamagedBlock& block) {
    counters_.damaged[counters_.damaged_blocks % PartitionStats::kDamagedKept] = block;
    ++counters_.damaged_blocks;
    BASALT_LOG(kError,
               "store",
               "partition {}: {} of node {} at block {}, block {} of the device, is damaged",
               place_.index,
               block.is_page ? "a page of the map" : "data",
               block.node,
               block.block,
               block.device_block);
}

void Engine::on_log_progress() {
    release_quarantine();
    retry_gate();
    changed_.notify();
}

void Engine::on_log_failure(Error error) {
    fence(error, "writing the log");
}

PartitionStats Engine::stats() const {
    PartitionStats stats = counters_;
    stats.log_blocks_written = log_.blocks_written;
    stats.log_records_written = log_.records_written;
    stats.log_depth = log_.depth();
    stats.checkpoint_age_ns = here_.now_ns() - checkpointed_ns_;
    stats.page_hits = cache_->hits;
    stats.page_loads = cache_->loads;
    stats.pages_cached = cache_->used();
    stats.pages_dirty = cache_->dirty();
    stats.is_failed = is_failed_;
    stats.data_slabs = static_cast<uint32_t>(space_->slabs(SlabKind::kData).size());
    stats.page_slabs = static_cast<uint32_t>(space_->slabs(SlabKind::kPages).size());
    stats.data_blocks_used = space_->data_used();
    stats.data_blocks_free = space_->data_free();
    stats.page_blocks_used = space_->pages_used();
    stats.page_blocks_free = space_->pages_free();
    stats.notes = notes_->size();
    stats.notes_max = notes_->notes_max();
    const uint64_t bitmaps = space_->bitmap_bytes();
    stats.mapping_bytes = uint64_t{cache_->used()} * kBlockBytes + bitmaps;
    stats.mapping_bytes_max = uint64_t{cache_->size()} * kBlockBytes + bitmaps;
    return stats;
}

}  // namespace basalt::bdev::store
