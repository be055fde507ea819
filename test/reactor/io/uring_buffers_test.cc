#include "reactor/io/uring_buffers.h"

#include <algorithm>
#include <memory>

#include <gtest/gtest.h>
#include <sys/mman.h>

namespace basalt {
namespace {

class UringBuffersTest : public testing::Test {
  protected:
    static constexpr uint32_t kBufferBytes = 4096;
    static constexpr uint32_t kTotal = 512;

    /// The kernel has received into the next of the buffers that it has, and is given another one.
    void fill(uint32_t index) {
        const uint32_t taken =
            buffers->take((index << IORING_CQE_BUFFER_SHIFT) | IORING_CQE_F_BUFFER);
        EXPECT_EQ(taken, index);
        std::fill_n(buffers->data(index), kBufferBytes, std::byte{1});
        buffers->replace();
    }
    bool is_backed(uint32_t index) const {
        unsigned char page = 0;
        EXPECT_EQ(mincore(buffers->data(index), kBufferBytes, &page), 0);
        return (page & 1U) != 0;
    }
    uint32_t backed() const {
        uint32_t count = 0;
        for (uint32_t index = 0; index < kTotal; ++index) {
            count += is_backed(index) ? 1U : 0U;
        }
        return count;
    }

    const UringFeatures features = UringFeatures::probe().value();
    std::unique_ptr<UringRing> ring = UringRing::create({}, features).value();
    std::unique_ptr<UringBuffers> buffers =
        UringBuffers::create(
            *ring,
            {.buffer_bytes = kBufferBytes, .lent_start = 16, .lent_max = 16, .total_count = kTotal},
            features)
            .value();
};

TEST_F(UringBuffersTest, GivesWhatABurstHasNeededBackToTheSystem) {
    // All are held back at once; the kernel is lent one after the other, in order.
    for (uint32_t index = 0; index < kTotal; ++index) {
        fill(index);
    }
    EXPECT_EQ(backed(), kTotal);
    EXPECT_EQ(buffers->free_count(), 0U);
    for (uint32_t index = 0; index < kTotal; ++index) {
        buffers->release(index);
    }
    EXPECT_EQ(buffers->free_count(), kTotal);
    EXPECT_LE(backed(), 128U);
}

TEST_F(UringBuffersTest, LendsBackedOnesFirst) {
    for (uint32_t index = 0; index < kTotal; ++index) {
        fill(index);
    }
    for (uint32_t index = 0; index < kTotal; ++index) {
        buffers->release(index);
    }
    // The first 16 went back to the kernel, the next 64 are kept as they are, last in, first out.
    const uint32_t before = backed();
    for (uint32_t index = 0; index < 16; ++index) {
        fill(index);
    }
    for (uint32_t index = 79; index > 16; --index) {
        fill(index);
    }
    EXPECT_EQ(backed(), before);
}

}  // namespace
}  // namespace basalt
