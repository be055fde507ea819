#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <span>

#include "bdev/core/bdev.h"
#include "bdev/store/format.h"
#include "reactor/reactor.h"

namespace basalt::bdev::store {

/// The device below as a partition sees it: in blocks of 4096 bytes. Writes are durable when they
/// complete if they ask for it. Owner: the engine. Core: its own.
class DevicePort {
  public:
    DevicePort(BdevChannel& channel, const BdevInfo& info)
        : channel_(channel),
          units_(kBlockBytes / info.block_size_bytes),
          transfer_max_(info.transfer_max.raw() == 0 ? kWriteBlocksMax
                                                     : info.transfer_max.raw() / units_),
          has_cache_(info.has_volatile_cache),
          can_flush_(info.can(IoOp::kFlush)) {}

    /// Sets operation, range and memory; the completion is the caller's, and then submit().
    void prepare(IoRequest& request,
                 IoOp op,
                 uint64_t block,
                 std::span<const iovec> pieces,
                 uint64_t count) const {
        request.op = op;
        request.first = Lba(block * units_);
        request.count = BlockCount(count * units_);
        request.pieces = pieces.data();
        request.piece_count = static_cast<uint32_t>(pieces.size());
        request.fua = Fua::kNo;
    }

    /// The write is to be durable when it completes.
    void make_durable(IoRequest& request) const { request.fua = has_cache_ ? Fua::kYes : Fua::kNo; }

    void submit(IoRequest& request) { channel_.submit(request); }

    /// Blocks of one request; at most kWriteBlocksMax.
    [[nodiscard]] uint32_t transfer_max() const {
        return static_cast<uint32_t>(transfer_max_ < kWriteBlocksMax ? transfer_max_
                                                                     : kWriteBlocksMax);
    }
    [[nodiscard]] bool needs_flush() const { return has_cache_ && can_flush_; }

  private:
    BdevChannel& channel_;
    const uint64_t units_;
    const uint64_t transfer_max_;
    const bool has_cache_;
    const bool can_flush_;
};

/// `co_await DeviceCall(port, op, block, memory)`: one request of a rare sequence. The memory is a
/// multiple of 4096 bytes, at most transfer_max() blocks; none for a flush. Writes are durable when
/// `durable` says so.
class [[nodiscard]] DeviceCall {
  public:
    DeviceCall(DevicePort& port,
               IoOp op,
               uint64_t block,
               std::span<std::byte> memory,
               Fua durable = Fua::kNo)
        : port_(port), op_(op), block_(block), durable_(durable) {
        piece_ = {memory.data(), memory.size()};
    }

    [[nodiscard]] bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> awaiter) {
        awaiter_ = awaiter;
        const bool has_memory = piece_.iov_len > 0;
        port_.prepare(
            request_, op_, block_, {&piece_, has_memory ? 1U : 0U}, piece_.iov_len / kBlockBytes);
        if (durable_ == Fua::kYes) {
            port_.make_durable(request_);
        }
        request_.push_completion(
            [](IoRequest&, void* self) { static_cast<DeviceCall*>(self)->awaiter_.resume(); },
            this);
        port_.submit(request_);
    }
    [[nodiscard]] Status await_resume() const { return request_.status; }

  private:
    DevicePort& port_;
    IoOp op_;
    uint64_t block_;
    Fua durable_;
    iovec piece_{};
    WholeIoRequest request_;
    std::coroutine_handle<> awaiter_;
};

/// Something that sequences wait for: `while (!condition) co_await signal.wait();`, and whoever
/// changes the condition calls notify(). Owner and core: the engine's.
class Signal {
  public:
    explicit Signal(Reactor& here) : here_(here) {}
    Signal(const Signal&) = delete;
    Signal& operator=(const Signal&) = delete;
    ~Signal() { waiting_.clear(); }

    /// What wait() returns.
    class [[nodiscard]] Wait {
      public:
        explicit Wait(Signal& signal) : signal_(signal) {}
        [[nodiscard]] bool await_ready() const { return false; }
        void await_suspend(std::coroutine_handle<> awaiter) {
            event_.awaiter = awaiter;
            event_.set_run(
                [](Event& event, Reactor&) { static_cast<Resume&>(event).awaiter.resume(); });
            signal_.waiting_.push_back(event_);
        }
        void await_resume() const {}

      private:
        struct Resume : Event {
            std::coroutine_handle<> awaiter;
        };

        Signal& signal_;
        Resume event_;
    };

    [[nodiscard]] Wait wait() { return Wait(*this); }

    /// Lets all that wait look again, later in this turn.
    void notify() {
        while (Event* event = waiting_.pop_front()) {
            here_.defer(*event);
        }
    }

  private:
    Reactor& here_;
    EventList waiting_;
};

}  // namespace basalt::bdev::store
