#include "reactor/io/uring_buffers.h"

#include <algorithm>
#include <bit>
#include <cerrno>

#include <sys/mman.h>

#include "reactor/base/assert.h"

namespace basalt {

namespace {

// Users may keep one buffer in so many: 64 MiB of the 256 that there are by default.
constexpr uint32_t kKeptShare = 4;

// Spare buffers that stay backed, 2 MiB. Only what is held back for want of something makes more of
// them, and then the system call and the page faults (some 6 us) are not what counts.
constexpr size_t kWarmSpares = 64;

Result<std::byte*> map(size_t size_bytes) {
    // NORESERVE: most of it is never touched.
    void* memory = mmap(nullptr,
                        size_bytes,
                        PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                        -1,
                        0);
    if (memory == MAP_FAILED) {
        return Error::from_errno(errno);
    }
    return static_cast<std::byte*>(memory);
}

}  // namespace

Result<std::unique_ptr<UringBuffers>> UringBuffers::create(UringRing& ring,
                                                           const Options& options,
                                                           const UringFeatures& features) {
    if (!std::has_single_bit(options.lent_max) || options.lent_max > 32768 ||
        options.lent_start == 0 || options.lent_start > options.lent_max ||
        options.total_count < options.lent_max || options.total_count > 65536 ||
        options.buffer_bytes == 0) {
        return Errc::kInvalidArgument;
    }
    std::unique_ptr<UringBuffers> buffers(new UringBuffers(ring, options));
    buffers->memory_bytes_ = size_t{options.buffer_bytes} * options.total_count;
    BASALT_TRY(buffers->memory_, map(buffers->memory_bytes_));
    buffers->spare_.reserve(kWarmSpares);
    buffers->cold_.reserve(options.total_count);
    buffers->held_.resize(options.total_count);
    buffers->holders_.resize(options.total_count);
    buffers->is_kept_.resize(options.total_count);
    if (features.buffer_ring) {
        buffers->lent_ring_bytes_ = sizeof(io_uring_buf) * options.lent_max;
        BASALT_TRY(std::byte * memory, map(buffers->lent_ring_bytes_));
        buffers->lent_ring_ = reinterpret_cast<io_uring_buf*>(memory);
        io_uring_buf_reg registration{};
        registration.ring_addr = reinterpret_cast<uint64_t>(memory);
        registration.ring_entries = options.lent_max;
        registration.bgid = kGroup;
        const int error = io_uring_register_buf_ring(&ring.native(), &registration, 0);
        if (error < 0) {
            return Error::from_errno(-error);
        }
    }
    buffers->lend_first();
    return buffers;
}

UringBuffers::~UringBuffers() {
    if (lent_ring_ != nullptr) {
        munmap(lent_ring_, lent_ring_bytes_);
    }
    if (memory_ != nullptr) {
        munmap(memory_, memory_bytes_);
    }
}

void UringBuffers::lend_first() {
    fresh_ = lent_target_;
    if (lent_ring_ == nullptr) {
        lend_by_request(0, lent_target_);
        lent_count_ = lent_target_;
        return;
    }
    for (uint32_t index = 0; index < lent_target_; ++index) {
        lend(index);
    }
}

void UringBuffers::lend_by_request(uint32_t index, uint32_t count) {
    io_uring_sqe& sqe = ring_.next_sqe();
    io_uring_prep_provide_buffers(&sqe,
                                  data(index),
                                  static_cast<int>(options_.buffer_bytes),
                                  static_cast<int>(count),
                                  kGroup,
                                  static_cast<int>(index));
    sqe.flags |= IOSQE_CQE_SKIP_SUCCESS;
    sqe.user_data = kUringIgnored;
}

void UringBuffers::lend(uint32_t index) {
    ++lent_count_;
    if (lent_ring_ == nullptr) {
        lend_by_request(index, 1);
        return;
    }
    // The ring's tail lies in the unused half of its first entry (io_uring_register(2),
    // IORING_REGISTER_PBUF_RING), so entries are written member by member.
    io_uring_buf& entry = lent_ring_[lent_tail_ & (options_.lent_max - 1)];
    entry.addr = reinterpret_cast<uint64_t>(data(index));
    entry.len = options_.buffer_bytes;
    entry.bid = static_cast<uint16_t>(index);
    ++lent_tail_;
    __atomic_store_n(&lent_ring_[0].resv, lent_tail_, __ATOMIC_RELEASE);
}

void UringBuffers::replace() {
    if (lent_count_ < lent_target_ && has_spare()) {
        lend(take_spare());
    }
}

uint32_t UringBuffers::take_spare() {
    for (std::vector<uint32_t>* shelf : {&spare_, &cold_}) {
        if (!shelf->empty()) {
            const uint32_t index = shelf->back();
            shelf->pop_back();
            return index;
        }
    }
    BASALT_ASSERT(fresh_ < options_.total_count);
    return fresh_++;
}

void UringBuffers::put_aside(uint32_t index) {
    if (spare_.size() < kWarmSpares) {
        spare_.push_back(index);
        return;
    }
    // Fails where the memory is locked: then it stays.
    static_cast<void>(madvise(data(index), options_.buffer_bytes, MADV_DONTNEED));
    cold_.push_back(index);
}

void UringBuffers::expect_sockets(uint32_t count) {
    if (count <= lent_target_) {
        return;
    }
    lent_target_ = std::min(std::bit_ceil(count), options_.lent_max);
    while (lent_count_ < lent_target_ && has_spare()) {
        replace();
    }
}

uint32_t UringBuffers::take(uint32_t completion_flags) {
    BASALT_ASSERT((completion_flags & IORING_CQE_F_BUFFER) != 0);
    const uint32_t index = completion_flags >> IORING_CQE_BUFFER_SHIFT;
    BASALT_ASSERT(index < fresh_);
    BASALT_ASSERT(lent_count_ > 0);
    --lent_count_;
    BASALT_ASSERT(holders_[index] == 0);
    holders_[index] = 1;
    return index;
}

bool UringBuffers::keep(uint32_t index) {
    BASALT_ASSERT(holders_[index] > 0);
    if (!is_kept_[index]) {
        if (kept_count_ >= options_.total_count / kKeptShare || is_low()) {
            return false;
        }
        is_kept_[index] = true;
        ++kept_count_;
        replace();
    }
    if (holders_[index] == UINT16_MAX) {
        return false;
    }
    ++holders_[index];
    return true;
}

void UringBuffers::release(uint32_t index) {
    BASALT_ASSERT(index < fresh_);
    BASALT_ASSERT(holders_[index] > 0);
    if (--holders_[index] > 0) {
        return;
    }
    if (is_kept_[index]) {
        is_kept_[index] = false;
        --kept_count_;
    }
    if (lent_count_ < lent_target_) {
        lend(index);
    } else {
        put_aside(index);
    }
}

}  // namespace basalt
