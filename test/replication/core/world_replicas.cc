// The simulated volume's replicas: drives, crashes, what is durable.

#include <algorithm>

#include <fmt/format.h>

#include "test/replication/core/world.h"

namespace basalt::replication::test {

namespace {

uint64_t digest_of(const std::vector<uint64_t>& data) {
    uint64_t digest = 1469598103934665603U;
    for (const uint64_t value : data) {
        digest = (digest ^ value) * 1099511628211U;
    }
    return digest;
}

}  // namespace

void World::complete_something() {
    const auto replica = static_cast<uint32_t>(random_.below(settings_.replicas));
    Store& store = stores_[replica];
    if (store.is_up && !store.is_stopped && !store.pending.empty()) {
        complete(replica, random_.below(store.pending.size()), true);
    }
}

void World::commit(Store& store, const ReplicaAction& action) {
    const Message& message = action.message;
    const bool has_data = message.kind == MessageKind::kWrite || message.kind == MessageKind::kCopy;
    if (action.draws_line) {
        store.snapshots[message.number] = store.disk;
        return;
    }
    if (!has_data) {
        return;
    }
    if (message.epoch < store.core->state().fence) {
        violate(fmt::format("a write of epoch {} after the fence of {}",
                            message.epoch.raw(),
                            store.core->state().fence.raw()));
    }
    const std::vector<uint64_t>& data = store.data[message.data];
    for (uint32_t i = 0; i < message.range.count; ++i) {
        if (((action.blocks >> i) & 1U) != 0) {
            store.disk[message.range.first + i] = data[i];
            store.bad.erase(message.range.first + i);
        }
    }
}

/// Finishes one store or load. One that nobody hears of is part of a crash.
void World::complete(uint32_t replica, size_t index, bool is_heard) {
    Store& store = stores_[replica];
    const ReplicaAction action = store.pending[index];
    store.pending.erase(store.pending.begin() + static_cast<ptrdiff_t>(index));
    if (action.kind == ReplicaAction::Kind::kStore) {
        if (options_.is_loud) {
            fmt::print(stderr,
                       "{} stores {} mask {:x}\n",
                       replica,
                       text_of(action.message),
                       action.blocks);
        }
        commit(store, action);
        const auto actions = store.core->stored(action.slot, Errc::kOk);
        *store.durable = store.core->state();
        if (is_heard) {
            perform(replica, actions);
        }
    } else if (is_heard) {
        const BlockRange range = action.message.range;
        const auto first = store.disk.begin() + static_cast<ptrdiff_t>(range.first);
        std::vector<uint64_t> data(first, first + range.count);
        bool is_bad = false;
        for (uint64_t block = range.first; block < range.end(); ++block) {
            is_bad = is_bad || store.bad.count(block) != 0;
        }
        const uint64_t digest = digest_of(data);
        store.data[~action.message.id] = std::move(data);
        perform(replica,
                store.core->loaded(action.slot, is_bad ? Errc::kDataCorrupt : Errc::kOk, digest));
    }
    store.data.erase(action.message.data);
}

void World::crash(uint32_t replica) {
    Store& store = stores_[replica];
    if (!store.is_up) {
        return;
    }
    if (options_.is_loud) {
        fmt::print(stderr, "{} crashes\n", replica);
    }
    // Each store that was under way is durable or not, but nobody hears of it.
    std::vector<ReplicaAction> left = store.pending;
    store.pending.clear();
    for (const ReplicaAction& action : left) {
        if (action.kind == ReplicaAction::Kind::kStore && chance(500)) {
            store.pending.push_back(action);
            complete(replica, 0, false);
            store.pending.clear();
        }
    }
    store.is_up = false;
    store.core.reset();
    store.ghosts.clear();
    store.data.clear();
    for (uint32_t head = 0; head < kHeads; ++head) {
        cut(head, replica);
    }
    store.ghosts.clear();
}

void World::restart(uint32_t replica) {
    Store& store = stores_[replica];
    if (!store.is_up) {
        store.core = std::make_unique<ReplicaCore>(settings_, *store.durable, options_.mistakes);
        store.is_up = true;
        store.is_stopped = false;
    }
}

void World::wipe(uint32_t replica) {
    // The promise is about write_quorum - 1 deaths. With fewer left in the set than a beginning
    // needs it goes on only by somebody's decision, which is not simulated.
    uint32_t left = 0;
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        left += uint32_t{i != replica && map_set_.has(i) && !stores_[i].durable->is_blank};
    }
    if (wipes_ + 1 >= settings_.write_quorum || left < settings_.write_quorum ||
        !requests_.empty()) {
        return;
    }
    ++wipes_;
    crash(replica);
    Store& store = stores_[replica];
    *store.durable = ReplicaState(settings_);
    store.durable->is_blank = true;
    std::fill(store.disk.begin(), store.disk.end(), 0);
    store.snapshots.clear();
    store.bad.clear();
}

}  // namespace basalt::replication::test
