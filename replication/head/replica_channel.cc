#include "replication/head/replica_channel.h"

#include <utility>

#include "bdev/core/deferred.h"
#include "reactor/base/assert.h"

namespace basalt::replication {

namespace {

HeadOp op_of(bdev::IoOp op) {
    switch (op) {
        case bdev::IoOp::kRead: return HeadOp::kRead;
        case bdev::IoOp::kWrite: return HeadOp::kWrite;
        case bdev::IoOp::kWriteZeroes: return HeadOp::kWriteZeroes;
        case bdev::IoOp::kUnmap: return HeadOp::kUnmap;
        case bdev::IoOp::kCompare: return HeadOp::kCompare;
        case bdev::IoOp::kFlush: break;
    }
    assertion_failed("a flush is done at once", __FILE__, __LINE__);
}

}  // namespace

/// A request under way.
struct ReplicaChannel::Operation {
    /// Says on which side the operation is going on next.
    struct Hop : Event {
        Operation* operation = nullptr;
    };

    Operation() {
        hop.operation = this;
        inner.context = this;
        inner.complete = [](HeadRequest&, void* context) {
            auto& self = *static_cast<Operation*>(context);
            if (self.channel->head_core_ == self.channel->here_.core()) {
                self.channel->finish(self);
                return;
            }
            self.hop.set_run([](Event& event, Reactor&) {
                Operation& back = *static_cast<Hop&>(event).operation;
                back.channel->finish(back);
            });
            self.channel->head_.reactor().post(self.channel->here_.core(), self.hop);
        };
    }

    ReplicaChannel* channel = nullptr;
    bdev::IoRequest* request = nullptr;
    Operation* next_free = nullptr;
    Hop hop;
    HeadRequest inner;
};

ReplicaChannel::ReplicaChannel(Reactor& here, Head& head)
    : here_(here),
      head_(head),
      head_core_(head.reactor().core()),
      operations_(std::make_unique<Operation[]>(kOperations)) {
    for (uint32_t i = kOperations; i-- > 0;) {
        operations_[i].channel = this;
        operations_[i].next_free = std::exchange(free_, &operations_[i]);
    }
}

ReplicaChannel::~ReplicaChannel() {
    // Only a loss of power leaves requests here.
    BASALT_ASSERT(line_.empty() || here_.is_abandoned());
    line_.clear();
    for (uint32_t i = 0; i < kOperations; ++i) {
        BASALT_ASSERT(operations_[i].request == nullptr || here_.is_abandoned());
    }
}

void ReplicaChannel::submit(bdev::IoRequest& request) {
    if (request.op == bdev::IoOp::kFlush) {
        bdev::complete_later(here_, request, kOk);  // What was answered is durable at a quorum.
    } else if (free_ == nullptr) {
        line_.push_back(request);
    } else {
        Operation& operation = *free_;
        free_ = operation.next_free;
        start(operation, request);
    }
}

void ReplicaChannel::start(Operation& operation, bdev::IoRequest& request) {
    operation.request = &request;
    HeadRequest& inner = operation.inner;
    inner.op = op_of(request.op);
    inner.first = request.first.raw();
    inner.count = request.count.raw();
    inner.pieces = request.pieces;
    inner.piece_count = request.piece_count;
    if (head_core_ == here_.core()) {
        head_.submit(inner);
        return;
    }
    operation.hop.set_run([](Event& event, Reactor&) {
        Operation& self = *static_cast<Operation::Hop&>(event).operation;
        self.channel->head_.submit(self.inner);
    });
    here_.post(head_core_, operation.hop);
}

void ReplicaChannel::finish(Operation& operation) {
    bdev::IoRequest& request = *std::exchange(operation.request, nullptr);
    const Status outcome = operation.inner.status;
    if (bdev::IoRequest* next = line_.pop_front()) {
        start(operation, *next);
    } else {
        operation.next_free = std::exchange(free_, &operation);
    }
    request.complete(outcome);
}

}  // namespace basalt::replication
