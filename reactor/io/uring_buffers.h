#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "reactor/base/result.h"
#include "reactor/io/uring_features.h"
#include "reactor/io/uring_ring.h"

namespace basalt {

/// The memory into which the kernel receives for all sockets of one reactor. The kernel picks a
/// buffer when bytes arrive, so that a thousand idle connections hold none.
///
/// Three numbers. `lent_start` buffers are with the kernel at first. The kernel uses them in turn,
/// so they all go through the processor's cache: with 16 of 32 KiB a 4 KiB response at queue depth
/// 64 over loopback took 395 ns, with 256 of them 550 ns (2-core Xeon VM, both ends on one thread,
/// CPU time, best of 10). Their number follows that of the sockets, up to `lent_max`, so that each
/// can receive something in a turn; it also bounds what one flood of data gets in a turn. `total`
/// is how many there are: a socket under backpressure keeps what was received for it in its
/// buffers, and fresh ones take their place with the kernel, so that the other sockets go on. The
/// memory is reserved, not used: a page that was never received into costs nothing, and spare
/// buffers are taken last in, first out. What a burst has needed goes back to the system: only a
/// few spare buffers stay backed.
///
/// A socket's user may keep a buffer for what it holds, while there are plenty (keep()): a buffer
/// is free again when all who hold it have released it.
///
/// No socket can starve the others: when free buffers run low (is_low()), sockets receive with one
/// request a buffer, and a socket under backpressure asks for no more; so each then holds at most
/// one more, and `total` exceeds the number of sockets.
///
/// Owner and core: UringNetwork, the reactor's.
class UringBuffers {
  public:
    struct Options {
        uint32_t buffer_bytes = 32768;
        uint32_t lent_start = 16;     ///< At most lent_max.
        uint32_t lent_max = 256;      ///< A power of two, at most 32768.
        uint32_t total_count = 8192;  ///< At least lent_max, at most 65536.
    };
    /// The kernel's name for the buffers in IOSQE_BUFFER_SELECT.
    static constexpr uint16_t kGroup = 0;
    static constexpr uint32_t kNone = UINT32_MAX;

    /// Errors: kNoMemory, kInvalidArgument.
    [[nodiscard]] static Result<std::unique_ptr<UringBuffers>> create(
        UringRing& ring, const Options& options, const UringFeatures& features);
    UringBuffers(const UringBuffers&) = delete;
    UringBuffers& operator=(const UringBuffers&) = delete;
    ~UringBuffers();  ///< No receive is under way.

    /// Takes note that the kernel has filled the buffer that these completion flags name. Returns
    /// its index; the caller gives it back with release().
    [[nodiscard]] uint32_t take(uint32_t completion_flags);

    /// Says that a buffer taken will be kept for a while: lends the kernel a spare one instead.
    void replace();

    /// Another holder for a buffer that is held: it needs one more release(). False if so many are
    /// kept already that the sockets might run short.
    [[nodiscard]] bool keep(uint32_t index);

    /// One holder lets go of a buffer.
    void release(uint32_t index);

    /// Says how many sockets there are, so that as many buffers are lent as the options allow.
    void expect_sockets(uint32_t count);

    [[nodiscard]] std::byte* data(uint32_t index) const {
        return memory_ + size_t{index} * options_.buffer_bytes;
    }
    [[nodiscard]] uint32_t buffer_bytes() const { return options_.buffer_bytes; }

    /// Whether the kernel has any, so that a receive that found none may be tried again.
    [[nodiscard]] bool has_lent() const { return lent_count_ > 0; }
    /// Less than a quarter is free.
    [[nodiscard]] bool is_low() const { return free_count() < options_.total_count / 4; }
    /// How many are to be with the kernel, for tests.
    [[nodiscard]] uint32_t lent_target() const { return lent_target_; }
    /// Lent and spare together.
    [[nodiscard]] uint32_t free_count() const {
        return lent_count_ + static_cast<uint32_t>(spare_.size() + cold_.size()) +
               (options_.total_count - fresh_);
    }
    [[nodiscard]] uint32_t total_count() const { return options_.total_count; }

    /// What of a buffer has not been consumed, and the next in a socket's queue. For UringSocket.
    struct Held {
        uint32_t next = kNone;
        uint32_t offset_bytes = 0;
        uint32_t length_bytes = 0;
    };
    [[nodiscard]] Held& held(uint32_t index) { return held_[index]; }

  private:
    UringBuffers(UringRing& ring, const Options& options)
        : ring_(ring), options_(options), lent_target_(options.lent_start) {}

    void lend_first();
    [[nodiscard]] bool has_spare() const {
        return !spare_.empty() || !cold_.empty() || fresh_ < options_.total_count;
    }
    [[nodiscard]] uint32_t take_spare();
    void put_aside(uint32_t index);
    void lend(uint32_t index);
    void lend_by_request(uint32_t index, uint32_t count);

    UringRing& ring_;
    const Options options_;
    std::byte* memory_ = nullptr;
    size_t memory_bytes_ = 0;
    io_uring_buf* lent_ring_ = nullptr;  // Null: buffers are lent by requests.
    size_t lent_ring_bytes_ = 0;
    uint16_t lent_tail_ = 0;
    uint32_t lent_count_ = 0;
    uint32_t lent_target_;
    uint32_t fresh_ = 0;           // The first buffer that was never used.
    std::vector<uint32_t> spare_;  // Backed. Both are reserved in full at creation.
    std::vector<uint32_t> cold_;   // Given back to the system.
    std::vector<Held> held_;
    std::vector<uint16_t> holders_;  // By buffer; how many must release it.
    uint32_t kept_count_ = 0;        // Buffers that have, or had, more than one holder.
    std::vector<bool> is_kept_;
};

}  // namespace basalt
