#include "replication/head/head.h"

#include <algorithm>
#include <utility>

#include "reactor/base/log.h"
#include "replication/head/limits.h"

namespace basalt::replication {

namespace {

uint64_t tick_of(const Settings& settings) {
    const uint64_t shortest =
        std::min({settings.slow_us, settings.read_timeout_us, settings.drop_timeout_us});
    return std::clamp<uint64_t>(shortest / 2, kTickMinUs, kTickMaxUs);
}

/// Answers to reads that the core has not forgotten, and those of copies.
uint32_t replies_max(const Settings& settings) {
    return (settings.reads + settings.resync_copies + 2 * kReplicasMax) * settings.replicas + 1;
}

}  // namespace

Head::Head(Reactor& here,
           const Settings& settings,
           HeadMemory& memory,
           MapAuthority& authority,
           Links links,
           const Mistakes& mistakes)
    : here_(here),
      settings_(settings),
      memory_(memory),
      authority_(authority),
      links_(std::move(links)),
      core_(settings, mistakes),
      tick_us_(tick_of(settings)),
      read_(replies_max(settings)) {
    BASALT_ASSERT(links_.size() == settings.replicas);
    timer_.set([](Timer&, void* self) { static_cast<Head*>(self)->tick(); }, this);
    drain_.head = this;
    drain_.set_run([](Event& event, Reactor&) { static_cast<Drain&>(event).head->drain(); });
    for (uint32_t i = 0; i < kPartsMax; ++i) {
        parts_.push_back(std::make_unique<Part>(*this, i));
        free_parts_.push_back(*parts_.back());
    }
    // A write that the core has, and one that waits for it, each with data.
    const uint32_t writes_max = settings.window_ops + kPartsMax;
    written_.resize(writes_max);
    for (uint32_t i = writes_max; i > 0; --i) {
        written_free_.push_back(i - 1);
    }
    // Each answer to a read, each copy, on each link what is just coming in, and each answer to a
    // scrub has its place.
    const uint32_t others = settings.resync_copies + 2 * kReplicasMax + 2 * settings.replicas;
    const uint32_t answers = settings.read_quorum == 1 ? 1 : settings.replicas;
    const BlockBuffers::Counts counts = memory.options().reads;
    BASALT_ASSERT(counts.small >= others + answers && counts.large >= others + answers);
    permits_ = {(counts.small - others) / answers, (counts.large - others) / answers};
}

Head::~Head() {
    BASALT_ASSERT(!is_started_ || here_.is_abandoned());
    // Only a loss of power leaves anything in them.
    incoming_.clear();
    line_.clear();
    done_.clear();
    ready_.clear();
    for (PartLine& permits : permit_lines_) {
        permits.clear();
    }
    free_parts_.clear();
    for (const std::unique_ptr<Part>& part : parts_) {
        memory_.writes().cancel(part->waiter);
    }
}

// ---- life

void Head::start(Claim claim) {
    BASALT_ASSERT(!is_started_);
    is_started_ = true;
    authority_.start(*this);
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        links_[i]->start(*this, i);
    }
    ask_grant(claim);
}

void Head::take_over() {
    BASALT_ASSERT(is_started_);
    if (is_other_chosen_ || is_grant_asked_) {
        is_other_chosen_ = false;  // What hosts ask for from now on waits.
        is_grant_asked_ = true;
        authority_.ask_grant(Claim::kTakeOver);
    }
}

void Head::give_up() {
    BASALT_ASSERT(is_started_ && !is_applying_ && !is_going_on_);
    is_other_chosen_ = true;
    apply({.kind = HeadEvent::Kind::kStop});
    authority_.stop();
    fail_waiting();
    go_on();
}

std::unique_ptr<ReplicaLink> Head::replace_link(uint32_t replica,
                                                std::unique_ptr<ReplicaLink> link) {
    BASALT_ASSERT(is_started_ && !is_applying_ && !is_going_on_);
    BASALT_ASSERT(replica < settings_.replicas && !core_.live().has(replica));
    links_[replica]->stop();
    if (linked_.has(replica)) {
        link_down(replica);
    }
    std::swap(links_[replica], link);
    links_[replica]->start(*this, replica);
    return link;
}

ReplicaSet Head::drop_line(OpNumber number) {
    BASALT_ASSERT(is_started_ && !is_applying_ && !is_going_on_);
    if (dropping_ != number) {
        dropping_ = number;
        dropped_ = ReplicaSet();
    }
    if (dropped_ != ReplicaSet::all(settings_.replicas)) {
        apply({.kind = HeadEvent::Kind::kDropLine, .number = number});
        go_on();
    }
    return dropped_;
}

void Head::stop() {
    BASALT_ASSERT(is_started_ && !is_applying_ && !is_going_on_);
    apply({.kind = HeadEvent::Kind::kStop});
    BASALT_ASSERT(incoming_.empty() && line_.empty() && done_.empty());
    authority_.stop();
    for (const std::unique_ptr<ReplicaLink>& link : links_) {
        link->stop();
    }
    here_.stop_timer(timer_);
    if (drain_.link.is_linked()) {
        EventList::remove(drain_);
    }
    is_started_ = false;
}

// ---- what the core decides

void Head::apply(HeadEvent event) {
    BASALT_ASSERT(!is_applying_);
    is_applying_ = true;
    event.now_us = here_.now_ns() / kNsPerUs;
    for (const HeadAction& action : core_.apply(event)) {
        perform(action);
    }
    is_applying_ = false;
}

void Head::perform(const HeadAction& action) {
    switch (action.kind) {
        case HeadAction::Kind::kSend: send(action); return;
        case HeadAction::Kind::kAnswer: answered(action); return;
        case HeadAction::Kind::kLater: {
            Part& part = part_of(action.tag);
            part.state = Part::State::kReady;
            ready_.push_front(part);
            is_full_ = true;
            return;
        }
        case HeadAction::Kind::kRoom: is_full_ = false; return;
        case HeadAction::Kind::kAskSet:
            asked_set_ = action.set;
            authority_.ask_set(action.epoch, action.set);
            return;
        case HeadAction::Kind::kAskOpen:
            asked_open_us_ = here_.now_ns() / kNsPerUs;
            authority_.ask_open(action.epoch);
            return;
        case HeadAction::Kind::kForgetWrite: {
            const auto index = static_cast<uint32_t>(action.data - 1);
            written_[index].reset();
            written_free_.push_back(index);
            return;
        }
        case HeadAction::Kind::kForgetRead: read_.take(action.data).reset(); return;
        case HeadAction::Kind::kMended:
            ++statistics_.repairs;
            findings_.mended(action.replica, action.range);
            return;
        case HeadAction::Kind::kLineDropped:
            if (action.number == dropping_) {
                dropped_.add(action.replica);
            }
            return;
        case HeadAction::Kind::kResetLink: links_[action.replica]->reset(); return;
        case HeadAction::Kind::kSuperseded: ask_grant(Claim::kIfFree); return;
    }
}

void Head::send(const HeadAction& action) {
    const Message& message = action.message;
    ReplicaStatistics& replica = statistics_.replicas[action.replica];
    BlockRef data;
    if (message.kind == MessageKind::kWrite) {
        ++replica.writes;
        if (message.write == WriteKind::kData) {
            data = written_[message.data - 1];
            BASALT_ASSERT(data.is_valid());
        }
        Sample& sample = samples_[action.replica];
        if (sample.id == 0) {
            sample = {message.id, here_.clock().now_ns()};
        }
    } else if (message.kind == MessageKind::kRead) {
        ++replica.reads;
    } else if (message.kind == MessageKind::kCopy) {
        data = read_.get(message.data);
        BASALT_ASSERT(data.is_valid());
        if (!core_.joining().empty()) {
            count_copied(message.range.count);
        }
    }
    links_[action.replica]->send(message, std::move(data));
}

void Head::count_copied(uint32_t blocks) {
    statistics_.copied_blocks += blocks;
    if (core_.joining() != resync_of_) {
        resync_of_ = core_.joining();
        resync_began_us_ = here_.now_ns() / kNsPerUs;
        statistics_.resync_blocks = 0;
    }
    statistics_.resync_blocks += blocks;
}

// ---- replicas

void Head::link_up(uint32_t replica) {
    linked_.add(replica);
    samples_[replica] = {};
    apply({.kind = HeadEvent::Kind::kLinkUp, .replica = replica});
    go_on();
}

void Head::link_down(uint32_t replica) {
    linked_.remove(replica);
    resync_of_.remove(replica);
    ++statistics_.replicas[replica].lost_links;
    apply({.kind = HeadEvent::Kind::kLinkDown, .replica = replica});
    go_on();
}

void Head::link_replied(uint32_t replica, const Reply& reply, BlockRef data) {
    const bool has_data = reply.kind == MessageKind::kRead || reply.kind == MessageKind::kCopyRead;
    if (has_data && reply.status == Errc::kOk && !data.is_valid()) {
        BASALT_LOG(
            kError, "replication", "replica {} says it has read, and sends nothing", replica);
        links_[replica]->reset();
        return;
    }
    if (has_data && data.is_valid()) {
        // What the core forgot long ago, when the reads of before were more than there are now.
        read_.put(reply.id, std::move(data));
    }
    note_reply(replica, reply);
    apply({.kind = HeadEvent::Kind::kReply, .replica = replica, .reply = &reply});
    go_on();
}

void Head::note_reply(uint32_t replica, const Reply& reply) {
    ReplicaStatistics& of = statistics_.replicas[replica];
    if (reply.status != Errc::kOk && reply.status != Errc::kTryAgain) {
        ++of.errors;
    }
    Sample& sample = samples_[replica];
    if (sample.id != 0 && reply.id == sample.id) {
        const uint64_t us = (here_.clock().now_ns() - sample.sent_ns) / kNsPerUs;
        of.write_latency_us = of.write_latency_us == 0 ? us : (of.write_latency_us * 15 + us) / 16;
        sample = {};
    }
}

// ---- the authority

void Head::ask_grant(Claim claim) {
    is_lease_asked_ = false;
    lease_until_us_ = 0;
    if (!std::exchange(is_grant_asked_, true)) {
        authority_.ask_grant(claim);
    }
}

void Head::granted(Epoch epoch, ReplicaSet set) {
    BASALT_LOG(kInfo, "replication", "head: epoch {}, replicas {:#x}", epoch.raw(), set.bits());
    is_grant_asked_ = false;
    is_other_chosen_ = false;
    tenure_ = epoch;
    apply({.kind = HeadEvent::Kind::kGranted, .epoch = epoch, .set = set});
    go_on();
}

void Head::other_chosen() {
    if (!std::exchange(is_other_chosen_, true)) {
        BASALT_LOG(kInfo, "replication", "head: another one has the volume");
    }
    apply({.kind = HeadEvent::Kind::kStop});
    ask_grant(Claim::kIfFree);
    fail_waiting();
    go_on();
}

void Head::set_answered(Epoch asked, bool is_granted) {
    if (asked != core_.epoch()) {
        return;
    }
    if (is_granted) {
        resync_of_ = ReplicaSet();  // It has joined, or is to begin anew.
        const bool is_smaller = core_.set().contains(asked_set_) && core_.set() != asked_set_;
        ++(is_smaller ? statistics_.drops : statistics_.returns);
        BASALT_LOG(kInfo,
                   "replication",
                   "head: epoch {}, replicas {:#x} in place of {:#x}",
                   asked.raw() + 1,
                   asked_set_.bits(),
                   core_.set().bits());
    }
    apply({.kind = HeadEvent::Kind::kSetAnswer, .is_granted = is_granted});
    go_on();
}

/// A tenth less than it was granted for: what a turn of the reactor may take, with room to spare.
void Head::lengthen_lease(uint64_t asked_us, uint64_t lease_us) {
    const uint64_t usable_us = lease_us - lease_us / 10;
    lease_until_us_ = asked_us + usable_us;
    lease_half_us_ = usable_us / 2;
}

void Head::open_answered(Epoch asked, bool is_granted, uint64_t lease_us) {
    if (asked != core_.epoch()) {
        return;
    }
    if (is_granted) {
        ++statistics_.openings;
        lengthen_lease(asked_open_us_, lease_us);
    }
    apply({.kind = HeadEvent::Kind::kOpenAnswer,
           .is_granted = is_granted,
           .lease_until_us = lease_until_us_});
    go_on();
}

void Head::lease_answered(Epoch asked, bool is_granted, uint64_t lease_us) {
    is_lease_asked_ = false;
    // The set may have changed since; it is the same tenure.
    if (!is_granted || asked < tenure_ || !is_open()) {
        return;
    }
    lengthen_lease(asked_lease_us_, lease_us);
    apply({.kind = HeadEvent::Kind::kLease, .lease_until_us = lease_until_us_});
    go_on();
}

/// Asked for by those who read, when half of it is over: nobody needs it but them.
void Head::ask_lease_if_needed() {
    const uint64_t now_us = here_.now_ns() / kNsPerUs;
    if (is_lease_asked_ || !is_open() || now_us + lease_half_us_ < lease_until_us_) {
        return;
    }
    is_lease_asked_ = true;
    asked_lease_us_ = now_us;
    authority_.ask_lease(core_.epoch());
}

// ---- time

bool Head::needs_time() const {
    return !core_.is_at_rest() || waiting_for_memory_ > 0;
}

void Head::keep_time() {
    if (is_started_ && !timer_.is_running() && needs_time()) {
        here_.start_timer(timer_, tick_us_ * kNsPerUs);
    }
}

void Head::tick() {
    if (core_.reads() > 0) {
        ask_lease_if_needed();
    }
    apply({.kind = HeadEvent::Kind::kTick, .is_short = waiting_for_memory_ > 0});
    go_on();
}

HeadStatistics Head::statistics() const {
    HeadStatistics all = statistics_;
    all.state = core_.state();
    all.is_other_chosen = is_other_chosen_;
    all.epoch = core_.epoch();
    all.set = core_.set();
    all.live = core_.live();
    all.joining = core_.joining();
    if (resync_of_.empty() || resync_of_ != core_.joining()) {
        all.resync_blocks = 0;
    } else {
        all.resync_us = here_.now_ns() / kNsPerUs - resync_began_us_;
    }
    all.blocks_to_copy = core_.blocks_to_copy();
    all.blocks_dirty = core_.blocks_dirty();
    all.watermark = core_.watermark();
    all.generation = core_.generation();
    all.ops = core_.ops();
    for (const HeadRequest* at = line_.front(); at != nullptr; at = line_.next(*at)) {
        ++all.requests_waiting;
    }
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        all.replicas[i].is_linked = linked_.has(i);
        all.replicas[i].is_in_set = core_.set().has(i);
        all.replicas[i].is_live = core_.live().has(i);
    }
    return all;
}

}  // namespace basalt::replication
