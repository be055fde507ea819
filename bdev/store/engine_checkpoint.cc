#include <algorithm>
#include <cstring>
#include <utility>

#include "bdev/store/engine.h"
#include "reactor/base/assert.h"
#include "reactor/base/log.h"

/// A checkpoint: the pages that lead to data are summed ahead while I/O goes on, for most of them
/// stay as they are. Then the gate is closed until no change is behind it; the maps are what the
/// log says up to its last block, and that state is sealed: CRCs from the leaves up, bitmaps,
/// roots. The gate opens, and the sealed pages are written while I/O goes on. A sealed page is not
/// changed any more; who wants to gets a new one.
namespace basalt::bdev::store {

namespace {

/// Pages sealed in one turn: 4 KiB take about 0.3 us to sum, and reads go on in between.
constexpr uint32_t kSealStep = 256;
/// Pages summed ahead, or given to the device, in one turn: other I/O waits no longer than for
/// these, even where the device is memory and a write a copy: 10 us for memory that was used
/// before, 200 us where each page is a fault.
constexpr uint32_t kStep = 32;
/// Notes listed in one turn: each is copied out of a place of its own in memory, about 30 us.
constexpr uint32_t kNoteStep = 512;
/// Runs of pages that are written at a time, and pages in one of them.
constexpr uint32_t kWritesMax = 16;
constexpr uint32_t kRunMax = kStep;
/// Births of pages that no node is the owner of.
constexpr TreeOwner kNobody{.node = 1, .floor = 0};

}  // namespace

void Engine::want_checkpoint() {
    if (!is_checkpointing_ && !is_failed_ && is_open_ && !want_checkpoint_.link.is_linked()) {
        here_.defer(want_checkpoint_);
    }
}

void Engine::start_checkpoint() {
    if (!is_checkpointing_ && !is_failed_ && is_open_) {
        make_checkpoint().detach();
    }
}

void Engine::start_timer() {
    if (options_.checkpoint_interval_ns != 0 && !timer_.is_running()) {
        here_.start_timer(timer_, options_.checkpoint_interval_ns);
    }
}

Task<Status> Engine::checkpoint() {
    while (is_checkpointing_) {
        co_await changed_.wait();
    }
    const Status made = co_await make_checkpoint();
    co_return made;
}

Task<Status> Engine::make_checkpoint() {
    BASALT_ASSERT(!is_checkpointing_);
    is_checkpointing_ = true;
    co_await sum_leaves();
    is_closed_ = true;
    const uint64_t began_ns = here_.now_ns();
    while (!is_failed_ && (behind_gate_ > 0 || !log_.is_quiet())) {
        co_await changed_.wait();
    }
    Status outcome = is_failed_ ? Status(failure_) : kOk;
    if (outcome) {
        outcome = co_await write_checkpoint(log_.next_sequence(), log_.incarnation(), began_ns);
    }
    is_closed_ = false;
    is_checkpointing_ = false;
    if (!outcome && outcome.error().code != Errc::kNoSpace) {
        fence(outcome.error(), "writing a checkpoint");
    }
    release_quarantine();
    loader_.retry();
    retry_gate();
    changed_.notify();
    co_return outcome;
}

Task<Status> Engine::write_checkpoint(uint64_t log_start, uint32_t incarnation, uint64_t began_ns) {
    here_.stop_timer(timer_);
    const uint64_t pages_needed = checkpoint_pages();
    if (!take_pages(pages_needed)) {
        co_return Errc::kNoSpace;
    }
    // From here to the end of the sealing nothing changes but by this.
    if (is_open_) {
        space_->give_up_empty(pages_needed);  // In replay, records to come may need them.
    }
    list_slabs();
    list_nodes();
    space_->begin_checkpoint();
    copy_page_bitmaps();
    const std::span<const uint32_t> frames = cache_->seal();
    uint32_t summed = 0;
    for (const uint32_t index : frames) {
        const bool is_summed = cache_->frame(index).is_summed;
        seal_page(index);
        if (!is_summed && ++summed % kSealStep == 0) {
            co_await sleep_for(here_, 0);
        }
    }
    take_crcs();
    co_await list_notes();
    const uint32_t bytes = build_image(log_start, incarnation);
    is_closed_ = false;
    counters_.checkpoint_hold_ns_max =
        std::max(counters_.checkpoint_hold_ns_max, here_.now_ns() - began_ns);
    retry_gate();

    const Status pages = co_await write_pages(frames);
    if (!pages) {
        co_return pages;
    }
    const Place place = checkpoint_sequence_ % 2 == 0 ? Place::kA : Place::kB;
    const Status image = co_await write_image(place_.layout.checkpoint(place_.index, place), bytes);
    if (!image) {
        co_return image;
    }
    cache_->end_sealed();
    space_->end_checkpoint();
    notes_->end_checkpoint();
    log_.set_start(log_start);
    ++counters_.checkpoints;
    counters_.checkpoint_pages += frames.size();
    checkpointed_ns_ = here_.now_ns();
    counters_.checkpoint_last_ns = checkpointed_ns_ - began_ns;
    co_return kOk;
}

// --- What there is -------------------------------------------------------------------------------

void Engine::list_slabs() {
    for (const uint32_t index : space_->slabs(SlabKind::kData)) {
        Space::Slab& slab = space_->slab(index);
        if (!slab.is_changed && !slab.is_given_up) {
            continue;
        }
        if (!slab.bitmap.is_hole()) {
            const bool was_used = space_->leave_page(slab.bitmap.block());
            BASALT_ASSERT(was_used);
            slab.bitmap = {};
        }
        Page& page = slab_tree_.change_leaf(slab_root_, index, kNobody);
        if (slab.is_given_up) {
            page[index % kPagePointers] = {};
            slab_tree_.prune(slab_root_, index, kNobody);
            continue;
        }
        const uint64_t block = space_->allocate_page([this](uint64_t free) {
            const uint32_t frame = cache_->find(free);
            return frame == PageCache::kNone ||
                   cache_->frame(frame).state != PageCache::State::kLoading;
        });
        const uint32_t frame = cache_->add_dirty(block, static_cast<uint32_t>(PageRank::kBitmap));
        space_->copy_bitmap(index, std::as_writable_bytes(std::span(cache_->page(frame))));
        slab.bitmap = {.word = block, .birth = kNobody.node, .crc = 0};
        page[index % kPagePointers] = slab.bitmap;
    }
}

void Engine::list_nodes() {
    for (auto& [id, node] : nodes_) {
        if (std::exchange(node.is_changed, false)) {
            list_node(id, node.has_map ? &node : nullptr);
        }
    }
    for (const uint32_t id : gone_nodes_) {
        list_node(id, nullptr);
    }
    gone_nodes_.clear();
    changed_nodes_ = 0;
}

void Engine::list_node(uint32_t id, const Node* node) {
    const uint64_t index = uint64_t{id} * 2;
    Page& page = node_tree_.change_leaf(node_root_, index, kNobody);
    Pointer& root = page[index % kPagePointers];
    Pointer& count = page[index % kPagePointers + 1];
    if (node == nullptr) {
        root = count = {};
        node_tree_.prune(node_root_, index, kNobody);
        return;
    }
    root = node->root.pointer;
    root.word |= uint64_t{node->root.height} << 48U;
    count = {.word = node->mapped + 1, .birth = 0, .crc = 0};
}

void Engine::copy_page_bitmaps() {
    for (const uint32_t index : space_->slabs(SlabKind::kPages)) {
        Space::Slab& slab = space_->slab(index);
        if (!slab.is_changed || slab.is_given_up) {
            continue;
        }
        slab.place = slab.place == Place::kA ? Place::kB : Place::kA;
        const uint64_t block = space_->slab_first(index) + (slab.place == Place::kA ? 0 : 1);
        const uint32_t frame = cache_->add_dirty(block, static_cast<uint32_t>(PageRank::kBitmap));
        space_->copy_bitmap(index, std::as_writable_bytes(std::span(cache_->page(frame))));
    }
}

/// What is changed again before the gate closes is summed again then.
Task<void> Engine::sum_leaves() {
    uint32_t summed = 0;
    for (uint32_t i = 0; i < cache_->dirty() && !is_failed_; ++i) {
        const uint32_t index = cache_->dirty_frame(i);
        PageCache::Frame& frame = cache_->frame(index);
        if (frame.rank != static_cast<uint32_t>(PageRank::kMap) + 1 || frame.is_summed) {
            continue;  // Others hold CRCs of pages that may still change.
        }
        frame.crc = crc32c(std::as_bytes(std::span(cache_->page(index))));
        frame.is_summed = true;
        if (++summed % kStep == 0) {
            co_await sleep_for(here_, 0);
        }
    }
}

void Engine::seal_page(uint32_t index) {
    PageCache::Frame& frame = cache_->frame(index);
    if (frame.is_summed) {
        return;
    }
    Page& page = cache_->page(index);
    constexpr auto kSlabs = static_cast<uint32_t>(PageRank::kSlabs);
    constexpr auto kNodes = static_cast<uint32_t>(PageRank::kNodes);
    // Bitmaps are not pointers, and leaf pages of maps lead to data. In the leaf pages of the tree
    // of nodes every other entry is a count.
    const bool has_pages_below = frame.rank > 1;
    const uint32_t step = frame.rank == kNodes + 1 ? 2 : 1;
    static_assert(kSlabs > kTreeHeightMax && kNodes > kSlabs + kTreeHeightMax);
    for (uint32_t i = 0; has_pages_below && i < kPagePointers; i += step) {
        if (!page[i].is_hole()) {
            take_crc(page[i]);
        }
    }
    frame.crc = crc32c(std::as_bytes(std::span(page)));
}

void Engine::take_crc(Pointer& pointer) {
    const uint32_t below = pointer.is_hole() ? PageCache::kNone : cache_->find(pointer.block());
    if (below != PageCache::kNone && cache_->frame(below).state == PageCache::State::kSealed) {
        pointer.crc = cache_->frame(below).crc;
    }
}

void Engine::take_crcs() {
    for (auto& [id, node] : nodes_) {
        take_crc(node.root.pointer);
    }
    for (const uint32_t index : space_->slabs(SlabKind::kData)) {
        take_crc(space_->slab(index).bitmap);
    }
    for (const uint32_t index : space_->slabs(SlabKind::kPages)) {
        Space::Slab& slab = space_->slab(index);
        const uint64_t block = space_->slab_first(index) + (slab.place == Place::kA ? 0 : 1);
        Pointer bitmap{.word = block, .birth = 0, .crc = slab.crc};
        take_crc(bitmap);
        slab.crc = bitmap.crc;
    }
    take_crc(slab_root_.pointer);
    take_crc(node_root_.pointer);
}

/// The notes follow the slabs in the image. What is forgotten meanwhile may be in it or not.
Task<void> Engine::list_notes() {
    const auto& slabs = space_->slabs(SlabKind::kPages);
    const auto kept = std::ranges::count_if(
        slabs, [this](uint32_t index) { return !space_->slab(index).is_given_up; });
    std::byte* const begin = image_memory().data() + sizeof(CheckpointHead) +
                             static_cast<size_t>(kept) * sizeof(MetaSlab);
    std::byte* at = begin;
    listed_notes_ = {};
    notes_->begin_checkpoint();
    for (uint32_t index = notes_->first(); index != NoteTable::kNone;) {
        listed_notes_.count += notes_->list(index, kNoteStep, at);
        if (index != NoteTable::kNone) {
            co_await sleep_for(here_, 0);
        }
    }
    listed_notes_.bytes = static_cast<uint32_t>(at - begin);
}

uint32_t Engine::build_image(uint64_t log_start, uint32_t incarnation) {
    CheckpointHead head{};
    head.magic = kCheckpointMagic;
    head.sequence = ++checkpoint_sequence_;
    head.log_start = log_start;
    head.incarnation = incarnation;
    head.nodes = node_root_.pointer;
    head.nodes.word |= uint64_t{node_root_.height} << 48U;
    head.slabs = slab_root_.pointer;
    head.slabs.word |= uint64_t{slab_root_.height} << 48U;
    std::byte* const image = image_memory().data();
    std::byte* at = image + sizeof(head);
    for (const uint32_t index : space_->slabs(SlabKind::kPages)) {
        const Space::Slab& slab = space_->slab(index);
        if (slab.is_given_up) {
            continue;
        }
        const MetaSlab entry{index | (slab.place == Place::kB ? kMetaSlabPlaceB : 0U), slab.crc};
        std::memcpy(at, &entry, sizeof(entry));
        at += sizeof(entry);
        ++head.meta_slab_count;
    }
    head.note_count = listed_notes_.count;
    head.note_bytes = listed_notes_.bytes;
    at += head.note_bytes;
    BASALT_ASSERT(at <= image + image_memory().size());
    const auto used = static_cast<uint32_t>(at - image);
    head.bytes = used;
    const uint32_t bytes = (used + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
    std::memset(at, 0, bytes - used);
    std::memcpy(image, &head, sizeof(head));
    seal_.put({image, bytes}, offsetof(CheckpointHead, crc));
    return bytes;
}

// --- Onto the device -----------------------------------------------------------------------------

/// Pages that lie one after the other, in one request.
struct Engine::PageRun {
    WholeIoRequest request;
    std::array<iovec, kRunMax> pieces{};
    bool is_under_way = false;
    Engine* engine = nullptr;
};

Engine::PageRuns Engine::make_page_runs(Engine& engine) {
    PageRuns runs(new PageRun[kWritesMax], [](PageRun* all) { delete[] all; });
    for (uint32_t i = 0; i < kWritesMax; ++i) {
        runs.get()[i].engine = &engine;
    }
    return runs;
}

Task<Status> Engine::write_pages(std::span<const uint32_t> frames) {
    page_order_.assign(frames.begin(), frames.end());
    std::ranges::sort(page_order_, {}, [this](uint32_t f) { return cache_->frame(f).block; });
    page_status_ = kOk;
    size_t in_turn = 0;
    for (size_t next = 0; next < page_order_.size() || page_runs_under_way_ > 0;) {
        PageRun* run = nullptr;
        for (uint32_t i = 0; i < kWritesMax && run == nullptr; ++i) {
            run = page_runs_.get()[i].is_under_way ? nullptr : &page_runs_.get()[i];
        }
        if (run == nullptr || next == page_order_.size() || !page_status_) {
            if (page_runs_under_way_ == 0) {
                break;
            }
            co_await page_written_.wait();
            continue;
        }
        const size_t count = write_run(*run, std::span(page_order_).subspan(next));
        next += count;
        in_turn += count;
        if (in_turn >= kStep) {
            in_turn = 0;
            co_await sleep_for(here_, 0);
        }
    }
    co_return page_status_;
}

size_t Engine::write_run(PageRun& run, std::span<const uint32_t> frames) {
    const uint64_t first = cache_->frame(frames[0]).block;
    const size_t most = std::min<size_t>({kRunMax, port_.transfer_max(), frames.size()});
    size_t count = 0;
    while (count < most && cache_->frame(frames[count]).block == first + count) {
        run.pieces[count] = {&cache_->page(frames[count]), kBlockBytes};
        ++count;
    }
    port_.prepare(run.request, IoOp::kWrite, first, std::span(run.pieces).first(count), count);
    if (!port_.needs_flush()) {
        port_.make_durable(run.request);
    }
    run.request.push_completion(
        [](IoRequest& request, void* context) {
            auto& done = *static_cast<PageRun*>(context);
            done.is_under_way = false;
            --done.engine->page_runs_under_way_;
            if (!request.status) {
                done.engine->page_status_ = request.status;
            }
            done.engine->page_written_.notify();
        },
        &run);
    run.is_under_way = true;
    ++page_runs_under_way_;
    port_.submit(run.request);
    return count;
}

Task<Status> Engine::write_image(uint64_t block, uint32_t bytes) {
    if (port_.needs_flush()) {
        const std::span<std::byte> nothing;
        const Status flushed = co_await DeviceCall(port_, IoOp::kFlush, 0, nothing);
        if (!flushed) {
            co_return flushed;
        }
    }
    // Each part is durable when it is written, and the CRC is that of all.
    const uint32_t step = port_.transfer_max() * kBlockBytes;
    for (uint32_t done = 0; done < bytes; done += step) {
        const auto part = image_memory().subspan(done, std::min(step, bytes - done));
        const Status written =
            co_await DeviceCall(port_, IoOp::kWrite, block + done / kBlockBytes, part, Fua::kYes);
        if (!written) {
            co_return written;
        }
    }
    co_return kOk;
}

}  // namespace basalt::bdev::store
