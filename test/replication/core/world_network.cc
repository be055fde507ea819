// The simulated volume's network: what is sent, when and where it arrives.

#include <fmt/format.h>

#include "test/replication/core/world.h"

namespace basalt::replication::test {

void World::cut(uint32_t head, uint32_t replica) {
    Link& link = heads_[head].links[replica];
    if (!link.is_up) {
        return;
    }
    link.is_up = false;
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
        // What was sent may come later than what the next connection brings, or never.
        for (WireMessage& message : link.out[lane]) {
            if (stores_[replica].is_up && chance(300)) {
                stores_[replica].ghosts.push_back(std::move(message));
            }
        }
        link.out[lane].clear();
        link.back[lane].clear();
    }
    give(head, {.kind = HeadEvent::Kind::kLinkDown, .replica = replica});
}

void World::connect(uint32_t head, uint32_t replica) {
    Link& link = heads_[head].links[replica];
    if (!link.is_up && stores_[replica].is_up) {
        link.is_up = true;
        link.connection = ++connections_;
        give(head, {.kind = HeadEvent::Kind::kLinkUp, .replica = replica});
    }
}

bool World::deliver_something() {
    const uint64_t start = random_.below(uint64_t{kHeads} * kReplicasMax * kLanes * 2);
    for (uint32_t turn = 0; turn < kHeads * kReplicasMax * kLanes * 2; ++turn) {
        const auto at =
            static_cast<uint32_t>((start + turn) % (kHeads * kReplicasMax * kLanes * 2));
        const uint32_t head = at % kHeads;
        const uint32_t replica = at / kHeads % kReplicasMax;
        const uint32_t lane = at / kHeads / kReplicasMax % kLanes;
        if (replica >= settings_.replicas) {
            continue;
        }
        if (at / kHeads / kReplicasMax / kLanes == 0) {
            if (deliver_to(head, replica, lane)) {
                return true;
            }
        } else if (!heads_[head].links[replica].back[lane].empty()) {
            deliver_back(head, replica, lane);
            return true;
        }
    }
    return false;
}

bool World::deliver_to(uint32_t head, uint32_t replica, uint32_t lane) {
    Store& store = stores_[replica];
    auto& queue = heads_[head].links[replica].out[lane];
    if (!store.is_up || store.is_stopped) {
        return false;
    }
    WireMessage wire;
    if (!store.ghosts.empty() && chance(200)) {
        const size_t index = random_.below(store.ghosts.size());
        wire = std::move(store.ghosts[index]);
        store.ghosts.erase(store.ghosts.begin() + static_cast<ptrdiff_t>(index));
    } else if (!queue.empty()) {
        wire = std::move(queue.front());
        queue.pop_front();
    } else {
        return false;
    }
    wire.message.window = wire.window;
    wire.message.dirty = wire.message.dirty != nullptr ? &wire.dirty : nullptr;
    wire.message.data = ++tags_;
    store.data[wire.message.data] = std::move(wire.data);
    if (options_.is_loud) {
        fmt::print(stderr, "{} gets {}\n", replica, text_of(wire.message));
    }
    perform(replica, store.core->apply(wire.message));
    return true;
}

void World::perform(uint32_t replica, ReplicaCore::Actions actions) {
    Store& store = stores_[replica];
    for (const ReplicaAction& action : actions) {
        if (options_.is_loud && action.kind == ReplicaAction::Kind::kReply) {
            fmt::print(stderr,
                       "{} answers kind {} {} status {}\n",
                       replica,
                       static_cast<int>(action.reply.kind),
                       text_of(action.reply.number),
                       static_cast<int>(action.reply.status));
        }
        if (action.kind != ReplicaAction::Kind::kReply) {
            store.pending.push_back(action);
            continue;
        }
        WireReply wire;
        wire.reply = action.reply;
        wire.window.assign(action.reply.window.begin(), action.reply.window.end());
        if (action.reply.dirty != nullptr) {
            wire.dirty = *action.reply.dirty;
        }
        if (action.reply.status == Errc::kOk && store.data.count(~action.reply.id) != 0) {
            wire.data = store.data[~action.reply.id];
        }
        store.data.erase(~action.reply.id);
        for (Head& head : heads_) {
            Link& link = head.links[replica];
            if (link.is_up && link.connection == action.reply.connection) {
                link.back[random_.below(kLanes)].push_back(std::move(wire));
                break;
            }
        }
    }
}

void World::deliver_back(uint32_t head, uint32_t replica, uint32_t lane) {
    auto& queue = heads_[head].links[replica].back[lane];
    WireReply wire = std::move(queue.front());
    queue.pop_front();
    wire.reply.window = wire.window;
    wire.reply.dirty = wire.reply.dirty != nullptr ? &wire.dirty : nullptr;
    const bool has_data =
        wire.reply.kind == MessageKind::kRead || wire.reply.kind == MessageKind::kCopyRead;
    if (has_data) {
        heads_[head].data[wire.reply.id] = std::move(wire.data);
    }
    give(head, {.kind = HeadEvent::Kind::kReply, .replica = replica, .reply = &wire.reply});
}

}  // namespace basalt::replication::test
