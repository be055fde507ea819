#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bdev/store/block_io.h"
#include "bdev/store/stream/stream_reader.h"
#include "bdev/store/transfer/resume_token.h"
#include "bdev/store/transfer/stream_port.h"
#include "bdev/store/transfer/transfer_pool.h"

namespace basalt::bdev::store {

/// How far a transfer has come. Blocks are of 4096 bytes.
struct TransferReport {
    enum class State : uint8_t { kRunning, kDone, kFailed, kStopped };

    uint64_t id = 0;  ///< From 1 on; never used twice.
    bool is_send = false;
    std::string pool;
    std::string snapshot;  ///< "" until a stream has said it.
    std::string path;
    State state = State::kRunning;
    uint64_t size_blocks = 0;
    uint64_t passed_blocks = 0;  ///< Of size_blocks.
    uint64_t data_blocks = 0;    ///< Sent or received.
    uint64_t began_ns = 0;       ///< The reactor's clock.
    uint64_t ended_ns = 0;
    std::string problem;  ///< Why it failed.
};

struct SendOptions {
    std::string snapshot;
    std::string base;  ///< An older snapshot that it has grown out of; "": all is sent.
    std::string path;  ///< A new file, or a pipe.
    std::optional<ResumeToken> resume;
    uint64_t bytes_a_second = 0;  ///< At most; 0: as fast as it goes.
};

struct ReceiveOptions {
    std::string path;
    std::string name;  ///< Of the snapshot here; "": as the sender calls it.
    uint64_t bytes_a_second = 0;
    uint64_t keep_blocks = 16384;  ///< Written before the pool keeps how far it is: 64 MiB.
};

/// What sending and receiving have in common: the stream, two buffers of which one is filled while
/// the other one is emptied, the pace. Owner: Transfers. Core: the control thread.
class Transfer {
  public:
    Transfer(Pool& pool, StreamFiles& files, std::string path, uint64_t bytes_a_second);
    Transfer(const Transfer&) = delete;
    Transfer& operator=(const Transfer&) = delete;
    virtual ~Transfer() = default;  ///< run() has ended, or the machine has lost its power.

    /// All of it. Errors are explained in report().problem. kCancelled: it was stopped.
    [[nodiscard]] virtual Task<Status> run() = 0;

    /// Has run() end soon.
    void stop() { port_.stop(); }

    [[nodiscard]] const TransferReport& report() const { return report_; }
    [[nodiscard]] TransferReport& report() { return report_; }
    [[nodiscard]] const Pool& pool() { return pool_.pool(); }

  protected:
    /// A record of a stream in memory.
    struct Buffer {
        BlockMemory memory{kStreamRecordBlocksMax};
        std::vector<ChangedRange> ranges;
        std::array<uint32_t, kStreamBlocksMax> crcs{};
        uint32_t block_count = 0;
        uint64_t next = 0;

        [[nodiscard]] std::span<std::byte> head() { return memory.block(0); }
        [[nodiscard]] std::span<std::byte> data() {
            return memory.all().subspan(kBlockBytes, size_t{block_count} * kBlockBytes);
        }
        /// The head and the data.
        [[nodiscard]] std::span<std::byte> record() {
            return memory.all().first(size_t{1 + block_count} * kBlockBytes);
        }
        [[nodiscard]] BlockBatch batch() {
            return {ranges, data(), std::span(crcs).first(block_count)};
        }
    };

    /// Ends at once, or when as many bytes may have been moved.
    [[nodiscard]] Task<void> keep_pace(size_t bytes);
    /// Says in the report what failed, unless that was said already.
    [[nodiscard]] Status explain(Status status, const char* what);

    Reactor& control_;
    StreamPort port_;
    TransferPool pool_;
    TransferReport report_;
    std::array<Buffer, 2> buffers_;

  private:
    const uint64_t bytes_a_second_;
    uint64_t due_ns_ = 0;
};

/// Writes a snapshot as a stream.
class SnapshotSender final : public Transfer {
  public:
    SnapshotSender(Pool& pool, StreamFiles& files, const SendOptions& options);

    /// Before run(). Errors: those of TransferPool::choose(); kInvalidArgument: the token is
    /// another stream's; kExists, kNotFound and others: the file, see StreamFiles::open().
    [[nodiscard]] Status choose(const SendOptions& options);
    [[nodiscard]] Task<Status> run() override;

  private:
    [[nodiscard]] Task<Status> send_changes();
    [[nodiscard]] Task<Status> add(ChangedRange range);
    [[nodiscard]] Task<Status> send_record(uint64_t next);
    [[nodiscard]] Task<Status> written();

    StreamBegin begin_;
    StreamWriter writer_;
    uint32_t filling_ = 0;                 // Of the buffers.
    std::optional<Task<Status>> writing_;  // The other one.
};

/// Reads a stream into a snapshot.
class SnapshotReceiver final : public Transfer {
  public:
    SnapshotReceiver(Pool& pool, StreamFiles& files, const ReceiveOptions& options);

    [[nodiscard]] Task<Status> run() override;

  private:
    [[nodiscard]] Task<Status> receive_begin();
    [[nodiscard]] Task<Status> receive_records();
    [[nodiscard]] Task<Status> read(std::span<std::byte> out);
    [[nodiscard]] Task<Status> read_record(Buffer& buffer);
    [[nodiscard]] Task<Status> put(Buffer& buffer);
    [[nodiscard]] Task<Status> written();
    [[nodiscard]] Status refuse();

    const ReceiveOptions options_;
    StreamReader reader_;
    uint64_t next_ = 0;       // All before is written.
    uint64_t kept_data_ = 0;  // Of report_.data_blocks, when the pool kept the last time.
    std::optional<Task<Status>> writing_;
};

}  // namespace basalt::bdev::store
