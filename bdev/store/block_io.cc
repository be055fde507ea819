#include "bdev/store/block_io.h"

#include <algorithm>
#include <coroutine>
#include <cstdlib>
#include <cstring>

#include "bdev/limits.h"
#include "reactor/base/assert.h"

namespace basalt::bdev::store {

namespace {

/// `co_await Submitted(channel, request)`: goes on when the device has completed the request.
class [[nodiscard]] Submitted {
  public:
    Submitted(BdevChannel& channel, IoRequest& request) : channel_(channel), request_(request) {}

    [[nodiscard]] bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> awaiter) {
        request_.push_completion(
            [](IoRequest&, void* frame) { std::coroutine_handle<>::from_address(frame).resume(); },
            awaiter.address());
        channel_.submit(request_);
    }
    void await_resume() const {}

  private:
    BdevChannel& channel_;
    IoRequest& request_;
};

}  // namespace

BlockMemory::BlockMemory(uint32_t blocks)
    : size_bytes_(size_t{blocks} * kBlockBytes),
      bytes_(static_cast<std::byte*>(std::aligned_alloc(kBlockBytes, size_bytes_))) {
    BASALT_ASSERT(blocks > 0);
    BASALT_ASSERT(bytes_ != nullptr);
    std::memset(bytes_.get(), 0, size_bytes_);
}

void BlockMemory::Free::operator()(std::byte* bytes) const {
    std::free(bytes);
}

/// A range on its way to the core that has the channel, and its outcome on the way back.
struct BlockIo::Transfer {
    BlockIo& io;
    IoOp op;
    uint64_t first;
    std::span<std::byte> memory;
    Status status;
};

BlockIo::BlockIo(Reactor& home, CoreId core, BdevChannel& channel, const BdevInfo& info)
    : home_(home),
      core_(core),
      channel_(channel),
      sectors_a_block_(kBlockBytes / info.block_size_bytes),
      transfer_bytes_max_(info.transfer_max == BlockCount(0)
                              ? kMemoryTransferBytesMax
                              : info.transfer_max.raw() * info.block_size_bytes / kBlockBytes *
                                    kBlockBytes) {
    BASALT_ASSERT(is_suitable(info));
}

bool BlockIo::is_suitable(const BdevInfo& info) {
    const bool takes_a_block = info.transfer_max == BlockCount(0) ||
                               info.transfer_max.raw() * info.block_size_bytes >= kBlockBytes;
    return info.block_size_bytes <= kBlockBytes && kBlockBytes % info.block_size_bytes == 0 &&
           info.memory_alignment_bytes <= kBlockBytes && takes_a_block && !info.is_read_only &&
           info.can(IoOp::kRead) && info.can(IoOp::kWrite) && info.can(IoOp::kFlush);
}

uint64_t BlockIo::count(const BdevInfo& info) {
    return info.block_count.raw() / (kBlockBytes / info.block_size_bytes);
}

Task<Status> BlockIo::read(uint64_t first, std::span<std::byte> out) {
    return run(IoOp::kRead, first, out);
}

Task<Status> BlockIo::write(uint64_t first, std::span<std::byte> data) {
    return run(IoOp::kWrite, first, data);
}

Task<Status> BlockIo::run(IoOp op, uint64_t first, std::span<std::byte> memory) {
    BASALT_ASSERT(memory.size() % kBlockBytes == 0);
    Transfer transfer{*this, op, first, memory, kOk};
    visit<Transfer> there(home_, core_, transfer, &run_there);
    co_await there;
    co_return transfer.status;
}

Task<void> BlockIo::run_there(Reactor&, Transfer& transfer) {
    BlockIo& self = transfer.io;
    WholeIoRequest request;
    while (!transfer.memory.empty() && transfer.status) {
        const size_t bytes = std::min(transfer.memory.size(), self.transfer_bytes_max_);
        const iovec piece{transfer.memory.data(), bytes};
        request.op = transfer.op;
        request.fua = transfer.op == IoOp::kWrite ? Fua::kYes : Fua::kNo;
        request.first = Lba(transfer.first * self.sectors_a_block_);
        request.count = BlockCount(bytes / kBlockBytes * self.sectors_a_block_);
        request.pieces = &piece;
        request.piece_count = 1;
        co_await Submitted(self.channel_, request);
        transfer.status = request.status;
        transfer.first += bytes / kBlockBytes;
        transfer.memory = transfer.memory.subspan(bytes);
    }
}

}  // namespace basalt::bdev::store
