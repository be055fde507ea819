#include "bdev/leaf/null_bdev.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <sys/mman.h>

#include "bdev/core/deferred.h"
#include "bdev/leaf/block_sizes.h"
#include "bdev/limits.h"
#include "reactor/base/assert.h"

namespace basalt::bdev {

namespace {

/// Owner: whoever opened it. Core: the one it was opened on.
class NullChannel final : public BdevChannel {
  public:
    NullChannel(Reactor& here, std::span<const iovec> zero_pieces)
        : here_(here), zero_pieces_(zero_pieces) {}

    void submit(IoRequest& request) override {
        Status outcome = kOk;
        if (request.op == IoOp::kRead) {
            read(request);
        } else if (request.op == IoOp::kCompare) {
            outcome = compare(request);
        }
        complete_later(here_, request, outcome);
    }

  private:
    void read(IoRequest& request) const {
        if (request.wants_device_memory) {
            request.pieces = &zero_pieces_[request.count.raw()];
            request.piece_count = 1;
            return;
        }
        for (const iovec& piece : std::span(request.pieces, request.piece_count)) {
            std::memset(piece.iov_base, 0, piece.iov_len);
        }
    }

    /// With what a read would give: zeroes.
    [[nodiscard]] Status compare(const IoRequest& request) const {
        const void* zeroes = zero_pieces_.back().iov_base;
        for (const iovec& piece : std::span(request.pieces, request.piece_count)) {
            if (std::memcmp(piece.iov_base, zeroes, piece.iov_len) != 0) {
                return Errc::kCompareMismatch;
            }
        }
        return kOk;
    }

    Reactor& here_;
    std::span<const iovec> zero_pieces_;
};

}  // namespace

Result<std::unique_ptr<NullBdev>> NullBdev::make(const NullOptions& options) {
    if (!are_block_sizes(options.block_size_bytes, options.physical_block_size_bytes) ||
        options.block_count.raw() == 0) {
        return Errc::kInvalidArgument;
    }
    void* zeroes = mmap(nullptr,
                        kMemoryTransferBytesMax,
                        PROT_READ,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
                        -1,
                        0);
    if (zeroes == MAP_FAILED) {
        return Error(Errc::kNoMemory, 0, errno);
    }
    return std::unique_ptr<NullBdev>(
        new NullBdev(options, std::span(static_cast<std::byte*>(zeroes), kMemoryTransferBytesMax)));
}

NullBdev::NullBdev(const NullOptions& options, std::span<std::byte> zeroes) : zeroes_(zeroes) {
    info_.name = options.name;
    info_.product_name = "Null disk";
    info_.uuid = options.uuid.is_nil() ? Uuid::make_random() : options.uuid;
    info_.block_size_bytes = options.block_size_bytes;
    info_.physical_block_size_bytes = options.physical_block_size_bytes != 0
                                          ? options.physical_block_size_bytes
                                          : options.block_size_bytes;
    info_.block_count = options.block_count;
    info_.transfer_max = BlockCount(kMemoryTransferBytesMax / options.block_size_bytes);
    info_.reads_zeroes_after_unmap = true;
    info_.zeroes_may_deallocate = true;
    info_.is_memory = true;
    info_.supplies_read_memory = true;
    info_.supports.fill(true);

    for (uint64_t n = 0; n <= info_.transfer_max.raw(); ++n) {
        zero_pieces_.push_back(iovec{zeroes_.data(), n * info_.block_size_bytes});
    }
}

NullBdev::~NullBdev() {
    const int failed = munmap(zeroes_.data(), zeroes_.size());
    BASALT_ASSERT(failed == 0);
}

BdevConfig NullBdev::describe() const {
    return {"bdev_null_create",
            {{"name", info_.name},
             {"num_blocks", info_.block_count.raw()},
             {"block_size", uint64_t{info_.block_size_bytes}},
             {"physical_block_size", uint64_t{info_.physical_block_size_bytes}},
             {"uuid", info_.uuid.to_string()}}};
}

Result<std::unique_ptr<BdevChannel>> NullBdev::open_channel(Reactor& here) {
    return std::unique_ptr<BdevChannel>(std::make_unique<NullChannel>(here, zero_pieces_));
}

}  // namespace basalt::bdev
