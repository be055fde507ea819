// The simulated volume's heads, and the hosts that ask them.

#include <algorithm>

#include <fmt/format.h>

#include "test/replication/core/world.h"

namespace basalt::replication::test {

void World::give(uint32_t index, HeadEvent event) {
    Head& head = heads_[index];
    event.now_us = now_us_;
    const auto actions = head.core->apply(event);
    const std::vector<HeadAction> copied(actions.begin(), actions.end());
    // First all that is sent: it points into the head, whom the next event changes.
    for (const HeadAction& action : copied) {
        if (action.kind == HeadAction::Kind::kSend) {
            send(index, action);
        }
    }
    for (const HeadAction& action : copied) {
        perform(index, action);
    }
}

void World::send(uint32_t index, const HeadAction& action) {
    Head& head = heads_[index];
    Link& link = head.links[action.replica];
    const Message& message = action.message;
    WireMessage wire;
    wire.message = message;
    wire.message.connection = link.connection;
    wire.window.assign(message.window.begin(), message.window.end());
    if (message.dirty != nullptr) {
        wire.dirty = *message.dirty;
    }
    if (message.kind == MessageKind::kWrite && message.write != WriteKind::kBarrier) {
        // An op that a beginning found is with everybody who is asked: it is never sent.
        wire.data.assign(message.range.count, message.data);
        numbers_[message.data] = message.number;
    } else if (message.kind == MessageKind::kCopy) {
        wire.data = head.data.at(message.data);
        result_.repairs += uint64_t{message.number.is_none() && head.core->joining().empty()};
    }
    if (link.is_up) {
        link.out[random_.below(kLanes)].push_back(std::move(wire));
    }
}

void World::perform(uint32_t index, const HeadAction& action) {
    Head& head = heads_[index];
    if (options_.is_loud && action.kind != HeadAction::Kind::kSend) {
        fmt::print(stderr,
                   "head {} does {}: replica {} tag {} status {} set {:x} epoch {}\n",
                   index,
                   static_cast<int>(action.kind),
                   action.replica,
                   action.tag,
                   static_cast<int>(action.status),
                   action.set.bits(),
                   action.epoch.raw());
    }
    switch (action.kind) {
        case HeadAction::Kind::kSend: return;
        case HeadAction::Kind::kAnswer: answered(index, action); return;
        case HeadAction::Kind::kLater: head.host_ops.erase(action.tag); return;
        case HeadAction::Kind::kRoom: return;
        case HeadAction::Kind::kAskSet:
            if (head.core->joining().empty()) {
                ++result_.drops;
            } else {
                ++result_.returns;
            }
            requests_.push_back({index, head.incarnation, false, action.epoch, action.set});
            return;
        case HeadAction::Kind::kAskOpen:
            requests_.push_back({index, head.incarnation, true, action.epoch, action.set});
            return;
        case HeadAction::Kind::kForgetWrite:
        case HeadAction::Kind::kLineDropped:
        case HeadAction::Kind::kMended: return;
        case HeadAction::Kind::kForgetRead: head.data.erase(action.data); return;
        case HeadAction::Kind::kResetLink:
            // The core has forgotten the link already, and does not mind to hear of it.
            cut(index, action.replica);
            return;
        case HeadAction::Kind::kSuperseded: head.wants_epoch = true; return;
    }
}

void World::host_does_something(uint32_t index) {
    Head& head = heads_[index];
    if (head.core->state() != HeadCore::State::kOpen) {
        return;
    }
    HostOp op;
    const uint64_t dice = random_.below(100);
    op.kind = dice < 55 ? HostOp::Kind::kWrite
                        : (dice < 97 ? HostOp::Kind::kRead : HostOp::Kind::kSnapshot);
    const uint64_t tag = ++tags_;
    HeadEvent event{.tag = tag};
    if (op.kind == HostOp::Kind::kSnapshot) {
        event.kind = HeadEvent::Kind::kSnapshot;
        op.floor = told_;
    } else {
        op.range.first = random_.below(settings_.blocks);
        op.range.count = static_cast<uint32_t>(
            1 + random_.below(std::min<uint64_t>(4, settings_.blocks - op.range.first)));
        op.floor.assign(told_.begin() + static_cast<ptrdiff_t>(op.range.first),
                        told_.begin() + static_cast<ptrdiff_t>(op.range.end()));
        event.kind =
            op.kind == HostOp::Kind::kWrite ? HeadEvent::Kind::kWrite : HeadEvent::Kind::kRead;
        event.range = op.range;
        if (op.kind == HostOp::Kind::kWrite) {
            op.value = numbers_.size();
            numbers_.emplace_back();
            ranges_.push_back(op.range);
            is_voided_.push_back(false);
            event.data = op.value;
        }
    }
    head.host_ops[tag] = op;
    give(index, event);
}

/// As a scrub does: block by block, at all replicas.
void World::look_closer(uint32_t index, BlockRange range) {
    for (uint64_t block = range.first; block < range.end(); ++block) {
        const uint64_t tag = ++tags_;
        heads_[index].host_ops[tag] = {.kind = HostOp::Kind::kRead,
                                       .range = {block, 1},
                                       .floor = {told_[block]},
                                       .compares_all = true};
        give(index,
             {.kind = HeadEvent::Kind::kRead,
              .tag = tag,
              .range = {block, 1},
              .compares_all = true});
    }
}

void World::answered(uint32_t index, const HeadAction& action) {
    Head& head = heads_[index];
    const auto found = head.host_ops.find(action.tag);
    if (found == head.host_ops.end()) {
        violate("an answer to nobody, or the second one");
        return;
    }
    const HostOp op = found->second;
    head.host_ops.erase(found);
    if (action.status == Errc::kDataCorrupt) {
        violate("a read found no copy that is right");
    }
    if (action.status != Errc::kOk) {
        return;
    }
    if (op.kind == HostOp::Kind::kSnapshot) {
        ++result_.snapshots;
        lines_.push_back({action.number, op.floor});
    } else if (op.kind == HostOp::Kind::kRead) {
        ++result_.reads;
        check_read(op, head.data.at(action.data));
        head.data.erase(action.data);
        if (!op.compares_all && !(action.different | action.unreadable).empty()) {
            look_closer(index, op.range);
        }
    } else {
        ++result_.acknowledged;
        for (uint32_t i = 0; i < op.range.count; ++i) {
            const uint64_t block = op.range.first + i;
            if (action.number <= op.floor[i]) {
                violate("a write was acknowledged below what had been told");
            }
            told_[block] = std::max(told_[block], action.number);
        }
        if (is_voided_[op.value]) {
            violate("a write was acknowledged without which a later head began");
        }
    }
}

void World::check_read(const HostOp& op, const std::vector<uint64_t>& data) {
    for (uint32_t i = 0; i < op.range.count; ++i) {
        const uint64_t block = op.range.first + i;
        const OpNumber number = number_of(data[i]);
        if (number < op.floor[i]) {
            violate(fmt::format("a read of block {} returned {}, older than {}",
                                block,
                                text_of(number),
                                text_of(op.floor[i])));
        }
        if (is_voided_[data[i]]) {
            violate(fmt::format("a read returned {}, without which a later head began",
                                text_of(number)));
        }
        told_[block] = std::max(told_[block], number);
    }
}

void World::kill_head(uint32_t index) {
    Head& head = heads_[index];
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        cut(index, i);
    }
    head.core = std::make_unique<HeadCore>(settings_, options_.mistakes);
    ++head.incarnation;
    head.host_ops.clear();
    head.data.clear();
    head.wants_epoch = map_head_ == index;
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        connect(index, i);
    }
}

}  // namespace basalt::replication::test
