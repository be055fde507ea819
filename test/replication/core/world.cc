#include "test/replication/core/world.h"

#include <algorithm>

#include <fmt/format.h>

namespace basalt::replication::test {

namespace {

constexpr uint64_t kLeaseUs = 40'000;
constexpr uint32_t kHealSteps = 30'000;

uint64_t digest_of(const std::vector<uint64_t>& data) {
    uint64_t digest = 1469598103934665603U;
    for (const uint64_t value : data) {
        digest = (digest ^ value) * 1099511628211U;
    }
    return digest;
}

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

}  // namespace

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

// ---- the network

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

// ---- the replicas

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
    if (message.write == WriteKind::kBarrier && message.kind == MessageKind::kWrite) {
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

// ---- the heads

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
        case HeadAction::Kind::kForgetWrite: return;
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

// ---- the authority

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

// ---- what goes wrong, and how it ends

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
            if (found == store.snapshots.end() ||
                store.core->state().history_after >= line.number) {
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
