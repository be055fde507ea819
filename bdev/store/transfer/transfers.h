#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "bdev/store/transfer/transfer.h"

namespace basalt::bdev::store {

/// At once; more are refused. Each has 2 MiB of memory.
inline constexpr size_t kTransfersMax = 16;
/// That have ended and are told of still.
inline constexpr size_t kTransfersTold = 32;

/// The snapshots that are being sent and received by the process, in the background, and the last
/// ones that were. Owner: the daemon; outlived by pools and files. Core: the control thread.
class Transfers {
  public:
    explicit Transfers(Reactor& control) : control_(control) {}
    Transfers(const Transfers&) = delete;
    Transfers& operator=(const Transfers&) = delete;
    ~Transfers();  ///< All have ended, or the machine has lost its power.

    /// Begins to send; gives the transfer's id. Errors: those of SnapshotSender::choose(); kBusy:
    /// too many are under way.
    [[nodiscard]] Result<uint64_t> send(Pool& pool, StreamFiles& files, const SendOptions& options);

    /// Begins to receive, whatever the stream will say. Errors: kBusy: too many are under way.
    [[nodiscard]] Result<uint64_t> receive(Pool& pool,
                                           StreamFiles& files,
                                           const ReceiveOptions& options);

    /// Stops one; ends when it has ended. Errors: kNotFound: none with that id is under way.
    [[nodiscard]] Task<Status> stop(uint64_t id);
    /// Stops all; ends when they have ended. None begins any more.
    [[nodiscard]] Task<void> stop_all();

    /// All, oldest first.
    [[nodiscard]] std::vector<TransferReport> reports() const;

  private:
    [[nodiscard]] uint64_t start(std::unique_ptr<Transfer> transfer);
    [[nodiscard]] Task<void> run(Transfer& transfer);
    [[nodiscard]] Transfer* find(uint64_t id);
    [[nodiscard]] bool is_full() const { return is_closed_ || running_.size() >= kTransfersMax; }

    Reactor& control_;
    std::list<std::unique_ptr<Transfer>> running_;
    std::list<TransferReport> ended_;
    uint64_t next_id_ = 1;
    bool is_closed_ = false;
};

/// Where a snapshot that is being received into a pool is to go on.
[[nodiscard]] ResumeToken resume_token_of(const Catalogue& catalogue, const VolumeEntry& entry);

}  // namespace basalt::bdev::store
