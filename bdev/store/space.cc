#include "bdev/store/space.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "reactor/base/assert.h"

namespace basalt::bdev::store {

namespace {

constexpr uint32_t kWordBits = 64;
/// The first two blocks of a slab of pages: its bitmap, A and B.
constexpr uint32_t kBitmapPlaces = 2;

uint64_t bit_of(uint32_t index) {
    return uint64_t{1} << index % kWordBits;
}

uint32_t count_ones(std::span<const uint64_t> words) {
    uint32_t ones = 0;
    for (const uint64_t word : words) {
        ones += static_cast<uint32_t>(std::popcount(word));
    }
    return ones;
}

}  // namespace

Result<std::unique_ptr<Space>> Space::make(const PoolLayout& layout, SlabTable& table) {
    AnonymousMemory source;
    const uint64_t bytes = uint64_t{table.slabs_max()} * kMaps * (layout.slab_blocks / 8);
    BASALT_TRY(const std::span<std::byte> memory,
               source.allocate((bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes));
    return std::unique_ptr<Space>(new Space(layout, table, memory));
}

Space::Space(const PoolLayout& layout, SlabTable& table, std::span<std::byte> memory)
    : layout_(layout), table_(table), memory_(memory), slabs_(table.slabs_max()) {
    data_slabs_.reserve(slabs_.size());
    page_slabs_.reserve(slabs_.size());
    given_up_.reserve(slabs_.size());
}

Space::~Space() {
    source_.release(memory_);
}

// --- Bits ----------------------------------------------------------------------------------------

std::span<uint64_t> Space::words(uint32_t slab, Map map) const {
    const uint32_t count = layout_.slab_blocks / kWordBits;
    auto* all = reinterpret_cast<uint64_t*>(memory_.data());
    return {all + (size_t{slab} * kMaps + static_cast<uint32_t>(map)) * count, count};
}

bool Space::test(uint64_t block, Map map) const {
    const uint32_t index = index_in_slab(block);
    return (words(layout_.slab_of(block), map)[index / kWordBits] & bit_of(index)) != 0;
}

void Space::set(uint64_t block, Map map) {
    const uint32_t index = index_in_slab(block);
    words(layout_.slab_of(block), map)[index / kWordBits] |= bit_of(index);
}

void Space::clear(uint64_t block, Map map) {
    const uint32_t index = index_in_slab(block);
    words(layout_.slab_of(block), map)[index / kWordBits] &= ~bit_of(index);
}

bool Space::owns(uint64_t block, uint32_t count, SlabKind kind) const {
    if (count == 0 || block < layout_.slabs_first()) {
        return false;
    }
    const uint64_t index = (block - layout_.slabs_first()) / layout_.slab_blocks;
    return index < slabs_.size() && slabs_[index].kind == kind &&
           index_in_slab(block) + uint64_t{count} <= layout_.slab_blocks;
}

void Space::mark_changed(uint32_t slab) {
    if (!slabs_[slab].is_changed) {
        slabs_[slab].is_changed = true;
        changed_data_slabs_ += slabs_[slab].kind == SlabKind::kData ? 1U : 0U;
    }
}

// --- Slabs ---------------------------------------------------------------------------------------

bool Space::add_slab(uint32_t slab, SlabKind kind, bool claims) {
    if (slab >= slabs_.size() || slabs_[slab].kind != SlabKind::kNone ||
        (claims && !table_.claim(slab))) {
        return false;
    }
    slabs_[slab] = Slab{.kind = kind};
    for (const Map map : {Map::kUsed, Map::kHeld, Map::kLeft}) {
        std::ranges::fill(words(slab, map), 0);
    }
    mark_changed(slab);
    if (kind == SlabKind::kData) {
        data_slabs_.push_back(slab);
        data_free_ += layout_.slab_blocks;
        return true;
    }
    page_slabs_.push_back(slab);
    words(slab, Map::kUsed)[0] = (uint64_t{1} << kBitmapPlaces) - 1;
    slabs_[slab].used = kBitmapPlaces;
    pages_free_ += layout_.slab_blocks - kBitmapPlaces;
    return true;
}

std::optional<uint32_t> Space::take_slab(SlabKind kind) {
    const std::optional<uint32_t> slab = table_.take();
    if (slab) {
        const bool is_added = add_slab(*slab, kind, false);
        BASALT_ASSERT(is_added);
    }
    return slab;
}

bool Space::load_bitmap(uint32_t slab, std::span<const std::byte> block) {
    BASALT_ASSERT(block.size() == kBlockBytes);
    const std::span<uint64_t> used = words(slab, Map::kUsed);
    Slab& state = slabs_[slab];
    const uint32_t before = state.used;
    std::memcpy(used.data(), block.data(), used.size_bytes());
    const auto rest = block.subspan(used.size_bytes());
    if (std::ranges::any_of(rest, [](std::byte b) { return b != std::byte{0}; })) {
        return false;
    }
    state.used = count_ones(used);
    changed_data_slabs_ -= state.is_changed && state.kind == SlabKind::kData ? 1U : 0U;
    state.is_changed = false;
    if (state.kind == SlabKind::kData) {
        data_free_ -= state.used;
        data_used_ += state.used;
        return true;
    }
    pages_free_ -= state.used - before;
    pages_used_ += state.used - before;
    constexpr uint64_t kPlaces = (uint64_t{1} << kBitmapPlaces) - 1;
    return (used[0] & kPlaces) == kPlaces;
}

// --- Data ----------------------------------------------------------------------------------------

void Space::pick_data_slab() {
    uint32_t most = 0;
    for (const uint32_t slab : data_slabs_) {
        const Slab& state = slabs_[slab];
        const uint32_t free = layout_.slab_blocks - state.used - state.held;
        if (!state.is_given_up && free > most) {
            most = free;
            data_slab_ = slab;
        }
    }
    BASALT_ASSERT(most > 0);
    data_cursor_ = 0;
}

uint32_t Space::take_run(uint32_t count, Extent& extent) {
    const std::span<const uint64_t> used = words(data_slab_, Map::kUsed);
    const std::span<uint64_t> held = words(data_slab_, Map::kHeld);
    uint32_t taken = 0;
    while (taken < count && data_cursor_ < layout_.slab_blocks) {
        const uint32_t in_word = data_cursor_ % kWordBits;
        const uint32_t word = data_cursor_ / kWordBits;
        const uint64_t busy = (used[word] | held[word]) >> in_word;
        const uint32_t skip =
            std::min(static_cast<uint32_t>(std::countr_one(busy)), kWordBits - in_word);
        if (skip > 0) {
            if (taken > 0) {
                break;
            }
            data_cursor_ += skip;
            continue;
        }
        const uint32_t run = std::min(
            {static_cast<uint32_t>(std::countr_zero(busy)), kWordBits - in_word, count - taken});
        if (taken == 0) {
            extent.block = slab_first(data_slab_) + data_cursor_;
        }
        const uint64_t ones = run == kWordBits ? ~uint64_t{0} : (uint64_t{1} << run) - 1;
        held[word] |= ones << in_word;
        taken += run;
        data_cursor_ += run;
    }
    extent.count = taken;
    return taken;
}

uint32_t Space::allocate(uint32_t count, std::span<Extent> extents) {
    BASALT_ASSERT(count <= data_free_);
    BASALT_ASSERT(count <= extents.size());
    uint32_t pieces = 0;
    for (uint32_t done = 0; done < count;) {
        if (data_slab_ == UINT32_MAX || data_cursor_ >= layout_.slab_blocks) {
            pick_data_slab();
        }
        const uint32_t taken = take_run(count - done, extents[pieces]);
        slabs_[data_slab_].held += taken;
        done += taken;
        pieces += taken > 0 ? 1U : 0U;
    }
    data_free_ -= count;
    data_held_ += count;
    return pieces;
}

void Space::commit(const Extent& extent) {
    Slab& state = slabs_[layout_.slab_of(extent.block)];
    for (uint64_t block = extent.block; block < extent.block + extent.count; ++block) {
        BASALT_ASSERT(test(block, Map::kHeld));
        clear(block, Map::kHeld);
        set(block, Map::kUsed);
    }
    state.held -= extent.count;
    state.used += extent.count;
    data_held_ -= extent.count;
    data_used_ += extent.count;
    mark_changed(layout_.slab_of(extent.block));
}

void Space::abandon(const Extent& extent) {
    for (uint64_t block = extent.block; block < extent.block + extent.count; ++block) {
        release(block);
    }
}

bool Space::use(const Extent& extent) {
    if (!owns(extent.block, extent.count, SlabKind::kData)) {
        return false;
    }
    for (uint64_t block = extent.block; block < extent.block + extent.count; ++block) {
        if (test(block, Map::kUsed)) {
            return false;
        }
        set(block, Map::kUsed);
    }
    slabs_[layout_.slab_of(extent.block)].used += extent.count;
    data_free_ -= extent.count;
    data_used_ += extent.count;
    mark_changed(layout_.slab_of(extent.block));
    return true;
}

bool Space::free_data(uint64_t block, bool holds) {
    if (!owns(block, 1, SlabKind::kData) || !test(block, Map::kUsed)) {
        return false;
    }
    Slab& state = slabs_[layout_.slab_of(block)];
    clear(block, Map::kUsed);
    --state.used;
    --data_used_;
    mark_changed(layout_.slab_of(block));
    if (holds) {
        set(block, Map::kHeld);
        ++state.held;
        ++data_held_;
    } else {
        ++data_free_;
    }
    return true;
}

void Space::release(uint64_t block) {
    BASALT_ASSERT(test(block, Map::kHeld));
    clear(block, Map::kHeld);
    --slabs_[layout_.slab_of(block)].held;
    --data_held_;
    ++data_free_;
}

bool Space::is_data_used(uint64_t block) const {
    return owns(block, 1, SlabKind::kData) && test(block, Map::kUsed);
}

// --- Pages ---------------------------------------------------------------------------------------

uint64_t Space::next_free_page() {
    BASALT_ASSERT(pages_free_ > 0);
    for (;;) {
        if (page_slab_ >= page_slabs_.size() || page_cursor_ >= layout_.slab_blocks) {
            page_slab_ = page_slab_ + 1 < page_slabs_.size() ? page_slab_ + 1 : 0;
            page_cursor_ = 0;
        }
        const uint32_t slab = page_slabs_[page_slab_];
        const uint32_t index = page_cursor_;
        if (slabs_[slab].is_given_up || slabs_[slab].used == layout_.slab_blocks) {
            page_cursor_ = layout_.slab_blocks;
            continue;
        }
        const uint64_t busy = words(slab, Map::kUsed)[index / kWordBits] >> index % kWordBits;
        const auto skip = static_cast<uint32_t>(std::countr_one(busy));
        const uint32_t rest = kWordBits - index % kWordBits;
        if (skip >= rest) {
            page_cursor_ += rest;
            continue;
        }
        page_cursor_ += skip + 1;
        return slab_first(slab) + index + skip;
    }
}

void Space::use_page(uint64_t block) {
    set(block, Map::kUsed);
    const uint32_t slab = layout_.slab_of(block);
    ++slabs_[slab].used;
    --pages_free_;
    ++pages_used_;
    mark_changed(slab);
}

bool Space::is_page_used(uint64_t block) const {
    return owns(block, 1, SlabKind::kPages) && index_in_slab(block) >= kBitmapPlaces &&
           test(block, Map::kUsed) && !test(block, Map::kLeaving) && !test(block, Map::kLeft);
}

bool Space::free_page(uint64_t block) {
    if (!is_page_used(block)) {
        return false;
    }
    clear(block, Map::kUsed);
    const uint32_t slab = layout_.slab_of(block);
    --slabs_[slab].used;
    ++pages_free_;
    --pages_used_;
    mark_changed(slab);
    return true;
}

bool Space::leave_page(uint64_t block) {
    if (!is_page_used(block)) {
        return false;
    }
    set(block, Map::kLeaving);
    mark_changed(layout_.slab_of(block));
    ++pages_leaving_;
    return true;
}

// --- Checkpoints ---------------------------------------------------------------------------------

void Space::begin_checkpoint() {
    for (const uint32_t slab : page_slabs_) {
        const std::span<uint64_t> leaving = words(slab, Map::kLeaving);
        const std::span<uint64_t> left = words(slab, Map::kLeft);
        std::ranges::copy(leaving, left.begin());
        std::ranges::fill(leaving, 0);
        slabs_[slab].held = count_ones(left);
    }
    pages_leaving_ = 0;
}

void Space::give_up_empty(uint64_t pages_kept) {
    bool keeps_one = false;
    for (const uint32_t slab : data_slabs_) {
        if (slabs_[slab].used == 0 && slabs_[slab].held == 0 && std::exchange(keeps_one, true)) {
            give_up(slab);
            data_free_ -= layout_.slab_blocks;
        }
    }
    const uint32_t room = layout_.slab_blocks - kBitmapPlaces;
    for (const uint32_t slab : page_slabs_) {
        if (slabs_[slab].used == kBitmapPlaces && pages_free_ >= pages_kept + uint64_t{2} * room) {
            give_up(slab);
            pages_free_ -= room;
        }
    }
}

void Space::give_up(uint32_t slab) {
    BASALT_ASSERT(!slabs_[slab].is_given_up);
    slabs_[slab].is_given_up = true;
    given_up_.push_back(slab);
    if (slab == data_slab_) {
        data_slab_ = UINT32_MAX;
    }
}

void Space::copy_bitmap(uint32_t slab, std::span<std::byte> block) {
    const std::span<const uint64_t> used = words(slab, Map::kUsed);
    const std::span<const uint64_t> left = words(slab, Map::kLeft);
    std::memset(block.data(), 0, block.size());
    for (size_t i = 0; i < used.size(); ++i) {
        const uint64_t word = slabs_[slab].kind == SlabKind::kPages ? used[i] & ~left[i] : used[i];
        std::memcpy(block.data() + i * sizeof(word), &word, sizeof(word));
    }
    changed_data_slabs_ -=
        slabs_[slab].is_changed && slabs_[slab].kind == SlabKind::kData ? 1U : 0U;
    slabs_[slab].is_changed = false;
}

void Space::end_checkpoint() {
    for (const uint32_t slab : page_slabs_) {
        const std::span<uint64_t> used = words(slab, Map::kUsed);
        const std::span<uint64_t> left = words(slab, Map::kLeft);
        if (slabs_[slab].held == 0) {
            continue;
        }
        for (size_t i = 0; i < used.size(); ++i) {
            used[i] &= ~left[i];
            left[i] = 0;
        }
        slabs_[slab].used -= slabs_[slab].held;
        pages_free_ += slabs_[slab].held;
        pages_used_ -= slabs_[slab].held;
        slabs_[slab].held = 0;
    }
    for (const uint32_t slab : given_up_) {
        std::erase(slabs_[slab].kind == SlabKind::kData ? data_slabs_ : page_slabs_, slab);
        changed_data_slabs_ -=
            slabs_[slab].is_changed && slabs_[slab].kind == SlabKind::kData ? 1U : 0U;
        slabs_[slab] = Slab{};
        table_.give(slab);
    }
    given_up_.clear();
}

}  // namespace basalt::bdev::store
