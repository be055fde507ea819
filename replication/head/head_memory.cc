#include "replication/head/head_memory.h"

namespace basalt::replication {

Result<std::unique_ptr<HeadMemory>> HeadMemory::make(const HeadMemoryOptions& options) {
    bdev::AnonymousMemory source;
    BASALT_TRY(const std::span<std::byte> region,
               source.allocate(BlockBuffers::region_bytes(options.writes) +
                               BlockBuffers::region_bytes(options.reads)));
    return std::unique_ptr<HeadMemory>(new HeadMemory(options, region));
}

HeadMemory::HeadMemory(const HeadMemoryOptions& options, std::span<std::byte> region)
    : options_(options),
      region_(region),
      writes_(std::make_unique<BlockBuffers>(region, options.writes)),
      reads_(std::make_unique<BlockBuffers>(
          region.subspan(BlockBuffers::region_bytes(options.writes)), options.reads)) {}

HeadMemory::~HeadMemory() {
    writes_.reset();
    reads_.reset();
    source_.release(region_);
}

}  // namespace basalt::replication
