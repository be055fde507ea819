#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "reactor/io/storage.h"
#include "reactor/io/uring_passthrough.h"
#include "reactor/io/uring_ring.h"

namespace basalt {

/// The files and devices of one core, through io_uring. A FileHandle is the file descriptor that
/// PosixFileSystem opened; a registered one has its place in the ring's table beside it, in the
/// upper half.
///
/// A request is its own operation: its address, tagged, is the user data, so nothing is allocated
/// and nothing is looked up. Transfers whose one piece lies in registered memory use READ_FIXED and
/// WRITE_FIXED, which spare the kernel pinning the pages.
///
/// Owner and core: UringDriver.
class UringStorage final : public Storage {
  public:
    UringStorage(UringRing& ring, const UringFeatures& features);
    UringStorage(const UringStorage&) = delete;
    UringStorage& operator=(const UringStorage&) = delete;
    ~UringStorage() override;  ///< Nothing is under way.

    void submit(FileRequest& request) override;
    void submit(PassthroughRequest& request) override;

    /// Pins `memory` for this ring, in parts of at most 1 GiB (the kernel's limit), as far as
    /// RLIMIT_MEMLOCK lets a process without CAP_IPC_LOCK. Pinned memory is backed memory: register
    /// what will be used. Before the first poll, or on the reactor's thread.
    void register_memory(std::span<std::byte> memory) override;

    /// As long as there is room in the table. Before the first poll, or on the reactor's thread.
    [[nodiscard]] FileHandle register_file(FileHandle file) override;
    void unregister_file(FileHandle registered) override;

    /// The kernel's answer to the request with that (untagged) user data. Runs `done` with `here`
    /// when nothing is left to transfer.
    void complete(uint64_t user_data, UringCompletion completion, Reactor& here);

    /// Requests under way.
    [[nodiscard]] uint32_t in_flight() const {
        return in_flight_ + (passthrough_ ? passthrough_->in_flight() : 0);
    }

    /// The ring of NVMe commands, or null while none was ever submitted.
    [[nodiscard]] UringPassthrough* passthrough() { return passthrough_.get(); }

    /// Registered parts, for tests.
    [[nodiscard]] uint32_t registered_count() const { return registered_count_; }
    /// Transfers that used them, for tests and metrics.
    [[nodiscard]] uint64_t fixed_transfers() const { return fixed_transfers_; }
    /// Requests that found their file in the table, for tests and metrics.
    [[nodiscard]] uint64_t fixed_file_requests() const { return fixed_file_requests_; }

    /// Places in the table of files: more devices than a core serves at once. 16 bytes of the
    /// kernel each, and no more than a process may open (RLIMIT_NOFILE, 1024 by default).
    static constexpr uint32_t kFilesMax = 256;

  private:
    static constexpr uint32_t kRegisteredMax = 64;
    static constexpr uint32_t kNotRegistered = UINT32_MAX;

    void queue(FileRequest& request);
    void queue_transfer(FileRequest& request, io_uring_sqe& sqe);
    void queue_single(FileRequest& request, io_uring_sqe& sqe, std::byte* memory, size_t length);
    [[nodiscard]] uint32_t registered_index(const std::byte* memory, size_t length) const;
    [[nodiscard]] bool can_register_more() const;

    UringRing& ring_;
    const UringFeatures features_;
    std::unique_ptr<UringPassthrough> passthrough_;
    std::array<std::span<std::byte>, kRegisteredMax> registered_;
    uint32_t registered_count_ = 0;
    bool has_table_ = false;
    std::array<bool, kFilesMax> is_place_taken_{};
    bool has_file_table_ = false;
    uint64_t fixed_transfers_ = 0;
    uint64_t fixed_file_requests_ = 0;
    uint32_t in_flight_ = 0;
};

}  // namespace basalt
