#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "bdev/store/block_io.h"
#include "bdev/store/catalogue.h"
#include "bdev/store/catalogue_codec.h"
#include "bdev/store/layout.h"
#include "reactor/base/result.h"
#include "reactor/task.h"

namespace basalt::bdev::store {

/// The catalogue as it lies on the device: two halves, of which one is written to (format.md).
///
/// Life: format() once in a pool's life, or load(); then commit() for each change, one after the
/// other. After a failed commit nobody knows what is on the device, and every further one is
/// refused until the pool has been opened anew. Owner: the pool. Core: the channel's of `io`.
class CatalogueFile {
  public:
    /// `io` outlives the file.
    CatalogueFile(BlockIo& io, const PoolLayout& layout, const BlockSeal& seal)
        : io_(io), layout_(layout), seal_(seal) {}
    CatalogueFile(const CatalogueFile&) = delete;
    CatalogueFile& operator=(const CatalogueFile&) = delete;

    /// Makes an empty catalogue of a new pool. Errors: those of the device.
    [[nodiscard]] Task<Status> format();

    /// Reads the half that counts, and erases the other one. Errors, explained in `problem`: those
    /// of the device; kDataCorrupt: neither half is whole, or one has lost a change that was made
    /// before others.
    [[nodiscard]] Task<Status> load(Catalogue& catalogue, std::string& problem);

    /// Makes `changes`, which `catalogue` allows, durable and then applies them to it; all or none,
    /// whatever happens. All that is passed lives until this is over. Errors: kNoSpace: the
    /// catalogue would be larger than its place (nothing is changed); kIo: the outcome is
    /// unknown, and all further ones are refused.
    [[nodiscard]] Task<Status> commit(Catalogue& catalogue, std::vector<CatalogueChange> changes);

    /// Some change has failed, and nobody knows whether it is on the device.
    [[nodiscard]] bool has_failed() const { return has_failed_; }

  private:
    struct Half {
        CatalogueHalf contents;
        bool has_lost_changes = false;
    };

    [[nodiscard]] Task<Status> read(Place place, Half& half);
    [[nodiscard]] Task<Status> append(std::span<const CatalogueBlock> blocks);
    [[nodiscard]] Task<Status> switch_halves(std::span<const CatalogueBlock> blocks,
                                             CataloguePosition position);
    [[nodiscard]] Task<Status> erase(Place half);
    [[nodiscard]] Task<Status> put(uint64_t first, std::span<const CatalogueBlock> blocks);

    BlockIo& io_;
    const PoolLayout layout_;
    const BlockSeal seal_;
    Place half_ = Place::kA;
    CataloguePosition position_;  // Of the next transaction in half_.
    bool has_failed_ = false;
};

}  // namespace basalt::bdev::store
