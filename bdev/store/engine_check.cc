#include <algorithm>
#include <utility>

#include "bdev/store/engine.h"
#include "reactor/base/assert.h"

namespace basalt::bdev::store {

namespace {

/// Stands for where a block of data is and what is in it; never 0.
uint32_t fingerprint(uint64_t index, const Pointer& pointer) {
    uint64_t hash = index * 0x9E3779B97F4A7C15ULL ^ pointer.crc;
    hash = (hash ^ hash >> 29U) * 0xBF58476D1CE4E5B9ULL + pointer.birth;
    return static_cast<uint32_t>(hash >> 32U) | 1U;
}

}  // namespace

/// What a check has seen so far.
struct Engine::Census {
    struct Page {
        Pointer pointer{};
        uint32_t level = 0;
        uint64_t index = 0;
        uint32_t next = 0;    // The pointer in it that is looked at next.
        uint64_t mapped = 0;  // Below, so far.
    };

    CheckReport report;
    std::vector<Page> path;                        // Down a map.
    std::unordered_map<uint64_t, uint64_t> pages;  // Seen: how many blocks are mapped below.
    std::unordered_map<uint32_t, std::vector<uint32_t>> data;  // By slab: fingerprints.
    uint64_t missing_pages = 0;
    uint64_t missing_data = 0;
};

Task<Status> Engine::fetch(Pointer pointer, DamagedBlock where) {
    while (cache_->get(pointer.block()) == nullptr) {
        // A named value: GCC 12 puts the frame of a sequence without one in the wrong place.
        const bool is_loaded = co_await PageWait(loader_, pointer);
        if (!is_loaded) {
            where.device_block = loader_.last_damaged();
            where.is_page = true;
            damaged(where);
            co_return Errc::kMediaError;
        }
    }
    co_return kOk;
}

Task<void> Engine::close_gate() {
    while (is_checkpointing_) {
        co_await changed_.wait();
    }
    is_checkpointing_ = true;
    is_closed_ = true;
    while (!is_failed_ && (behind_gate_ > 0 || !log_.is_quiet())) {
        co_await changed_.wait();
    }
}

void Engine::open_gate() {
    is_closed_ = false;
    is_checkpointing_ = false;
    changed_.notify();
    retry_gate();
}

Task<Result<CheckReport>> Engine::check() {
    co_await begin_care();
    co_await close_gate();
    Census census;
    std::vector<uint32_t> ids;
    for (const auto& [id, node] : nodes_) {
        ids.push_back(id);
    }
    std::ranges::sort(ids);
    for (const uint32_t id : ids) {
        const Node* node = find_node(id);
        if (node == nullptr || !node->has_map) {
            continue;
        }
        const uint64_t mapped = co_await count_map(census, node->root);
        // Nobody asks what a hidden node holds, and its sweep does not count.
        const bool is_wrong = !node->entry.is_hidden && mapped != node->mapped;
        census.report.wrong_counts += is_wrong ? 1U : 0U;
    }
    for (const uint32_t slab : space_->slabs(SlabKind::kData)) {
        const Pointer bitmap = space_->slab(slab).bitmap;
        if (!bitmap.is_hole()) {
            static_cast<void>(see_page(census, bitmap));
        }
    }
    co_await count_tree(census, slab_tree_, slab_root_);
    co_await count_tree(census, node_tree_, node_root_);
    CheckReport& report = census.report;
    report.page_blocks = census.pages.size();
    report.missing_blocks = census.missing_pages + census.missing_data;
    report.leaked_blocks = space_->pages_used() - space_->pages_leaving() -
                           (report.page_blocks - census.missing_pages);
    report.leaked_blocks += space_->data_used() - (report.data_blocks - census.missing_data);
    open_gate();
    end_care();
    co_return report;
}

bool Engine::see_page(Census& census, const Pointer& pointer) {
    if (!census.pages.emplace(pointer.block(), 0).second) {
        return false;
    }
    census.missing_pages += space_->is_page_used(pointer.block()) ? 0U : 1U;
    return true;
}

void Engine::see_data(Census& census, const Pointer& pointer, uint64_t index) {
    const uint64_t block = pointer.block();
    if (!space_->owns(block, 1, SlabKind::kData)) {
        ++census.report.missing_blocks;
        return;
    }
    std::vector<uint32_t>& seen = census.data[place_.layout.slab_of(block)];
    seen.resize(space_->slab_blocks());
    uint32_t& print = seen[(block - place_.layout.slabs_first()) % space_->slab_blocks()];
    const uint32_t wanted = fingerprint(index, pointer);
    if (print == 0) {
        print = wanted;
        ++census.report.data_blocks;
        census.missing_data += space_->is_data_used(block) ? 0U : 1U;
    }
    census.report.doubled_blocks += print == wanted ? 0U : 1U;
}

Task<uint64_t> Engine::count_map(Census& census, TreeRoot root) {
    if (root.height == 0) {
        co_return 0;
    }
    uint64_t last = 0;
    const auto enter = [&census, &last, this](
                           const Pointer& pointer, uint32_t level, uint64_t index) {
        const bool is_new = see_page(census, pointer);
        last = census.pages[pointer.block()];
        if (is_new) {
            census.path.push_back({.pointer = pointer, .level = level, .index = index});
        }
        return is_new;
    };
    static_cast<void>(enter(root.pointer, root.height, 0));
    while (!census.path.empty()) {
        Census::Page& at = census.path.back();
        const Status is_here = co_await fetch(at.pointer);
        const Page* page = is_here ? cache_->get(at.pointer.block()) : nullptr;
        census.report.broken_pages += page == nullptr ? 1U : 0U;
        bool has_entered = false;
        while (page != nullptr && at.next < kPagePointers && !has_entered) {
            const Pointer below = (*page)[at.next];
            const uint64_t index = at.index + at.next * blocks_below(at.level - 1);
            ++at.next;
            if (below.is_hole()) {
                continue;
            }
            if (at.level == 1) {
                see_data(census, below, index);
                ++at.mapped;
                continue;
            }
            const uint32_t level = at.level - 1;
            if (enter(below, level, index)) {
                has_entered = true;  // `at` is no more.
                break;
            }
            at.mapped += last;
        }
        if (!has_entered) {
            last = at.mapped;
            census.pages[at.pointer.block()] = last;
            census.path.pop_back();
            if (!census.path.empty()) {
                census.path.back().mapped += last;
            }
        }
    }
    co_return last;
}

Task<void> Engine::count_tree(Census& census, const PageTree& tree, TreeRoot root) {
    // These trees are in memory: every page on the way to every entry.
    for (uint32_t level = 1; level <= root.height; ++level) {
        for (uint64_t index = 0, next = 0; index < blocks_below(root.height); index = next) {
            const TreeWalk walk = tree.walk(root, index, level, next);
            if (!walk.is_complete()) {
                const Status is_here = co_await fetch(walk.missing);
                if (!is_here) {
                    ++census.report.broken_pages;
                    break;
                }
                next = index;
                continue;
            }
            if (!walk.pointer.is_hole()) {
                static_cast<void>(see_page(census, walk.pointer));
            }
        }
    }
}

}  // namespace basalt::bdev::store
