#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "bdev/core/bdev.h"
#include "bdev/core/io_request.h"

namespace basalt::bdev {

/// A request with memory of its own that checks the promise of every device: it completes once, and
/// not inside submit().
class TestIo {
  public:
    TestIo() = default;
    TestIo(const TestIo&) = delete;
    TestIo& operator=(const TestIo&) = delete;
    ~TestIo() { EXPECT_EQ(submissions, completions) << "a request never completed"; }

    /// Sets the operation and range, with memory where the operation has some, in `pieces_wanted`
    /// pieces (as far as the blocks go round), `misalign` bytes into a page.
    void prepare(IoOp op,
                 uint64_t first,
                 uint64_t count,
                 uint32_t block_bytes,
                 uint32_t pieces_wanted = 1,
                 uint32_t misalign = 0) {
        request.op = op;
        request.first = Lba(first);
        request.count = BlockCount(count);
        request.fua = Fua::kNo;
        request.wants_device_memory = false;
        request.pieces = nullptr;
        request.piece_count = 0;
        pieces_.clear();
        if (op != IoOp::kRead && op != IoOp::kWrite && op != IoOp::kCompare) {
            return;
        }
        size_bytes = count * block_bytes;
        storage_.assign(size_bytes + kPage * 2, std::byte{0xee});
        const auto address = reinterpret_cast<uintptr_t>(storage_.data());
        data = storage_.data() + (kPage - address % kPage) % kPage + misalign;
        const uint64_t per_piece = std::max<uint64_t>(1, count / pieces_wanted);
        for (uint64_t done = 0; done < count;) {
            const bool is_last = pieces_.size() + 1 == pieces_wanted;
            const uint64_t blocks = is_last ? count - done : std::min(per_piece, count - done);
            pieces_.push_back(iovec{data + done * block_bytes, blocks * block_bytes});
            done += blocks;
        }
        request.pieces = pieces_.data();
        request.piece_count = static_cast<uint32_t>(pieces_.size());
    }

    void fill(uint8_t value) { std::fill_n(data, size_bytes, std::byte{value}); }

    void submit(BdevChannel& channel) {
        ++submissions;
        is_submitting_ = true;
        request.push_completion(
            [](IoRequest& done, void* context) {
                auto& self = *static_cast<TestIo*>(context);
                EXPECT_FALSE(self.is_submitting_) << "completed inside submit()";
                EXPECT_EQ(done.pending_completions(), 0U);
                ++self.completions;
                EXPECT_EQ(self.completions, self.submissions) << "completed twice";
            },
            this);
        channel.submit(request);
        is_submitting_ = false;
    }

    [[nodiscard]] bool is_done() const { return completions == submissions; }
    [[nodiscard]] Status status() const {
        EXPECT_TRUE(is_done());
        return request.status;
    }
    [[nodiscard]] Errc code() const { return status() ? Errc::kOk : status().error().code; }

    WholeIoRequest request;
    std::byte* data = nullptr;
    uint64_t size_bytes = 0;
    uint32_t submissions = 0;
    uint32_t completions = 0;

  private:
    static constexpr size_t kPage = 4096;
    std::vector<std::byte> storage_;
    std::vector<iovec> pieces_;
    bool is_submitting_ = false;
};

}  // namespace basalt::bdev
