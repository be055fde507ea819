#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include <sys/uio.h>

namespace basalt::sim {

/// Walks once through the memory that a request's pieces describe. A value.
class PieceCursor {
  public:
    explicit PieceCursor(const iovec* pieces) : piece_(pieces) {}

    /// Copies the next `count` bytes out of the pieces.
    void copy_out(std::byte* to, size_t count) {
        step(count, [&to](std::byte* memory, size_t n) {
            std::memcpy(to, memory, n);
            to += n;
        });
    }
    /// Copies `count` bytes into the pieces.
    void copy_in(const std::byte* from, size_t count) {
        step(count, [&from](std::byte* memory, size_t n) {
            std::memcpy(memory, from, n);
            from += n;
        });
    }

  private:
    template <typename Copy>
    void step(size_t count, Copy copy) {
        while (count > 0) {
            const size_t n = std::min(count, piece_->iov_len - offset_);
            if (n > 0) {
                copy(static_cast<std::byte*>(piece_->iov_base) + offset_, n);
            }
            count -= n;
            offset_ += n;
            if (offset_ == piece_->iov_len) {
                ++piece_;
                offset_ = 0;
            }
        }
    }

    const iovec* piece_;
    size_t offset_ = 0;
};

}  // namespace basalt::sim
