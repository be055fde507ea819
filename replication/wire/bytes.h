#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "reactor/base/assert.h"
#include "replication/core/types.h"

namespace basalt::replication::wire {

static_assert(std::endian::native == std::endian::little, "the wire is little-endian");

/// Puts integers one after the other into a buffer that is large enough. A value.
class Writer {
  public:
    explicit Writer(std::span<std::byte> out) : out_(out) {}

    template <typename T>
    void put(T value) {
        BASALT_ASSERT(at_ + sizeof(T) <= out_.size());
        std::memcpy(out_.data() + at_, &value, sizeof(T));
        at_ += sizeof(T);
    }
    void put_number(OpNumber number) {
        put(number.epoch.raw());
        put(number.count);
    }
    [[nodiscard]] size_t size() const { return at_; }

  private:
    std::span<std::byte> out_;
    size_t at_ = 0;
};

/// Takes them out again, of a buffer whose size was checked before. A value.
class Reader {
  public:
    explicit Reader(std::span<const std::byte> in) : in_(in) {}

    template <typename T>
    [[nodiscard]] T get() {
        BASALT_ASSERT(at_ + sizeof(T) <= in_.size());
        T value{};
        std::memcpy(&value, in_.data() + at_, sizeof(T));
        at_ += sizeof(T);
        return value;
    }
    [[nodiscard]] OpNumber get_number() {
        const Epoch epoch(get<uint64_t>());
        return {epoch, get<uint64_t>()};
    }

  private:
    std::span<const std::byte> in_;
    size_t at_ = 0;
};

}  // namespace basalt::replication::wire
