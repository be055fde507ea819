#include "test/replication/core/world.h"

#include <fmt/format.h>

namespace basalt::replication::test {

namespace {

constexpr uint32_t kHealSteps = 30'000;

}  // namespace

std::string text_of(OpNumber number) {
    return fmt::format("{}.{}", number.epoch.raw(), number.count);
}

std::string text_of(const Message& message) {
    constexpr std::array<const char*, 10> kNames{"write",
                                                 "read",
                                                 "trim",
                                                 "fence",
                                                 "settle",
                                                 "carry on",
                                                 "join",
                                                 "copy read",
                                                 "copy",
                                                 "joined"};
    return fmt::format("{} {} blocks {}+{} epoch {} tenure {} session {} watermark {} as of {}",
                       kNames[static_cast<size_t>(message.kind)],
                       text_of(message.number),
                       message.range.first,
                       message.range.count,
                       message.epoch.raw(),
                       message.tenure.raw(),
                       message.session,
                       text_of(message.watermark),
                       text_of(message.as_of));
}

World::World(const WorldOptions& options)
    : options_(options),
      settings_(options.settings),
      random_(options.seed),
      stores_(options.settings.replicas),
      map_set_(ReplicaSet::all(options.settings.replicas)),
      numbers_(1),
      ranges_(1),
      told_(options.settings.blocks),
      is_voided_(1) {
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        stores_[i].disk.resize(settings_.blocks);
        stores_[i].durable = std::make_unique<ReplicaState>(settings_);
        restart(i);
    }
    for (Head& head : heads_) {
        head.core = std::make_unique<HeadCore>(settings_, options_.mistakes);
    }
}

void World::violate(const std::string& what) {
    if (result_.violation.empty()) {
        result_.violation = fmt::format("seed {}: {}", options_.seed, what);
    }
}

OpNumber World::number_of(uint64_t value) const {
    return numbers_[value];
}

WorldResult World::run() {
    for (uint32_t head = 0; head < kHeads; ++head) {
        for (uint32_t i = 0; i < settings_.replicas; ++i) {
            connect(head, i);
        }
    }
    grant(0);
    for (uint32_t i = 0; i < options_.steps && result_.violation.empty(); ++i) {
        step();
    }
    heal();
    for (uint32_t i = 0; i < kHealSteps && result_.violation.empty(); ++i) {
        step();
        if (i % 16 == 0 && has_converged()) {
            check_end();
            return result_;
        }
    }
    const HeadCore& core = *heads_[map_head_].core;
    std::string replicas;
    for (const Store& store : stores_) {
        const ReplicaState& state = store.core->state();
        replicas += fmt::format(" [fence {} agreed {} joining {} blank {} under way {}]",
                                state.fence.raw(),
                                state.agreed.raw(),
                                state.joining.raw(),
                                state.is_blank,
                                store.pending.size());
    }
    violate(fmt::format(
        "the replicas never became the same: map {} by {} set {:x}, head {} epoch "
        "{} set {:x} live {:x} joining {:x} ops {} to copy {} hosts {} requests {} dirty {};{}",
        map_epoch_.raw(),
        map_head_,
        map_set_.bits(),
        static_cast<int>(core.state()),
        core.epoch().raw(),
        core.set().bits(),
        core.live().bits(),
        core.joining().bits(),
        core.ops(),
        core.blocks_to_copy(),
        heads_[map_head_].host_ops.size(),
        requests_.size(),
        core.blocks_dirty(),
        replicas));
    return result_;
}

void World::step() {
    now_us_ += random_.below(400);
    const uint64_t dice = random_.below(1000);
    result_.trace = result_.trace * 6364136223846793005U + dice + now_us_;
    if (!is_healing_ && dice < options_.fault_rate) {
        fault();
    } else if (dice < 120) {
        give(static_cast<uint32_t>(random_.below(kHeads)), {.kind = HeadEvent::Kind::kTick});
    } else if (dice < 180) {
        authority_does_something();
    } else if (dice < 330 && !is_healing_) {
        host_does_something(static_cast<uint32_t>(random_.below(kHeads)));
    } else if (dice < 580) {
        complete_something();
    } else if (!deliver_something()) {
        complete_something();
    }
}

}  // namespace basalt::replication::test
