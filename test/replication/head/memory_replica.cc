#include "test/replication/head/memory_replica.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "bdev/store/checksum.h"

namespace basalt::replication::test {

namespace {

constexpr BlockBuffers::Counts kCounts{.small = 256, .large = 64};

}  // namespace

MemoryReplica::MemoryReplica(Reactor& here,
                             const Settings& settings,
                             ReplicaDisk& disk,
                             uint64_t delay_max_ns)
    : here_(here),
      settings_(settings),
      disk_(disk),
      delay_max_ns_(delay_max_ns),
      core_(std::make_unique<ReplicaCore>(settings, disk.state)),
      region_(BlockBuffers::region_bytes(kCounts)),
      buffers_(region_, kCounts),
      lists_(settings),
      // Another life, another name: nobody takes this connection for one of before.
      connections_(here.random().below(1U << 30)) {}

MemoryReplica::~MemoryReplica() {
    for (Step& step : steps_) {
        here_.stop_timer(step.timer);
    }
}

uint64_t MemoryReplica::connect(ReplyPort& port) {
    ports_[++connections_] = &port;
    return connections_;
}

/// What has not arrived at one that stands still is lost with the connection, as in a network; else
/// it may arrive later than what comes on the next one.
void MemoryReplica::disconnect(uint64_t connection) {
    ports_.erase(connection);
    for (Step& step : steps_) {
        if (is_stopped_ && step.kind == Step::Kind::kArrive && step.connection == connection) {
            step.is_lost = true;
            step.data.reset();
        }
    }
}

MemoryReplica::Step& MemoryReplica::later(Step::Kind kind, uint64_t not_before_ns) {
    Step& step = steps_.emplace_back();
    step.kind = kind;
    step.self = this;
    step.at = std::prev(steps_.end());
    step.timer.set(
        [](Timer&, void* context) {
            auto& due = *static_cast<Step*>(context);
            due.self->run(due);
        },
        &step);
    const uint64_t now_ns = here_.now_ns();
    const uint64_t at_ns =
        std::max(not_before_ns, now_ns + here_.random().below(delay_max_ns_) + 1);
    here_.start_timer(step.timer, at_ns - now_ns);
    return step;
}

void MemoryReplica::take(uint64_t connection, const Message& message, BlockRef data) {
    Step& step = later(Step::Kind::kArrive, last_arrival_ns_);
    last_arrival_ns_ = step.timer.deadline_ns();
    step.connection = connection;
    step.message = message;
    step.window.assign(message.window.begin(), message.window.end());
    if (message.dirty != nullptr) {
        step.dirty = *message.dirty;
        step.message.dirty = &step.dirty;
    }
    step.message.window = step.window;
    step.data = std::move(data);
}

void MemoryReplica::run(Step& step) {
    if (is_stopped_) {
        here_.start_timer(step.timer, kNsPerMs);
        return;
    }
    switch (step.kind) {
        case Step::Kind::kArrive:
            if (step.is_lost) {
                break;
            }
            step.message.connection = step.connection;
            step.message.data = ++names_;
            if (step.data.is_valid()) {
                data_[names_] = std::move(step.data);
            }
            perform(core_->apply(step.message));
            break;
        case Step::Kind::kDone: finish(step.action); break;
        case Step::Kind::kAnswer: {
            const auto port = ports_.find(step.connection);
            if (port != ports_.end()) {
                port->second->reply(step.reply, std::move(step.data));
            }
            break;
        }
    }
    steps_.erase(step.at);
}

void MemoryReplica::perform(ReplicaCore::Actions actions) {
    for (const ReplicaAction& action : actions) {
        if (action.kind != ReplicaAction::Kind::kReply) {
            later(Step::Kind::kDone, 0).action = action;
            continue;
        }
        Step& step = later(Step::Kind::kAnswer, last_answer_ns_);
        last_answer_ns_ = step.timer.deadline_ns();
        data_.erase(action.message.data);
        step.connection = action.reply.connection;
        step.reply = action.reply;
        step.window.assign(action.reply.window.begin(), action.reply.window.end());
        step.reply.window = step.window;
        if (action.reply.dirty != nullptr) {
            step.dirty = *action.reply.dirty;
            step.reply.dirty = &step.dirty;
        }
        const auto data = read_.find(action.reply.id);
        if (data != read_.end()) {
            step.data = std::move(data->second);
            read_.erase(data);
        }
    }
}

Errc MemoryReplica::load(const Message& message, BlockRef& data, uint64_t& digest) {
    data = buffers_.try_take(message.range.count);
    BASALT_ASSERT(data.is_valid());
    std::memcpy(data.bytes().data(),
                disk_.bytes.data() + message.range.first * kBlockBytes,
                data.bytes().size());
    for (uint32_t i = 0; i < message.range.count; ++i) {
        if (disk_.bad.count(message.range.first + i) != 0) {
            return Errc::kDataCorrupt;
        }
        data.sums()[i] =
            bdev::store::crc32c(data.bytes().subspan(size_t{i} * kBlockBytes, kBlockBytes));
        digest = digest * 1099511628211U + data.sums()[i];
    }
    return Errc::kOk;
}

void MemoryReplica::finish(const ReplicaAction& action) {
    const Message& message = action.message;
    if (action.kind == ReplicaAction::Kind::kLoad) {
        BlockRef data;
        uint64_t digest = 1;
        const Errc status = load(message, data, digest);
        if (status == Errc::kOk) {
            read_[message.id] = std::move(data);
        }
        perform(core_->loaded(action.slot, status, digest));
        return;
    }
    commit(message, action.blocks, action.draws_line);
    const auto actions = core_->stored(action.slot, Errc::kOk);
    disk_.state = core_->state();
    perform(actions);
}

void MemoryReplica::commit(const Message& message, uint64_t blocks, bool draws_line) {
    const bool is_write = message.kind == MessageKind::kWrite;
    if (draws_line) {
        disk_.snapshots[message.number] = disk_.bytes;
    } else if (message.kind == MessageKind::kDropLine) {
        disk_.snapshots.erase(message.number);
    }
    if (!is_write && message.kind != MessageKind::kCopy) {
        return;
    }
    writes_ += uint64_t{is_write};
    const auto data = data_.find(message.data);
    for (uint32_t i = 0; i < message.range.count; ++i) {
        if (((blocks >> i) & 1U) == 0) {
            continue;
        }
        blocks_copied_ += uint64_t{!is_write};
        disk_.bad.erase(message.range.first + i);
        std::byte* to = disk_.bytes.data() + (message.range.first + i) * kBlockBytes;
        if (data == data_.end()) {
            BASALT_ASSERT(is_write && message.write != WriteKind::kData);
            std::memset(to, 0, kBlockBytes);
        } else {
            const auto from = data->second.bytes().subspan(size_t{i} * kBlockBytes, kBlockBytes);
            // As a store does: what has been damaged on the way is not taken.
            BASALT_ASSERT(bdev::store::crc32c(from) == data->second.sums()[i]);
            std::memcpy(to, from.data(), kBlockBytes);
        }
    }
}

void MemoryReplica::die() {
    const std::map<uint64_t, ReplyPort*> ports = std::exchange(ports_, {});
    for (const auto& [connection, port] : ports) {
        port->replica_gone(*this, connection);
    }
    for (Step& step : steps_) {
        here_.stop_timer(step.timer);
        if (step.kind == Step::Kind::kDone && step.action.kind == ReplicaAction::Kind::kStore &&
            here_.random().chance(1, 2)) {
            commit(step.action.message, step.action.blocks, step.action.draws_line);
            static_cast<void>(core_->stored(step.action.slot, Errc::kOk));
            disk_.state = core_->state();
        }
    }
    steps_.clear();
    data_.clear();
    read_.clear();
}

}  // namespace basalt::replication::test
