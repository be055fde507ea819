#include "test/sim/replication/cluster_run.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace basalt::replication::test {

namespace {

constexpr uint64_t kSilenceNs = 60 * kNsPerMs;
constexpr uint64_t kLeaseUs = 80'000;
constexpr uint32_t kHosts = 10;
/// Blocks that rot before the last scrub: not all of them are in use any more.
constexpr uint32_t kRotInTheEnd = 20;
/// Blocks that another store has wrong then.
constexpr uint32_t kSpoiltInTheEnd = 30;
/// Nobody waits longer once the faults have ended.
constexpr uint64_t kLongestNs = 60 * kNsPerSecond;

/// What is slow, late or torn all the time. What silently changes data is left out: faults that a
/// replica can't survive alone are chosen by the run.
sim::FaultOptions background(uint64_t seed) {
    Random random(seed ^ 0x6261'636b);
    sim::FaultOptions faults;
    const auto sometimes = [&random](uint64_t most) {
        return random.chance(1, 2) ? random.below(most) : 0;
    };
    faults.message_jitter_ns = sometimes(20 * kNsPerUs);
    faults.network_jitter_ns = sometimes(1 * kNsPerMs);
    faults.segment_split_ppm = static_cast<uint32_t>(sometimes(200'000));
    faults.segment_loss_ppm = static_cast<uint32_t>(sometimes(500));
    faults.connection_cut_ppm = static_cast<uint32_t>(sometimes(200));
    faults.storage_jitter_ns = sometimes(1 * kNsPerMs);
    faults.storage_stall_ppm = static_cast<uint32_t>(sometimes(500));
    faults.storage_stall_ns = 40 * kNsPerMs;
    faults.reactor_pause_ppm = static_cast<uint32_t>(sometimes(200));
    faults.reactor_pause_ns_max = 5 * kNsPerMs;
    faults.crash_loss_ppm = static_cast<uint32_t>(random.below(1'000'001));
    return faults;
}

}  // namespace

void ClusterRunResult::add(const ClusterRunResult& other) {
    requests += other.requests;
    stale += other.stale;
    lost += other.lost;
    crashes += other.crashes;
    openings += other.openings;
    drops += other.drops;
    returns += other.returns;
    lines += other.lines;
    dropped_lines += other.dropped_lines;
    rotten += other.rotten;
    repairs += other.repairs;
    found += other.found;
}

Settings ClusterRun::settings_of(const ClusterRunOptions& options) {
    return {.replicas = options.replicas,
            .write_quorum = options.write_quorum,
            .read_quorum = options.seed % 5 == 0 ? 2U : 1U,
            .blocks = kBlocks,
            .distance = {0, 1, 1, 1, 1},
            .window_ops = 16,
            .reads = 8,
            .resync_copies = 2,
            .read_timeout_us = 40'000,
            .slow_us = 10'000,
            .drop_timeout_us = 120'000,
            .takeover_wait_us = 40'000};
}

ClusterRun::ClusterRun(const ClusterRunOptions& options)
    : options_(options),
      settings_(settings_of(options)),
      random_(options.seed * 77 + 5),
      scrub_random_(options.seed * 99 + 7),
      line_random_(options.seed * 111 + 9),
      world_(options.seed, background(options.seed)),
      authority_(world_, options.replicas, kLeaseUs, 300 * kNsPerUs),
      hosts_(kHosts),
      faults_(options.faults),
      rotten_store_(static_cast<uint32_t>(options.seed % options.replicas)),
      history_(kBlocks) {
    for (uint32_t i = 0; i < options.replicas; ++i) {
        stores_.push_back(std::make_unique<StoreMachine>(
            world_,
            StoreMachineOptions{.index = i,
                                .cores = options.seed % 4 == 0 ? 2U : 1U,
                                .settings = settings_,
                                .silence_ns = kSilenceNs,
                                .mistakes = options.mistakes,
                                .store_mistakes = options.store_mistakes}));
    }
    for (uint32_t i = 0; i < options.heads; ++i) {
        heads_.push_back(std::make_unique<HeadMachine>(
            world_,
            authority_,
            stores_,
            HeadMachineOptions{
                .settings = settings_, .silence_ns = kSilenceNs, .mistakes = options.mistakes}));
    }
    for (uint32_t i = 0; i < kFaultKinds && options.faults.empty(); ++i) {
        if (random_.chance(1, 2)) {
            faults_.push_back(static_cast<Fault>(i));
        }
    }
}

ClusterRun::~ClusterRun() {
    for (uint32_t i = 0; i < heads_.size(); ++i) {
        if (heads_[i]->is_on()) {
            crash_head(i, sim::Crash::kPowerLoss);
        }
    }
    heads_.clear();
    stores_.clear();
}

ClusterRunResult ClusterRun::run() {
    set_up();
    if (result_.problem.empty()) {
        live();
    }
    stop_faults();
    finish();
    result_.trace = world_.trace_hash();
    return result_;
}

void ClusterRun::fail(const std::string& why) {
    if (result_.problem.empty()) {
        result_.problem = why;
    }
}

void ClusterRun::set_up() {
    for (const auto& store : stores_) {
        store->create(ReplicaOrigin::kNewVolume);
    }
    if (wait(&ClusterRun::are_all_serving, kLongestNs, "a store is never made")) {
        for (const auto& head : heads_) {
            head->boot(Claim::kIfFree);
        }
    }
}

void ClusterRun::live() {
    for (uint32_t step = 0; step < options_.steps && result_.problem.empty(); ++step) {
        for (Host& host : hosts_) {
            if ((host.io == nullptr || host.io->is_done) && random_.chance(1, 3)) {
                submit(host);
            }
        }
        if (random_.chance(options_.faults_in_thousand, 1000)) {
            fault();
        }
        // By chance of its own, so that a seed does the same with and without.
        if (options_.scrubs && scrub_random_.chance(1, 40)) {
            scrub();
        }
        if (!lines_.empty() && line_random_.chance(1, 30)) {
            // The newest, which may still be on its way to somebody, as often as any other.
            const uint64_t line =
                line_random_.chance(1, 2) ? lines_.size() - 1 : line_random_.below(lines_.size());
            doomed_.push_back(lines_[line].number);
            lines_.erase(lines_.begin() + static_cast<ptrdiff_t>(line));
        }
        drop_lines();
        go_on();
        world_.run_for(random_.below(4 * kNsPerMs));
    }
}

/// Beside all that goes on; ends with its head, or when another one has the volume.
void ClusterRun::scrub() {
    const uint32_t head = open_head();
    if (head < heads_.size() && !heads_[head]->scrubber().state().is_running) {
        BASALT_ASSERT(heads_[head]->scrubber().start(1'000'000 + scrub_random_.below(20'000'000)));
    }
}

/// As whoever has the list of a volume's snapshots does. True: all that were to go are gone.
bool ClusterRun::drop_lines() {
    const uint32_t head = open_head();
    while (!doomed_.empty() && head < heads_.size()) {
        const OpNumber line = doomed_.front();
        if (heads_[head]->head().drop_line(line) != ReplicaSet::all(settings_.replicas)) {
            break;
        }
        dropped_.push_back(line);
        doomed_.erase(doomed_.begin());
    }
    return doomed_.empty();
}

/// Machines that boot do their next step.
void ClusterRun::go_on() {
    for (const auto& store : stores_) {
        store->go_on();
        if (store->state() == StoreMachine::State::kBroken) {
            fail(store->problem());
        }
    }
}

bool ClusterRun::wait(bool (ClusterRun::*is_so)(), uint64_t limit_ns, const char* why) {
    const uint64_t end_ns = world_.now_ns() + limit_ns;
    while (!(this->*is_so)() && result_.problem.empty()) {
        if (world_.now_ns() >= end_ns) {
            fail(fmt::format("{}{}", why, describe_heads()));
            break;
        }
        world_.run_for(kNsPerMs / 2);
        go_on();
    }
    return result_.problem.empty();
}

// ---- hosts

void ClusterRun::submit(Host& host) {
    host.head = static_cast<uint32_t>(random_.below(heads_.size()));
    if (!heads_[host.head]->is_on()) {
        return;
    }
    if (host.io == nullptr) {
        host.io = std::make_unique<HostIo>();
    }
    host.run = this;
    host.value = 0;
    host.begin_ns = world_.now_ns();
    prepare(host);
    host.io->context = &host;
    host.io->on_end = [](HostIo&, void* context) {
        Host& host_of = *static_cast<Host*>(context);
        host_of.run->ended(host_of);
    };
    host.io->submit(heads_[host.head]->head());
}

void ClusterRun::prepare(Host& host) {
    const uint64_t dice = random_.below(100);
    const uint64_t first = random_.chance(1, 2) ? random_.below(12) : random_.below(kBlocks);
    const uint64_t most = random_.chance(1, 12) ? 200 : 6;
    const uint64_t count = 1 + random_.below(std::min(most, kBlocks - first));
    if (dice < 45) {
        host.value = history_.begin_write(first, count, host.begin_ns, false);
        host.io->prepare(HeadOp::kWrite, first, count, host.value);
    } else if (dice < 55) {
        host.value = history_.begin_write(first, count, host.begin_ns, true);
        host.io->prepare(
            random_.chance(1, 2) ? HeadOp::kUnmap : HeadOp::kWriteZeroes, first, count);
    } else if (dice < 56) {
        host.io->prepare(HeadOp::kSnapshot, 0, 0);
    } else {
        host.io->prepare(HeadOp::kRead, first, count, 0xeeee);
    }
}

void ClusterRun::ended(Host& host) {
    const HeadRequest& request = host.io->request;
    const uint64_t now_ns = world_.now_ns();
    if (!request.status) {
        ++result_.stale;
        // What rots on the only replica that can be reached is not there to be read.
        const bool may_be =
            request.status == Errc::kStaleEpoch ||
            (has_rot_ && request.op == HeadOp::kRead && request.status == Errc::kDataCorrupt);
        if (!may_be) {
            fail(fmt::format("a host gets {}", describe(request.status.error().code)));
        }
        return;
    }
    ++result_.requests;
    if (host.value != 0) {
        history_.end_write(host.value, now_ns);
    }
    if (request.op == HeadOp::kSnapshot) {
        lines_.push_back({request.generation, host.begin_ns, now_ns});
    }
    for (uint64_t i = 0; request.op == HeadOp::kRead && i < request.count; ++i) {
        const std::string why =
            history_.check_read(request.first + i, host.io->value_of(i), host.begin_ns, now_ns);
        if (!why.empty()) {
            fail(why);
        }
    }
}

/// The hosts hear no more of them.
void ClusterRun::forget_requests_of(uint32_t head) {
    for (Host& host : hosts_) {
        if (host.io != nullptr && host.head == head && !host.io->is_done) {
            host.io.reset();
            ++result_.lost;
        }
    }
}

// ---- faults

sim::NodeId ClusterRun::any_store() {
    return stores_[random_.below(stores_.size())]->node;
}

sim::NodeId ClusterRun::any_head() {
    return heads_[random_.below(heads_.size())]->node;
}

void ClusterRun::crash_store(StoreMachine& store, sim::Crash how) {
    if (store.state() != StoreMachine::State::kOff) {
        store.crash(how);
        ++result_.crashes;
    }
}

void ClusterRun::crash_head(uint32_t head, sim::Crash how) {
    if (heads_[head]->is_on()) {
        add_statistics(head);
        heads_[head]->crash(how);
        forget_requests_of(head);
    }
}

void ClusterRun::fault() {
    const uint64_t choice = random_.below(faults_.size() * 3 + 2);
    if (choice < faults_.size()) {
        do_fault(faults_[choice]);
    } else {
        heal_some();
    }
}

void ClusterRun::do_fault(Fault kind) {
    const auto head = static_cast<uint32_t>(random_.below(heads_.size()));
    StoreMachine& store = *stores_[random_.below(stores_.size())];
    sim::Fabric& network = world_.network();
    switch (kind) {
        case Fault::kStorePower: crash_store(store, sim::Crash::kPowerLoss); return;
        case Fault::kStoreProcess: crash_store(store, sim::Crash::kProcess); return;
        case Fault::kBlackout:
            for (const auto& each : stores_) {
                crash_store(*each, sim::Crash::kPowerLoss);
            }
            return;
        case Fault::kHeadPower: crash_head(head, sim::Crash::kPowerLoss); return;
        case Fault::kHeadProcess: crash_head(head, sim::Crash::kProcess); return;
        case Fault::kTakeOver:
            if (heads_[head]->is_on()) {
                heads_[head]->head().take_over();
            }
            return;
        case Fault::kAuthorityAway:
            if (heads_[head]->is_on()) {
                heads_[head]->set_away(true);
            }
            return;
        case Fault::kOneWay: {
            const sim::NodeId from = any_head();
            const sim::NodeId to = any_store();
            random_.chance(1, 2) ? network.partition(from, to) : network.partition(to, from);
            return;
        }
        case Fault::kBothWays: world_.partition_both_ways(any_head(), any_store()); return;
        case Fault::kConnectionsCut:
            network.cut_connections(random_.chance(1, 2) ? any_head() : any_store());
            return;
        case Fault::kHeadAndStore: crash_head_and_store(store); return;
        case Fault::kOldHead: make_old_head(store); return;
        case Fault::kSlowDrive:
            store.slow_down(random_.chance(1, 2) ? 1 + random_.below(20'000) : 0);
            return;
        case Fault::kRot: rot(); return;
    }
}

/// One of those that are open; as many as there are heads: none is.
uint32_t ClusterRun::open_head() const {
    uint32_t head = 0;
    while (head < heads_.size() && !heads_[head]->is_open()) {
        ++head;
    }
    return head;
}

void ClusterRun::take_over_from(uint32_t head) {
    for (uint32_t i = 1; i < heads_.size(); ++i) {
        HeadMachine& other = *heads_[(head + i) % heads_.size()];
        if (other.is_on()) {
            other.head().take_over();
            return;
        }
    }
}

void ClusterRun::crash_head_and_store(StoreMachine& store) {
    const uint32_t head = open_head();
    if (head < heads_.size()) {
        crash_store(store, sim::Crash::kPowerLoss);
        crash_head(head, sim::Crash::kPowerLoss);
        take_over_from(head);
        authority_.notice_death();
    }
}

void ClusterRun::make_old_head(StoreMachine& store) {
    const uint32_t head = open_head();
    if (head < heads_.size()) {
        heads_[head]->set_away(true);
        take_over_from(head);
        // The new one does not reach every replica that the old one does.
        if (heads_.size() > 1 && random_.chance(1, 2)) {
            world_.partition_both_ways(heads_[(head + 1) % heads_.size()]->node, store.node);
        }
    }
}

/// While the others have all that this one has.
void ClusterRun::rot() {
    const uint32_t head = open_head();
    if (head < heads_.size() && authority_.set() == ReplicaSet::all(settings_.replicas) &&
        heads_[head]->head().statistics().live == authority_.set() &&
        stores_[rotten_store_]->rot(random_)) {
        has_rot_ = true;
        ++result_.rotten;
    }
}

void ClusterRun::heal_some() {
    for (const auto& store : stores_) {
        if (store->state() == StoreMachine::State::kOff && random_.chance(2, 3)) {
            store->boot();
        }
    }
    for (const auto& head : heads_) {
        if (!head->is_on() && random_.chance(2, 3)) {
            head->boot(random_.chance(1, 3) ? Claim::kTakeOver : Claim::kIfFree);
        } else if (head->is_on() && random_.chance(2, 3)) {
            head->set_away(false);
        }
    }
    if (random_.chance(1, 2)) {
        world_.network().heal_all();
    }
    if (random_.chance(1, 2)) {
        authority_.notice_death();
    }
}

void ClusterRun::stop_faults() {
    world_.network().heal_all();
    sim::FaultOptions& faults = world_.faults();
    faults.connection_cut_ppm = faults.segment_loss_ppm = faults.storage_stall_ppm = 0;
    for (const auto& store : stores_) {
        if (store->state() == StoreMachine::State::kOff) {
            store->boot();
        } else if (store->state() == StoreMachine::State::kServing) {
            store->slow_down(0);
        }
    }
    for (const auto& head : heads_) {
        if (!head->is_on()) {
            head->boot(Claim::kIfFree);
        }
        head->set_away(false);
    }
    authority_.notice_death();
}

// ---- the end

bool ClusterRun::are_all_serving() {
    return std::all_of(stores_.begin(), stores_.end(), [](const auto& store) {
        return store->state() == StoreMachine::State::kServing;
    });
}

bool ClusterRun::are_all_answered() {
    return std::all_of(hosts_.begin(), hosts_.end(), [](const Host& host) {
        return host.io == nullptr || host.io->is_done;
    });
}

/// One head is open, with all replicas, and nothing is under way.
bool ClusterRun::has_settled() {
    uint32_t open = 0;
    for (const auto& head : heads_) {
        if (head->is_open()) {
            ++open;
            if (head->head().statistics().live != ReplicaSet::all(settings_.replicas) ||
                !head->head().is_at_rest()) {
                return false;
            }
        }
    }
    return open == 1;
}

std::string ClusterRun::describe_heads() const {
    std::string all;
    for (const auto& head : heads_) {
        if (head->is_on()) {
            const HeadStatistics now = head->head().statistics();
            all += fmt::format(
                "; state {}, epoch {}, other {}, live {:#x}, joining {:#x}, {} "
                "requests, {} ops, {} blocks to copy, {} dirty",
                static_cast<int>(now.state),
                now.epoch.raw(),
                now.is_other_chosen,
                now.live.bits(),
                now.joining.bits(),
                now.requests_waiting,
                now.ops,
                now.blocks_to_copy,
                now.blocks_dirty);
        }
    }
    return all;
}

void ClusterRun::finish() {
    const bool is_well =
        wait(&ClusterRun::are_all_serving, kLongestNs, "a store never comes back") &&
        wait(&ClusterRun::are_all_answered, kLongestNs, "a request waits for ever") &&
        wait(&ClusterRun::has_settled, kLongestNs, "one head with all replicas: never");
    if (is_well && wait(&ClusterRun::drop_lines, kLongestNs, "a snapshot is never deleted")) {
        read_all();
    }
    if (result_.problem.empty()) {
        scrub_all();
    }
    if (result_.problem.empty()) {
        fail(history_.check_all());
    }
    if (result_.problem.empty() && random_.chance(1, 2)) {
        // All is durable.
        for (const auto& store : stores_) {
            store->crash(sim::Crash::kPowerLoss);
            store->boot();
        }
        static_cast<void>(wait(&ClusterRun::are_all_serving, kLongestNs, "a store is lost"));
    }
    if (result_.problem.empty()) {
        look_at_stores();
    }
    if (result_.problem.empty()) {
        look_at_lines();
    }
    if (result_.problem.empty()) {
        fail(history_.check_all());
    }
    for (uint32_t i = 0; i < heads_.size(); ++i) {
        add_statistics(i);
    }
}

void ClusterRun::read_all() {
    Host host;
    host.io = std::make_unique<HostIo>();
    host.run = this;
    host.begin_ns = world_.now_ns();
    host.io->prepare(HeadOp::kRead, 0, kBlocks, 0xeeee);
    const auto head = std::find_if(
        heads_.begin(), heads_.end(), [](const auto& each) { return each->is_open(); });
    host.io->submit((*head)->head());
    const HostIo& io = *host.io;
    if (!world_.run_until([&io] { return io.is_done; }, kLongestNs)) {
        fail("the last read waits for ever");
        forget_requests_of(0);
        static_cast<void>(host.io.release());
        return;
    }
    ended(host);
    for (uint64_t i = 0; i < kBlocks; ++i) {
        final_.push_back(io.value_of(i));
    }
}

/// Whatever rotted is whole again after it.
void ClusterRun::scrub_all() {
    // One may be under way.
    if (!wait(&ClusterRun::is_scrubbed, kLongestNs, "a scrub never ends")) {
        return;
    }
    for (uint32_t i = 0; has_rot_ && i < kRotInTheEnd; ++i) {
        rot();
    }
    const uint32_t head = open_head();
    if (has_rot_ && spoil()) {
        read_spoilt(head);
    }
    if (!wait(&ClusterRun::is_scrubbed, kLongestNs, "what a read found is looked at for ever")) {
        return;
    }
    BASALT_ASSERT(heads_[head]->scrubber().start(0));
    if (wait(&ClusterRun::is_scrubbed, kLongestNs, "the last scrub never ends") &&
        wait(&ClusterRun::has_settled, kLongestNs, "what was found is not mended")) {
        const ScrubState& state = heads_[head]->scrubber().state();
        if (!state.is_finished || state.blocks_skipped > 0) {
            fail(fmt::format("the last scrub: {} blocks done, {} skipped",
                             state.blocks_done,
                             state.blocks_skipped));
        }
        if (heads_[head]->head().findings().undecided() > 0) {
            fail("replicas differ, and nobody can tell which is right");
        }
    }
}

/// Others have other blocks wrong, each one at most, and their checksums don't tell.
bool ClusterRun::spoil() {
    const std::optional<std::vector<uint64_t>> rotten = stores_[rotten_store_]->contents();
    if (!rotten) {
        fail("the store that rots can't be read");
        return false;
    }
    for (uint32_t i = 0; i < kSpoiltInTheEnd; ++i) {
        const uint64_t block = random_.below(kBlocks);
        const uint64_t other = 1 + block % (stores_.size() - 1);
        if ((*rotten)[block] != StoreMachine::kUnreadable) {
            stores_[(rotten_store_ + other) % stores_.size()]->spoil(block);
        }
    }
    return true;
}

/// What it brings may be wrong; what it leads to must not be.
void ClusterRun::read_spoilt(uint32_t head) {
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        HostIo io;
        io.prepare(HeadOp::kRead, 0, kBlocks, 0xeeee);
        io.submit(heads_[head]->head());
        BASALT_ASSERT(world_.run_until([&io] { return io.is_done; }, kLongestNs));
    }
}

bool ClusterRun::is_scrubbed() {
    const uint32_t head = open_head();
    return head < heads_.size() && !heads_[head]->scrubber().is_busy();
}

void ClusterRun::look_at_stores() {
    for (const auto& store : stores_) {
        const std::optional<std::vector<uint64_t>> contents = store->contents();
        if (!contents) {
            fail(fmt::format("store {} can't be read", store->node.raw()));
            return;
        }
        for (uint64_t block = 0; block < kBlocks; ++block) {
            if ((*contents)[block] != final_[block]) {
                fail(fmt::format("store {}: block {} has {}, a host read {}",
                                 store->node.raw(),
                                 block,
                                 (*contents)[block],
                                 final_[block]));
            }
        }
        const std::string why = store->check_pool();
        if (!why.empty()) {
            fail(fmt::format("store {}: {}", store->node.raw(), why));
        }
    }
}

/// Each line that a host was told of is a cut, the same at all stores that were there when it was
/// drawn.
void ClusterRun::look_at_lines() {
    for (const Line& line : lines_) {
        std::optional<std::vector<uint64_t>> first;
        for (const auto& store : stores_) {
            if (line.number <= store->replica_state().history_after) {
                continue;
            }
            const std::optional<std::vector<uint64_t>> contents = store->contents(line.number);
            if (!contents) {
                fail(fmt::format("store {} has no line {}.{}",
                                 store->node.raw(),
                                 line.number.epoch.raw(),
                                 line.number.count));
                return;
            }
            if (has_rot_ && store == stores_[rotten_store_]) {
                continue;
            }
            if (!first) {
                first = contents;
                fail(history_.check_cut(*first, line.begin_ns, line.end_ns));
            }
            if (*contents != *first) {
                fail(fmt::format("line {}.{} is not the same everywhere",
                                 line.number.epoch.raw(),
                                 line.number.count));
            }
            ++result_.lines;
        }
    }
    for (const OpNumber line : dropped_) {
        ++result_.dropped_lines;
        for (const auto& store : stores_) {
            if (store->contents(line)) {
                fail(fmt::format("store {} has line {}.{}, which was deleted",
                                 store->node.raw(),
                                 line.epoch.raw(),
                                 line.count));
            }
        }
    }
}

void ClusterRun::add_statistics(uint32_t head) {
    if (heads_[head]->is_on()) {
        const HeadStatistics now = heads_[head]->head().statistics();
        result_.openings += now.openings;
        result_.drops += now.drops;
        result_.returns += now.returns;
        result_.repairs += now.repairs;
        result_.found += heads_[head]->head().findings().unreadable();
    }
}

}  // namespace basalt::replication::test
