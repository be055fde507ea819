#pragma once

#include <cstdint>
#include <memory>

#include <sys/uio.h>

#include "bdev/core/bdev.h"
#include "bdev/leaf/nvme_bdev.h"
#include "reactor/io/storage.h"

namespace basalt::bdev {

/// A namespace on one core. A request takes an operation (a slot with a command) and waits in line
/// when all are taken; long ranges go in steps, each with the same slot.
///
/// Owner: whoever opened it. Core: the one it was opened on.
class NvmeChannel final : public BdevChannel {
  public:
    NvmeChannel(Reactor& here, const NvmeShared& shared);
    NvmeChannel(const NvmeChannel&) = delete;
    NvmeChannel& operator=(const NvmeChannel&) = delete;
    ~NvmeChannel() override;

    void submit(IoRequest& request) override;

  private:
    /// One range of Dataset Management: NVM Command Set Specification 1.0, figure 36.
    struct DsmRange {
        uint32_t attributes = 0;
        uint32_t blocks = 0;
        uint64_t first = 0;
    };
    static_assert(sizeof(DsmRange) == 16);

    struct Operation : PassthroughRequest {
        Operation();

        NvmeChannel* channel = nullptr;
        IoRequest* request = nullptr;
        DsmRange range{};
        iovec piece{};
        uint64_t step_blocks = 0;  // Of a range: what this command covers,
        uint64_t done_blocks = 0;  // and what earlier ones did.
        Operation* next_free = nullptr;
    };

    void start(Operation& operation, IoRequest& request);
    void transfer(Operation& operation, uint32_t opcode);
    void zero_step(Operation& operation);
    void deallocate_step(Operation& operation);
    void flush(Operation& operation);
    void set_command(Operation& operation, uint32_t opcode);
    static void set_range(Operation& operation, uint64_t first, uint64_t blocks);
    void step_done(Operation& operation);
    void finish(Operation& operation, Status outcome);

    Reactor& here_;
    const NvmeShared& shared_;
    std::unique_ptr<Operation[]> operations_;
    Operation* free_ = nullptr;
    HeldRequests line_;
};

}  // namespace basalt::bdev
