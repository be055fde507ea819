// The simulated volume's map authority, and what must hold when a head opens.

#include <fmt/format.h>

#include "test/replication/core/world.h"

namespace basalt::replication::test {

namespace {

constexpr uint64_t kLeaseUs = 40'000;

}  // namespace

void World::grant(uint32_t index) {
    map_epoch_ = Epoch(map_epoch_.raw() + 1);
    map_head_ = index;
    heads_[index].wants_epoch = false;
    give(index, {.kind = HeadEvent::Kind::kGranted, .epoch = map_epoch_, .set = map_set_});
}

void World::authority_does_something() {
    const uint32_t some = static_cast<uint32_t>(random_.below(kHeads));
    if (heads_[some].wants_epoch && map_head_ == some && chance(400)) {
        grant(some);
        return;
    }
    if (lease_head_ == map_head_ && heads_[map_head_].core->state() == HeadCore::State::kOpen &&
        heads_[map_head_].core->epoch() == map_epoch_ && chance(600)) {
        lease_until_us_ = now_us_ + kLeaseUs;
        give(map_head_, {.kind = HeadEvent::Kind::kLease, .lease_until_us = lease_until_us_});
        return;
    }
    if (requests_.empty()) {
        return;
    }
    Request& request = requests_.front();
    if (!request.is_decided) {
        const bool is_last = request.epoch == map_epoch_ && request.head == map_head_;
        if (is_last && request.is_open && lease_head_ != request.head &&
            now_us_ < lease_until_us_ && !options_.mistakes.has_no_lease) {
            return;  // When the lease of the head before is over.
        }
        request.is_decided = true;
        request.is_granted = is_last;
        if (is_last && request.is_open) {
            lease_head_ = request.head;
            lease_until_us_ = now_us_ + kLeaseUs;
        } else if (is_last) {
            map_epoch_ = Epoch(map_epoch_.raw() + 1);
            map_set_ = request.set;
            check_promise();
        }
        return;
    }
    const Request answer = request;
    if (options_.is_loud) {
        fmt::print(stderr,
                   "the authority answers head {}: epoch {} set {:x} granted {}\n",
                   answer.head,
                   answer.epoch.raw(),
                   answer.set.bits(),
                   answer.is_granted);
    }
    requests_.pop_front();
    if (answer.incarnation != heads_[answer.head].incarnation) {
        return;
    }
    // A head that has a later epoch asked in an earlier life of its own.
    if (heads_[answer.head].core->epoch() != answer.epoch) {
        return;
    }
    if (answer.is_open && answer.is_granted) {
        opened(answer.head);
    }
    give(answer.head,
         {.kind = answer.is_open ? HeadEvent::Kind::kOpenAnswer : HeadEvent::Kind::kSetAnswer,
          .is_granted = answer.is_granted,
          .lease_until_us = lease_until_us_});
}

/// What anybody was told is with so many replicas of the set that write_quorum - 1 of them may die.
void World::check_promise() {
    for (uint64_t block = 0; block < settings_.blocks; ++block) {
        uint32_t holders = wipes_;
        for (uint32_t i = 0; i < settings_.replicas; ++i) {
            holders +=
                uint32_t{map_set_.has(i) && number_of(stores_[i].disk[block]) >= told_[block]};
        }
        if (holders < settings_.write_quorum) {
            violate(fmt::format("block {}: only {} replicas of the new set have {}",
                                block,
                                holders,
                                text_of(told_[block])));
        }
    }
}

/// What a head begins without must never be seen again.
void World::opened(uint32_t index) {
    ++result_.openings;
    if (options_.is_loud) {
        fmt::print(stderr, "head {} opens {}\n", index, heads_[index].core->epoch().raw());
    }
    const HeadCore& core = *heads_[index].core;
    const Store* agreed = nullptr;
    for (const Store& store : stores_) {
        if (!store.is_up || store.core->state().agreed != core.epoch()) {
            continue;
        }
        if (agreed != nullptr && agreed->disk != store.disk) {
            std::string blocks;
            for (uint64_t block = 0; block < settings_.blocks; ++block) {
                if (agreed->disk[block] != store.disk[block]) {
                    blocks += fmt::format(" block {}: {} and {}",
                                          block,
                                          text_of(number_of(agreed->disk[block])),
                                          text_of(number_of(store.disk[block])));
                }
            }
            violate("replicas began together and are not the same:" + blocks);
        }
        agreed = &store;
    }
    if (agreed == nullptr) {
        return;
    }
    for (uint64_t value = 1; value < numbers_.size(); ++value) {
        if (numbers_[value].is_none() || numbers_[value].epoch >= core.epoch()) {
            continue;
        }
        for (uint64_t block = ranges_[value].first; block < ranges_[value].end(); ++block) {
            if (numbers_[value] > number_of(agreed->disk[block])) {
                is_voided_[value] = true;
            }
        }
    }
    for (uint64_t block = 0; block < settings_.blocks; ++block) {
        if (number_of(agreed->disk[block]) < told_[block]) {
            violate(fmt::format("block {} began with {}, {} had been told",
                                block,
                                text_of(number_of(agreed->disk[block])),
                                text_of(told_[block])));
        }
    }
}

}  // namespace basalt::replication::test
