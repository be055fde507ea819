#include "bdev/store/log_writer.h"

#include <algorithm>

#include "reactor/base/assert.h"

namespace basalt::bdev::store {

LogWriter::LogWriter(Reactor& here,
                     DevicePort& port,
                     LogObserver& observer,
                     const BlockSeal& seal,
                     uint64_t first_block,
                     uint32_t block_count)
    : here_(here),
      port_(port),
      observer_(observer),
      seal_(seal),
      first_block_(first_block),
      block_count_(block_count),
      blocks_(std::make_unique<Block[]>(kWindow)) {
    static_assert(sizeof(LogBlockWriter) == kBlockBytes);
    for (uint32_t i = 0; i < kWindow; ++i) {
        blocks_[i].log = this;
    }
}

LogWriter::~LogWriter() {
    for (uint32_t i = 0; i < kWindow; ++i) {
        blocks_[i].tickets.clear();  // Of a machine that lost its power.
    }
}

void LogWriter::start(uint64_t sequence, uint32_t incarnation) {
    BASALT_ASSERT(is_quiet());
    start_ = next_ = sequence;
    durable_ = acknowledged_ = mark_ = sequence - 1;
    incarnation_ = incarnation;
}

uint64_t LogWriter::blocks_free() const {
    const uint64_t in_window = next_ - 1 - acknowledged_;
    return std::min<uint64_t>(kWindow - in_window, block_count_ - depth());
}

bool LogWriter::has_room(size_t bytes) const {
    if (has_failed_) {
        return false;
    }
    // Records don't cross blocks, so each may leave some of one empty: half of each is sure.
    const size_t open_room = is_open() ? kBlockRoom - open_->used_bytes : 0;
    return bytes <= open_room || bytes <= blocks_free() * (kBlockRoom / 2);
}

void LogWriter::open() {
    BASALT_ASSERT(blocks_free() > 0);
    Block& block = block_of(next_);
    BASALT_ASSERT(block.state == State::kIdle);
    BASALT_ASSERT(block.tickets.empty());
    block.writer.begin();
    block.sequence = next_++;
    block.pending = 0;
    block.used_bytes = 0;
    block.state = State::kOpen;
    open_ = &block;
}

LogBlockWriter& LogWriter::block_for(size_t bytes) {
    if (is_open() && kBlockRoom - open_->used_bytes < bytes) {
        write_open();
    }
    if (!is_open()) {
        open();
    }
    open_->used_bytes += static_cast<uint32_t>(bytes);
    ++records_written;
    if (!end_of_turn_.is_waiting()) {
        here_.defer_to_end_of_turn(end_of_turn_);
    }
    return open_->writer;
}

void LogWriter::attach(LogTicket& ticket) {
    BASALT_ASSERT(is_open());
    ticket.sequence = open_->sequence;
    ++open_->pending;
    open_->tickets.push_back(ticket);
}

void LogWriter::push() {
    if (!is_open() && blocks_free() > 0) {
        open();
    }
    if (is_open() && !end_of_turn_.is_waiting()) {
        here_.defer_to_end_of_turn(end_of_turn_);
    }
}

void LogWriter::end_of_turn() {
    if (is_open() && writing_ < kWritesMax) {
        write_open();
    }
}

void LogWriter::write_open() {
    Block& block = *open_;
    open_ = nullptr;
    block.state = State::kWriting;
    block.mark = acknowledged_;
    const LogBlock& raw = block.writer.finish(seal_, block.sequence, block.mark, incarnation_);
    block.piece = {const_cast<LogBlock*>(&raw), sizeof(raw)};
    port_.prepare(block.request,
                  IoOp::kWrite,
                  first_block_ + block.sequence % block_count_,
                  {&block.piece, 1},
                  1);
    port_.make_durable(block.request);
    block.request.push_completion(
        [](IoRequest&, void* context) {
            auto& done = *static_cast<Block*>(context);
            done.log->written(done);
        },
        &block);
    ++writing_;
    ++blocks_written;
    port_.submit(block.request);
}

void LogWriter::written(Block& block) {
    --writing_;
    if (!block.request.status) {
        has_failed_ = true;
        observer_.on_log_failure(block.request.status.error());
        return;
    }
    if (has_failed_) {
        return;
    }
    block.state = State::kDurable;
    while (durable_ + 1 < next_ && block_of(durable_ + 1).state == State::kDurable) {
        Block& next = block_of(++durable_);
        mark_ = std::max(mark_, next.mark);
        // Whoever is told may append, even to this block when all of it is acknowledged.
        IntrusiveList<LogTicket, &LogTicket::link> tickets;
        tickets.splice_back(next.tickets);
        while (LogTicket* ticket = tickets.pop_front()) {
            ticket->on_logged(*ticket);
        }
    }
    advance();
    if (is_open() && !end_of_turn_.is_waiting()) {
        here_.defer_to_end_of_turn(end_of_turn_);
    }
    observer_.on_log_progress();
}

void LogWriter::acknowledge(uint64_t sequence) {
    Block& block = block_of(sequence);
    BASALT_ASSERT(block.sequence == sequence);
    BASALT_ASSERT(block.pending > 0);
    --block.pending;
    advance();
}

void LogWriter::advance() {
    while (acknowledged_ < durable_) {
        Block& block = block_of(acknowledged_ + 1);
        if (block.pending != 0 || !block.tickets.empty()) {
            return;
        }
        ++acknowledged_;
        block.state = State::kIdle;
    }
}

void LogWriter::set_start(uint64_t sequence) {
    start_ = std::max(start_, sequence);
    mark_ = std::max(mark_, sequence - 1);
}

}  // namespace basalt::bdev::store
