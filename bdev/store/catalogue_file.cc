#include "bdev/store/catalogue_file.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "reactor/base/assert.h"

namespace basalt::bdev::store {

namespace {

/// What is read in one go: 128 KiB, which every device takes.
constexpr uint32_t kReadBlocks = 32;

Place other(Place half) {
    return half == Place::kA ? Place::kB : Place::kA;
}

}  // namespace

Task<Status> CatalogueFile::format() {
    half_ = Place::kB;  // So that A is the other one.
    position_ = {};
    const Catalogue empty;
    CataloguePosition position{.generation = 1};
    const std::vector<CatalogueBlock> image = encode_image(empty, seal_, position);
    co_return co_await switch_halves(image, position);
}

Task<Status> CatalogueFile::load(Catalogue& catalogue, std::string& problem) {
    Half halves[2];
    for (const Place place : {Place::kA, Place::kB}) {
        const Status status = co_await read(place, halves[static_cast<size_t>(place)]);
        if (!status) {
            problem = "the catalogue can't be read";
            co_return status;
        }
    }
    const CatalogueHalf& a = halves[0].contents;
    const CatalogueHalf& b = halves[1].contents;
    if (!a.is_whole && !b.is_whole) {
        problem = fmt::format("no catalogue: {}; {}", a.problem, b.problem);
        co_return Errc::kDataCorrupt;
    }
    const bool b_counts =
        b.is_whole && (!a.is_whole || b.position.generation > a.position.generation);
    half_ = b_counts ? Place::kB : Place::kA;
    Half& counts = halves[static_cast<size_t>(half_)];
    if (counts.has_lost_changes) {
        problem = fmt::format("block {} of the catalogue is not the one that was written there",
                              layout_.catalogue(half_) + counts.contents.position.index);
        co_return Errc::kDataCorrupt;
    }
    position_ = counts.contents.position;
    catalogue = std::move(counts.contents.catalogue);
    co_return co_await erase(other(half_));
}

Task<Status> CatalogueFile::read(Place place, Half& half) {
    CatalogueReader reader(seal_);
    BlockMemory memory(kReadBlocks);
    bool has_ended = false;
    for (uint32_t at = 0; at < layout_.catalogue_blocks; at += kReadBlocks) {
        const uint32_t count = std::min(kReadBlocks, layout_.catalogue_blocks - at);
        const auto blocks = memory.all().first(size_t{count} * kBlockBytes);
        const Status status = co_await io_.read(layout_.catalogue(place) + at, blocks);
        if (!status) {
            co_return status;
        }
        for (uint32_t i = 0; i < count; ++i) {
            has_ended = has_ended || !reader.take(memory.block(i));
            half.has_lost_changes =
                half.has_lost_changes || (has_ended && reader.follows(memory.block(i), at + i));
        }
    }
    half.contents = reader.finish();
    co_return kOk;
}

Task<Status> CatalogueFile::commit(Catalogue& catalogue, std::vector<CatalogueChange> changes) {
    if (has_failed_) {
        co_return Errc::kIo;
    }
    CataloguePosition next = position_;
    const std::vector<CatalogueBlock> blocks = encode_transaction(changes, seal_, next);
    Status status = kOk;
    if (next.index <= layout_.catalogue_blocks) {
        status = co_await append(blocks);
        position_ = next;
    } else {
        Catalogue after = catalogue;
        for (const CatalogueChange& change : changes) {
            after.apply(change);
        }
        CataloguePosition position{.generation = position_.generation + 1};
        const std::vector<CatalogueBlock> image = encode_image(after, seal_, position);
        if (image.size() > layout_.catalogue_blocks) {
            co_return Errc::kNoSpace;  // Nothing was written.
        }
        status = co_await switch_halves(image, position);
    }
    if (!status) {
        has_failed_ = true;
        co_return Errc::kIo;  // Also if the device is full: it is not the catalogue that is.
    }
    for (const CatalogueChange& change : changes) {
        catalogue.apply(change);
    }
    co_return kOk;
}

Task<Status> CatalogueFile::append(std::span<const CatalogueBlock> blocks) {
    return put(layout_.catalogue(half_) + position_.index, blocks);
}

Task<Status> CatalogueFile::switch_halves(std::span<const CatalogueBlock> blocks,
                                          CataloguePosition position) {
    const Status status = co_await put(layout_.catalogue(other(half_)), blocks);
    if (!status) {
        co_return status;
    }
    half_ = other(half_);
    position_ = position;
    co_return co_await erase(other(half_));
}

Task<Status> CatalogueFile::erase(Place half) {
    BlockMemory zeroes(1);
    co_return co_await io_.write(layout_.catalogue(half), zeroes.all());
}

Task<Status> CatalogueFile::put(uint64_t first, std::span<const CatalogueBlock> blocks) {
    BlockMemory memory(static_cast<uint32_t>(blocks.size()));
    std::memcpy(memory.all().data(), blocks.data(), blocks.size_bytes());
    co_return co_await io_.write(first, memory.all());
}

}  // namespace basalt::bdev::store
