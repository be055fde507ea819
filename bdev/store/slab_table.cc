#include "bdev/store/slab_table.h"

#include <bit>

#include "reactor/base/assert.h"

namespace basalt::bdev::store {

SlabTable::SlabTable(uint32_t slab_count, uint32_t slabs_max)
    : slabs_max_(slabs_max),
      words_(std::make_unique<std::atomic<uint64_t>[]>(slabs_max / kBits + 1)),
      slab_count_(slab_count) {
    BASALT_ASSERT(slab_count <= slabs_max);
}

std::optional<uint32_t> SlabTable::take() {
    const uint32_t count = slab_count();
    for (uint32_t first = 0; first < count; first += kBits) {
        uint64_t word = words_[first / kBits].load();
        while (~word != 0) {
            const uint32_t slab = first + static_cast<uint32_t>(std::countr_one(word));
            if (slab >= count) {
                return std::nullopt;
            }
            if (claim(slab)) {
                return slab;
            }
            word = words_[first / kBits].load();
        }
    }
    return std::nullopt;
}

bool SlabTable::claim(uint32_t slab) {
    if (slab >= slab_count()) {
        return false;
    }
    const uint64_t bit = uint64_t{1} << slab % kBits;
    if ((words_[slab / kBits].fetch_or(bit) & bit) != 0) {
        return false;
    }
    taken_.fetch_add(1);
    return true;
}

void SlabTable::give(uint32_t slab) {
    const uint64_t bit = uint64_t{1} << slab % kBits;
    const uint64_t before = words_[slab / kBits].fetch_and(~bit);
    BASALT_ASSERT((before & bit) != 0);
    taken_.fetch_sub(1);
}

}  // namespace basalt::bdev::store
