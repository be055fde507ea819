#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "bdev/core/uuid.h"
#include "bdev/store/checksum.h"
#include "bdev/store/format.h"
#include "bdev/store/layout.h"
#include "test/fuzz/fuzz_input.h"

namespace basalt::bdev::store {

/// What lies on a pool's device, block by block, and how to change it so that the checksums are
/// right afterwards: those of blocks that carry their own, and those in the pointers, from the
/// leaves up to the checkpoint. Blocks that are not there are zeroes. A value.
class StoreImage {
  public:
    using Block = std::array<std::byte, kBlockBytes>;
    enum class Kind : uint8_t {
        kSuperblock,
        kCatalogue,
        kCheckpoint,
        kLog,
        kMapPage,
        kNodePage,
        kSlabPage,
        kBitmap,
        kMetaBitmap,
        kData,
        kCount,
    };

    StoreImage(std::map<uint64_t, Block> blocks, const PoolLayout& layout, const Uuid& pool_uuid)
        : blocks_(std::move(blocks)), layout_(layout), uuid_(pool_uuid.bytes) {
        find_places();
    }

    [[nodiscard]] const std::map<uint64_t, Block>& blocks() const { return blocks_; }

    /// How many blocks of the kind there are.
    [[nodiscard]] size_t count(Kind kind) const { return places_[size_t(kind)].size(); }

    /// Changes something, as the input says.
    void change(FuzzInput& input) {
        const auto kind = static_cast<Kind>(input.below(static_cast<uint32_t>(Kind::kCount)));
        const auto& places = places_[size_t(kind)];
        if (places.empty()) {
            return;
        }
        Block& block = blocks_[places[input.u8() % places.size()]];
        const Block& other = blocks_[places[input.u8() % places.size()]];
        const uint8_t how = input.u8();
        const size_t at = how % 2 == 0 ? input.u16() % kBlockBytes : input.u8() % 128U;
        switch (how / 2 % 9) {
            case 0: block[at] ^= std::byte{1} << (input.u8() % 8); return;
            case 1: put(block, at, input.u8()); return;
            case 2: put(block, at, input.u16()); return;
            case 3: put(block, at / 4 * 4, input.u32()); return;
            case 4: put(block, at / 8 * 8, input.u32() | uint64_t{input.u32()} << 32U); return;
            case 5: {
                uint32_t value = 0;
                std::memcpy(&value, block.data() + at / 4 * 4, sizeof(value));
                put(block, at / 4 * 4, value + static_cast<uint32_t>(int8_t(input.u8())));
                return;
            }
            case 6: {  // A pointer, or something as long.
                const size_t from = input.u16() % kBlockBytes / 16 * 16;
                std::memmove(block.data() + at / 16 * 16, other.data() + from, 16);
                return;
            }
            case 7: block = other; return;
            default: block.fill(std::byte{0}); return;
        }
    }

    /// Makes all checksums right.
    void seal() {
        for (uint32_t i = 0; i < layout_.partition_count; ++i) {
            seal_trees(i);
        }
        for (const Place place : {Place::kA, Place::kB}) {
            auto superblock = blocks_.find(PoolLayout::superblock(place));
            if (superblock != blocks_.end()) {
                const auto covered = std::span(superblock->second).first(kBlockBytes - 4);
                put(superblock->second, kBlockBytes - 4, crc32c(covered));
            }
            seal_catalogue(place);
        }
        for (uint32_t i = 0; i < layout_.partition_count; ++i) {
            const BlockSeal seal(uuid_, i);
            for (uint64_t s = 0; s < layout_.log_blocks; ++s) {
                seal_block(seal, layout_.log_block(i, s), offsetof(LogBlock, crc));
            }
        }
    }

  private:
    template <typename Value>
    static void put(Block& block, size_t at, Value value) {
        std::memcpy(
            block.data() + std::min(at, kBlockBytes - sizeof(value)), &value, sizeof(value));
    }
    template <typename Raw>
    static Raw get(const Block& block, size_t at = 0) {
        Raw raw{};
        std::memcpy(&raw, block.data() + at, sizeof(raw));
        return raw;
    }
    void seal_block(const BlockSeal& seal, uint64_t where, size_t offset) {
        if (const auto found = blocks_.find(where); found != blocks_.end()) {
            seal.put(found->second, offset);
        }
    }
    void seal_catalogue(Place half) {
        const BlockSeal seal(uuid_, 0);
        uint32_t previous = 0;
        for (uint32_t i = 0; i < layout_.catalogue_blocks; ++i) {
            const auto found = blocks_.find(layout_.catalogue(half) + i);
            if (found == blocks_.end()) {
                return;
            }
            put(found->second, offsetof(CatalogueBlock, previous), previous);
            seal.put(found->second, offsetof(CatalogueBlock, crc));
            previous = get<uint32_t>(found->second, offsetof(CatalogueBlock, crc));
        }
    }

    /// What is at the leaves of a tree.
    enum class Leaf : uint8_t { kData, kNodes, kSlabs };

    void add(Kind kind, uint64_t block) {
        auto& places = places_[size_t(kind)];
        if (blocks_.count(block) != 0 && std::ranges::find(places, block) == places.end()) {
            places.push_back(block);
        }
    }
    void find_places() {
        add(Kind::kSuperblock, 0);
        add(Kind::kSuperblock, 1);
        for (const auto& [where, block] : blocks_) {
            if (where >= layout_.catalogue(Place::kA) && where < layout_.checkpoint(0, Place::kA)) {
                add(Kind::kCatalogue, where);
            }
        }
        is_finding_ = true;
        for (uint32_t i = 0; i < layout_.partition_count; ++i) {
            add(Kind::kCheckpoint, layout_.checkpoint(i, Place::kA));
            add(Kind::kCheckpoint, layout_.checkpoint(i, Place::kB));
            for (uint64_t s = 0; s < layout_.log_blocks; ++s) {
                add(Kind::kLog, layout_.log_block(i, s));
            }
            seal_trees(i);
        }
        is_finding_ = false;
    }

    void seal_trees(uint32_t partition) {
        const BlockSeal seal(uuid_, partition);
        for (const Place place : {Place::kA, Place::kB}) {
            const uint64_t where = layout_.checkpoint(partition, place);
            const auto found = blocks_.find(where);
            if (found == blocks_.end()) {
                continue;
            }
            sealed_.clear();
            auto head = get<CheckpointHead>(found->second);
            seal_tree(head.nodes, head.nodes.extra() & 0x7FFFU, Leaf::kNodes);
            seal_tree(head.slabs, head.slabs.extra() & 0x7FFFU, Leaf::kSlabs);
            put(found->second, 0, head);
            // The lists of small pools fit in the first block.
            const size_t listed = (kBlockBytes - sizeof(head)) / sizeof(MetaSlab);
            for (uint32_t i = 0; i < std::min<size_t>(head.meta_slab_count, listed); ++i) {
                const size_t at = sizeof(head) + i * sizeof(MetaSlab);
                auto slab = get<MetaSlab>(found->second, at);
                const uint64_t bitmap = layout_.slab(slab.slab_and_place & ~kMetaSlabPlaceB) +
                                        ((slab.slab_and_place & kMetaSlabPlaceB) != 0 ? 1U : 0U);
                add_if_finding(Kind::kMetaBitmap, bitmap);
                if (const auto bits = blocks_.find(bitmap); bits != blocks_.end()) {
                    slab.crc = crc32c(bits->second);
                }
                put(found->second, at, slab);
            }
            seal.put(found->second, offsetof(CheckpointHead, crc));
        }
    }
    void add_if_finding(Kind kind, uint64_t block) {
        if (is_finding_) {
            add(kind, block);
        }
    }

    void seal_tree(Pointer& pointer, uint32_t height, Leaf leaf) {
        const auto found = blocks_.find(pointer.block());
        if (height == 0 || height > kTreeHeightMax || pointer.is_hole() || found == blocks_.end()) {
            return;
        }
        add_if_finding(leaf == Leaf::kData    ? Kind::kMapPage
                       : leaf == Leaf::kNodes ? Kind::kNodePage
                                              : Kind::kSlabPage,
                       pointer.block());
        // Once only: pages are shared, and a hostile tree may lead back to where it began.
        if (sealed_.insert(pointer.block()).second) {
            auto page = get<Page>(found->second);
            for (uint32_t i = 0; i < kPagePointers; ++i) {
                seal_child(page[i], i, height, leaf);
            }
            put(found->second, 0, page);
        }
        pointer.crc = crc32c(found->second);
    }
    void seal_child(Pointer& child, uint32_t slot, uint32_t height, Leaf leaf) {
        if (height > 1) {
            seal_tree(child, height - 1, leaf);
        } else if (leaf == Leaf::kNodes && slot % 2 == 0) {
            seal_tree(child, child.extra() & 0x7FFFU, Leaf::kData);
        } else if (leaf == Leaf::kSlabs) {
            add_if_finding(Kind::kBitmap, child.block());
            if (const auto bits = blocks_.find(child.block());
                !child.is_hole() && bits != blocks_.end()) {
                child.crc = crc32c(bits->second);
            }
        } else if (leaf == Leaf::kData && !child.is_hole()) {
            add_if_finding(Kind::kData, child.block());
        }
    }

    std::map<uint64_t, Block> blocks_;
    PoolLayout layout_;
    std::array<uint8_t, 16> uuid_;
    std::array<std::vector<uint64_t>, size_t(Kind::kCount)> places_;
    std::set<uint64_t> sealed_;
    bool is_finding_ = false;
};

}  // namespace basalt::bdev::store
