#include "bdev/leaf/bounce_memory.h"

#include <cstring>

#include "bdev/limits.h"

namespace basalt::bdev {

Result<std::unique_ptr<BounceMemory>> BounceMemory::make() {
    AnonymousMemory source;
    BASALT_TRY(const std::span<std::byte> region,
               source.allocate(BufferPool::region_bytes(kBounceBuffers)));
    return std::unique_ptr<BounceMemory>(new BounceMemory(region));
}

BounceMemory::BounceMemory(std::span<std::byte> region) : region_(region) {
    pool_.emplace(region, kBounceBuffers);
}

BounceMemory::~BounceMemory() {
    pool_.reset();
    source_.release(region_);
}

void gather(std::byte* to, const IoRequest& request) {
    for (const iovec& piece : std::span(request.pieces, request.piece_count)) {
        std::memcpy(to, piece.iov_base, piece.iov_len);
        to += piece.iov_len;
    }
}

void scatter(const IoRequest& request, const std::byte* from) {
    for (const iovec& piece : std::span(request.pieces, request.piece_count)) {
        std::memcpy(piece.iov_base, from, piece.iov_len);
        from += piece.iov_len;
    }
}

bool equals(const IoRequest& request, const std::byte* stored) {
    for (const iovec& piece : std::span(request.pieces, request.piece_count)) {
        if (std::memcmp(piece.iov_base, stored, piece.iov_len) != 0) {
            return false;
        }
        stored += piece.iov_len;
    }
    return true;
}

}  // namespace basalt::bdev
