#include "bdev/leaf/malloc_bdev.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "bdev/core/deferred.h"
#include "bdev/leaf/block_sizes.h"
#include "bdev/leaf/shared_copy.h"
#include "bdev/limits.h"

namespace basalt::bdev {

namespace {

/// Owner: whoever opened it. Core: the one it was opened on; the memory is everybody's.
class MallocChannel final : public BdevChannel {
  public:
    MallocChannel(Reactor& here,
                  MemorySource& source,
                  std::span<std::byte> memory,
                  uint32_t block_bytes)
        : here_(here), source_(source), memory_(memory), block_bytes_(block_bytes) {}

    void submit(IoRequest& request) override;

  private:
    [[nodiscard]] std::span<std::byte> range_of(const IoRequest& request) const {
        return memory_.subspan(request.first.raw() * block_bytes_,
                               request.count.raw() * block_bytes_);
    }
    void read(const IoRequest& request) const;
    void write(const IoRequest& request) const;
    [[nodiscard]] Status compare(const IoRequest& request) const;
    void zero_step(IoRequest& request);
    [[nodiscard]] size_t zero_some(std::span<std::byte> rest, bool may_deallocate) const;

    Reactor& here_;
    MemorySource& source_;
    std::span<std::byte> memory_;
    uint32_t block_bytes_;
};

void MallocChannel::submit(IoRequest& request) {
    Status outcome = kOk;
    switch (request.op) {
        case IoOp::kRead: read(request); break;
        case IoOp::kWrite: write(request); break;
        case IoOp::kCompare: outcome = compare(request); break;
        case IoOp::kFlush: break;
        case IoOp::kUnmap:
        case IoOp::kWriteZeroes:
            request.leaf_word = 0;  // Bytes zeroed so far.
            zero_step(request);
            return;
    }
    complete_later(here_, request, outcome);
}

void MallocChannel::read(const IoRequest& request) const {
    const std::byte* from = range_of(request).data();
    for (const iovec& piece : std::span(request.pieces, request.piece_count)) {
        copy_shared(static_cast<std::byte*>(piece.iov_base), from, piece.iov_len);
        from += piece.iov_len;
    }
}

void MallocChannel::write(const IoRequest& request) const {
    std::byte* to = range_of(request).data();
    for (const iovec& piece : std::span(request.pieces, request.piece_count)) {
        copy_shared(to, static_cast<const std::byte*>(piece.iov_base), piece.iov_len);
        to += piece.iov_len;
    }
}

Status MallocChannel::compare(const IoRequest& request) const {
    const std::byte* stored = range_of(request).data();
    for (const iovec& piece : std::span(request.pieces, request.piece_count)) {
        if (!equal_shared(stored, static_cast<const std::byte*>(piece.iov_base), piece.iov_len)) {
            return Errc::kCompareMismatch;
        }
        stored += piece.iov_len;
    }
    return kOk;
}

// A step at a time, so that a host that unmaps the whole device does not stall the others.
void MallocChannel::zero_step(IoRequest& request) {
    const std::span<std::byte> rest = range_of(request).subspan(request.leaf_word);
    const bool may_deallocate = request.op == IoOp::kUnmap || request.may_deallocate;
    request.leaf_word += zero_some(rest, may_deallocate);
    if (request.leaf_word == request.count.raw() * block_bytes_) {
        complete_later(here_, request, kOk);
        return;
    }
    request.leaf_context = this;
    request.leaf_event.set_run([](Event& event, Reactor&) {
        IoRequest& waiting = LeafEvent::request_of(event);
        static_cast<MallocChannel*>(waiting.leaf_context)->zero_step(waiting);
    });
    // In the next turn, after other requests; a deferred event would run again in this one.
    here_.defer_to_end_of_turn(request.leaf_event);
}

size_t MallocChannel::zero_some(std::span<std::byte> rest, bool may_deallocate) const {
    const auto address = reinterpret_cast<uintptr_t>(rest.data());
    const size_t to_page = (kPageBytes - address % kPageBytes) % kPageBytes;
    if (may_deallocate && rest.size() >= to_page + kDiscardBytesMin) {
        if (to_page > 0) {
            zero_shared(rest.data(), to_page);
            return to_page;
        }
        const size_t whole_pages = rest.size() / kPageBytes * kPageBytes;
        const size_t step = std::min<size_t>(whole_pages, kDiscardStepBytes);
        if (source_.discard(rest.first(step))) {
            return step;
        }
    }
    const size_t step = std::min<size_t>(rest.size(), kZeroStepBytes);
    zero_shared(rest.data(), step);
    return step;
}

}  // namespace

Result<std::unique_ptr<MallocBdev>> MallocBdev::make(const MallocOptions& options,
                                                     MemorySource& source) {
    const uint64_t blocks = options.block_count.raw();
    if (!are_block_sizes(options.block_size_bytes, options.physical_block_size_bytes) ||
        blocks == 0 || blocks > SIZE_MAX / options.block_size_bytes) {
        return Errc::kInvalidArgument;
    }
    BASALT_TRY(const std::span<std::byte> memory,
               source.allocate(blocks * options.block_size_bytes));
    return std::unique_ptr<MallocBdev>(new MallocBdev(options, source, memory));
}

MallocBdev::MallocBdev(const MallocOptions& options,
                       MemorySource& source,
                       std::span<std::byte> memory)
    : source_(source), memory_(memory) {
    info_.name = options.name;
    info_.product_name = "Malloc disk";
    info_.uuid = options.uuid.is_nil() ? Uuid::make_random() : options.uuid;
    info_.block_size_bytes = options.block_size_bytes;
    info_.physical_block_size_bytes = options.physical_block_size_bytes != 0
                                          ? options.physical_block_size_bytes
                                          : options.block_size_bytes;
    info_.block_count = options.block_count;
    info_.transfer_max = BlockCount(kMemoryTransferBytesMax / options.block_size_bytes);
    info_.hints.io_boundary = options.optimal_io_boundary;
    info_.hints.unmap_granularity = BlockCount(kDiscardBytesMin / options.block_size_bytes);
    info_.hints.unmap_alignment = BlockCount(kPageBytes / options.block_size_bytes);
    info_.reads_zeroes_after_unmap = true;
    info_.zeroes_may_deallocate = true;
    info_.is_memory = true;
    info_.supports.fill(true);
}

BdevConfig MallocBdev::describe() const {
    return {"bdev_malloc_create",
            {{"name", info_.name},
             {"num_blocks", info_.block_count.raw()},
             {"block_size", uint64_t{info_.block_size_bytes}},
             {"physical_block_size", uint64_t{info_.physical_block_size_bytes}},
             {"optimal_io_boundary", info_.hints.io_boundary.raw()},
             {"uuid", info_.uuid.to_string()}}};
}

Result<std::unique_ptr<BdevChannel>> MallocBdev::open_channel(Reactor& here) {
    return std::unique_ptr<BdevChannel>(
        std::make_unique<MallocChannel>(here, source_, memory_, info_.block_size_bytes));
}

}  // namespace basalt::bdev
