#pragma once

#include <cstdint>
#include <memory>

#include "bdev/store/checksum.h"
#include "bdev/store/device_port.h"
#include "bdev/store/log_codec.h"
#include "reactor/base/intrusive_list.h"
#include "reactor/msg/owned_event.h"
#include "reactor/reactor.h"

namespace basalt::bdev::store {

/// Waits for a record to be durable, with every block of the log before its own. Owner: whoever
/// appended the record.
struct LogTicket {
    void (*on_logged)(LogTicket& ticket) = nullptr;
    uint64_t sequence = 0;  ///< Of the record's block.
    ListLink link;
};

/// Who wants to know how the log goes. The engine.
class LogObserver {
  public:
    virtual ~LogObserver() = default;
    /// A block is durable, or acknowledged: there may be room, and mark() may be higher.
    virtual void on_log_progress() = 0;
    /// A block could not be written. Nothing more will be logged.
    virtual void on_log_failure(Error error) = 0;
};

/// Writes the log: gathers records in a block until the turn ends or it is full, and writes the
/// blocks one after the other, several at a time. Records are durable in the order in which they
/// were appended.
///
///   append -> open block -> written -> durable, and all before -> on_logged -> acknowledge()
///
/// `acknowledged` is how far everything has been: a block says so of those before it, and recovery
/// believes it. Owner: the engine. Core: the partition's.
class LogWriter {
  public:
    /// Blocks between the oldest that is not acknowledged and the newest.
    static constexpr uint32_t kWindow = 64;
    /// Blocks being written at a time before records are gathered for longer.
    static constexpr uint32_t kWritesMax = 8;

    LogWriter(Reactor& here,
              DevicePort& port,
              LogObserver& observer,
              const BlockSeal& seal,
              uint64_t first_block,
              uint32_t block_count);
    LogWriter(const LogWriter&) = delete;
    LogWriter& operator=(const LogWriter&) = delete;
    ~LogWriter();

    /// Begins an empty log at `sequence`.
    void start(uint64_t sequence, uint32_t incarnation);

    /// Whether records of `bytes` in all, none larger than a block, can be appended now.
    [[nodiscard]] bool has_room(size_t bytes) const;

    /// The block that takes a record of `bytes`; has_room() said that there is one. Append to it
    /// at once.
    [[nodiscard]] LogBlockWriter& block_for(size_t bytes);
    /// `ticket` waits for the block that block_for() returned last.
    void attach(LogTicket& ticket);
    /// What `ticket` waited for is done, and was told or will be in this turn.
    void acknowledge(uint64_t sequence);

    /// Writes a block with or without records, so that mark() moves on. No effect without room.
    void push();

    /// Everything before `sequence` is in a durable checkpoint.
    void set_start(uint64_t sequence);

    [[nodiscard]] uint64_t next_sequence() const { return next_; }
    [[nodiscard]] uint64_t depth() const { return next_ - start_; }
    [[nodiscard]] uint64_t capacity() const { return block_count_; }
    /// A durable block or checkpoint says that everything up to here has been acknowledged.
    [[nodiscard]] uint64_t mark() const { return mark_; }
    [[nodiscard]] bool is_quiet() const { return acknowledged_ + 1 == next_; }
    [[nodiscard]] uint32_t incarnation() const { return incarnation_; }

    uint64_t blocks_written = 0;
    uint64_t records_written = 0;

  private:
    enum class State : uint8_t { kIdle, kOpen, kWriting, kDurable };

    struct Block {
        LogBlockWriter writer;
        WholeIoRequest request;
        iovec piece{};
        LogWriter* log = nullptr;
        uint64_t sequence = 0;
        uint64_t mark = 0;  // That it says.
        uint32_t pending = 0;
        uint32_t used_bytes = 0;
        State state = State::kIdle;
        IntrusiveList<LogTicket, &LogTicket::link> tickets;
    };

    static constexpr size_t kBlockRoom = sizeof(LogBlock::records);

    [[nodiscard]] Block& block_of(uint64_t sequence) { return blocks_[sequence % kWindow]; }
    [[nodiscard]] bool is_open() const { return open_ != nullptr; }
    [[nodiscard]] uint64_t blocks_free() const;
    void open();
    void write_open();
    void end_of_turn();
    void written(Block& block);
    void advance();

    Reactor& here_;
    DevicePort& port_;
    LogObserver& observer_;
    const BlockSeal seal_;
    const uint64_t first_block_;
    const uint32_t block_count_;
    std::unique_ptr<Block[]> blocks_;
    Block* open_ = nullptr;
    uint64_t start_ = 1;
    uint64_t next_ = 1;          // Of the next block to be opened.
    uint64_t durable_ = 0;       // All up to here are.
    uint64_t acknowledged_ = 0;  // All up to here are.
    uint64_t mark_ = 0;
    uint32_t incarnation_ = 0;
    uint32_t writing_ = 0;
    bool has_failed_ = false;
    OwnedEvent<LogWriter, &LogWriter::end_of_turn> end_of_turn_{*this};
};

}  // namespace basalt::bdev::store
