// What goes wrong with the simulated volume, and what must hold in the end.

#include <fmt/format.h>

#include "test/replication/core/world.h"

namespace basalt::replication::test {

/// The old head reaches one replica alone, and the new one all others.
void World::split(uint32_t replica) {
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        cut(i == replica ? 1 - map_head_ : map_head_, i);
    }
}

void World::fault() {
    const auto replica = static_cast<uint32_t>(random_.below(settings_.replicas));
    const auto head = static_cast<uint32_t>(random_.below(kHeads));
    switch (random_.below(12)) {
        case 0: crash(replica); return;
        case 1:
        case 2: restart(replica); return;
        case 3: cut(head, replica); return;
        case 4:
        case 5:
        case 6: connect(head, replica); return;
        case 7:
            if (options_.has_two_heads && options_.has_failovers && chance(700)) {
                if (chance(500)) {
                    split(replica);
                }
                grant(1 - map_head_);
            }
            return;
        case 8:
            if (options_.has_failovers && chance(300)) {
                kill_head(head);
            }
            return;
        case 9: stores_[replica].is_stopped = !stores_[replica].is_stopped; return;
        case 10:
            if (options_.has_wipes && chance(200)) {
                wipe(replica);
            }
            return;
        default: break;
    }
    // One copy of what is older than any window rots.
    const uint64_t block = random_.below(settings_.blocks);
    Store& store = stores_[0];
    if (!options_.has_wipes && store.is_up &&
        store.core->state().window.newest({block, 1}).is_none()) {
        store.bad.insert(block);
    }
}

void World::heal() {
    is_healing_ = true;
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        restart(i);
        stores_[i].is_stopped = false;
        for (uint32_t head = 0; head < kHeads; ++head) {
            connect(head, i);
        }
    }
}

bool World::has_converged() {
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        connect(map_head_, i);
    }
    Head& head = heads_[map_head_];
    if (head.core->state() == HeadCore::State::kIdle) {
        head.wants_epoch = true;
    }
    if (head.core->state() != HeadCore::State::kOpen || head.core->epoch() != map_epoch_ ||
        head.core->live() != ReplicaSet::all(settings_.replicas) || head.core->ops() != 0 ||
        !head.host_ops.empty() || !requests_.empty()) {
        return false;
    }
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        if (stores_[i].core->state().fence != map_epoch_ || !stores_[i].pending.empty()) {
            return false;
        }
    }
    return true;
}

void World::check_end() {
    const std::vector<uint64_t>& first = stores_[0].disk;
    for (const Store& store : stores_) {
        if (store.disk != first) {
            violate("the replicas are not the same in the end");
        }
    }
    for (uint64_t block = 0; block < settings_.blocks; ++block) {
        if (number_of(first[block]) < told_[block]) {
            violate(fmt::format("block {} lost {}", block, text_of(told_[block])));
        }
    }
    for (const Line& line : lines_) {
        const std::vector<uint64_t>* cut = nullptr;
        for (const Store& store : stores_) {
            const auto found = store.snapshots.find(line.number);
            if (found == store.snapshots.end()) {
                if (line.number > store.core->state().history_after) {
                    violate(fmt::format("snapshot {} is missing", text_of(line.number)));
                }
                continue;
            }
            if (cut != nullptr && *cut != found->second) {
                violate(
                    fmt::format("snapshot {} is not the same everywhere", text_of(line.number)));
            }
            cut = &found->second;
            for (uint64_t block = 0; block < settings_.blocks; ++block) {
                const OpNumber number = number_of((*cut)[block]);
                if (number > line.number || number < line.floor[block]) {
                    violate(fmt::format("snapshot {} is no cut", text_of(line.number)));
                }
            }
        }
    }
}

}  // namespace basalt::replication::test
