#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "bdev/store/catalogue.h"
#include "bdev/store/checksum.h"
#include "bdev/store/format.h"

namespace basalt::bdev::store {

/// Where in its half the next block of the catalogue goes, and what precedes it.
struct CataloguePosition {
    uint64_t generation = 0;
    uint32_t index = 0;
    uint32_t previous = 0;  ///< CRC of the block before.
};

/// The blocks of the image of everything, which begin a half. `position` is in its first block, and
/// moves behind the last. Control thread; allocates.
[[nodiscard]] std::vector<CatalogueBlock> encode_image(const Catalogue& catalogue,
                                                       const BlockSeal& seal,
                                                       CataloguePosition& position);

/// The blocks of one transaction. `position` moves behind the last.
[[nodiscard]] std::vector<CatalogueBlock> encode_transaction(
    std::span<const CatalogueChange> changes, const BlockSeal& seal, CataloguePosition& position);

/// What reading a half of the catalogue came to.
struct CatalogueHalf {
    bool is_whole = false;       ///< The image is there and what follows makes sense.
    CataloguePosition position;  ///< Of the next transaction.
    Catalogue catalogue;
    std::string problem;  ///< Why it is not whole.
};

/// Reads a half block by block, from the first. Trusts nothing: what is not as this program writes
/// it ends the half, or makes it one that does not count.
class CatalogueReader {
  public:
    explicit CatalogueReader(const BlockSeal& seal) : seal_(seal) {}

    /// Takes the next block, of 4096 bytes. False: it is not part of the half, which has ended.
    [[nodiscard]] bool take(std::span<const std::byte> block);

    /// After the end: whether `block`, the half's `index`th, begins a transaction of this half.
    /// Then what should be between it and the end was durable once, and is lost.
    [[nodiscard]] bool follows(std::span<const std::byte> block, uint32_t index) const;

    /// After the last block.
    [[nodiscard]] CatalogueHalf finish();

  private:
    [[nodiscard]] bool take_records(std::span<const std::byte> records);
    [[nodiscard]] bool commit();

    BlockSeal seal_;
    CatalogueHalf half_;
    std::vector<CatalogueChange> pending_;  // Of the image or transaction that is not at its end.
    CataloguePosition position_;
    bool has_image_ = false;
};

}  // namespace basalt::bdev::store
