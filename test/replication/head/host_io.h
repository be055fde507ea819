#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include "replication/head/head.h"

namespace basalt::replication::test {

/// A request with its memory and pieces, which checks that it completes once and not inside of
/// submit(). Each block written is one value over and over.
class HostIo {
  public:
    HostIo() = default;
    HostIo(const HostIo&) = delete;
    HostIo& operator=(const HostIo&) = delete;

    void prepare(HeadOp op, uint64_t first, uint64_t count, uint64_t value = 0) {
        request.op = op;
        request.first = first;
        request.count = count;
        request.complete = [](HeadRequest&, void* self) { static_cast<HostIo*>(self)->end(); };
        request.context = this;
        pieces_.clear();
        const bool has_data = op != HeadOp::kWriteZeroes && op != HeadOp::kUnmap;
        memory_.assign(has_data ? count * kBlockBytes / sizeof(uint64_t) : 0, value);
        for (uint64_t done = 0; has_data && done < count;) {
            const uint64_t blocks = std::min<uint64_t>(count - done, 1 + (first + done) % 3);
            pieces_.push_back({block(done), blocks * kBlockBytes});
            done += blocks;
        }
        request.pieces = pieces_.data();
        request.piece_count = static_cast<uint32_t>(pieces_.size());
    }
    void submit(Head& head) {
        is_done = false;
        is_submitting_ = true;
        head.submit(request);
        is_submitting_ = false;
    }

    /// What block `index` of the request has; ~0 if it is not the same all over.
    [[nodiscard]] uint64_t value_of(uint64_t index) const {
        constexpr size_t kWords = kBlockBytes / sizeof(uint64_t);
        const auto first = memory_.begin() + static_cast<ptrdiff_t>(index * kWords);
        return std::equal(first + 1, first + kWords, first) ? *first : ~uint64_t{0};
    }

    HeadRequest request;
    bool is_done = true;
    void (*on_end)(HostIo&, void* context) = nullptr;
    void* context = nullptr;

  private:
    [[nodiscard]] void* block(uint64_t index) {
        return memory_.data() + index * kBlockBytes / sizeof(uint64_t);
    }
    void end() {
        EXPECT_FALSE(is_submitting_);
        EXPECT_FALSE(is_done);
        is_done = true;
        if (on_end != nullptr) {
            on_end(*this, context);
        }
    }

    std::vector<uint64_t> memory_;
    std::vector<iovec> pieces_;
    bool is_submitting_ = false;
};

}  // namespace basalt::replication::test
