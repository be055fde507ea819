#include "bdev/qos/lane.h"

#include <algorithm>
#include <utility>

#include "bdev/qos/domain.h"
#include "reactor/base/assert.h"

namespace basalt::qos {

namespace {

// The cost of a request in line, in the word that its leaf has not used yet.
uint64_t pack(IoCost cost) {
    return uint64_t{cost.bytes} << 1U | (cost.is_write ? 1U : 0U);
}

IoCost unpack(uint64_t word) {
    return {.bytes = static_cast<uint32_t>(word >> 1U), .is_write = (word & 1U) != 0};
}

IoCost cost_of(const bdev::IoRequest& request) {
    return unpack(request.leaf_word);
}

Cost doubled(const Cost& cost) {
    return {cost.ios * 2, cost.read_bytes * 2, cost.write_bytes * 2};
}

Cost halved(const Cost& cost) {
    return {cost.ios / 2, cost.read_bytes / 2, cost.write_bytes / 2};
}

}  // namespace

Lane::Lane(Reactor& here, CoreId home_core, Domain& domain, Member& member, Go go)
    : here_(here), home_core_(home_core), go_(go), claim_(domain, *this, member) {
    idle_timer_.set([](Timer&, void* self) { static_cast<Lane*>(self)->look_idle(); }, this);
}

Lane::~Lane() {
    BASALT_ASSERT(has_ended() || here_.is_abandoned());
    if (here_.is_abandoned()) {
        for (bdev::HeldRequests& line : held_) {
            line.clear();
        }
        streams_.clear();
    }
    BASALT_ASSERT(!idle_timer_.is_running());
}

// --- Standing in line --------------------------------------------------------------------------

void Lane::join(IoCost cost) {
    ++waiting_;
    queued_.add(cost);
    if (!is_claim_away_) {
        send_claim();
    }
}

void Lane::leave(IoCost cost) {
    BASALT_ASSERT(waiting_ > 0);
    --waiting_;
    queued_.subtract(cost);
}

void Lane::wait(bdev::IoRequest& request, IoCost cost, void* context) {
    BASALT_ASSERT(request.lane == nullptr);
    request.lane = this;
    request.leaf_context = context;
    request.leaf_word = pack(cost);
    request.hold_word = next_number_++;
    held_[cost.is_write ? kWrites : kReads].push_back(request);
    join(cost);
}

void Lane::wait(StreamTurn& turn) {
    turn.number = next_number_++;
    turn.lane = this;
    streams_.push_back(turn);
    join(turn.cost);
}

void Lane::forget(bdev::IoRequest& request) {
    BASALT_ASSERT(request.lane == this);
    request.lane = nullptr;
    bdev::HeldRequests::remove(request);
    leave(cost_of(request));
}

void Lane::forget(StreamTurn& turn) {
    BASALT_ASSERT(turn.lane == this);
    turn.lane = nullptr;
    StreamList::remove(turn);
    leave(turn.cost);
}

void Lane::release(bdev::IoRequest& request) {
    forget(request);
    go_(request, request.leaf_context);
}

template <typename Visit>
void Lane::for_each_of(const void* context, Visit visit) {
    for (bdev::HeldRequests& line : held_) {
        for (bdev::IoRequest* at = line.front(); at != nullptr;) {
            bdev::IoRequest& request = *at;
            at = line.next(request);
            if (request.leaf_context == context) {
                visit(request);
            }
        }
    }
}

void Lane::release(const void* context) {
    for_each_of(context, [this](bdev::IoRequest& request) { release(request); });
}

void Lane::abandon(const void* context) {
    for_each_of(context, [this](bdev::IoRequest& request) { forget(request); });
}

// --- Serving -----------------------------------------------------------------------------------

bool Lane::serve_one() {
    bdev::IoRequest* const reads = held_[kReads].front();
    bdev::IoRequest* const writes = held_[kWrites].front();
    StreamTurn* const stream = streams_.front();
    bdev::IoRequest* first = nullptr;
    for (bdev::IoRequest* candidate : {reads, writes}) {
        if (candidate != nullptr && has(cost_of(*candidate)) &&
            (first == nullptr || candidate->hold_word < first->hold_word)) {
            first = candidate;
        }
    }
    if (stream != nullptr && has(stream->cost) &&
        (first == nullptr || stream->number < first->hold_word)) {
        forget(*stream);
        spend(stream->cost);
        stream->go(stream->context);
        return true;
    }
    if (first == nullptr) {
        return false;
    }
    forget(*first);
    spend(cost_of(*first));
    go_(*first, first->leaf_context);
    return true;
}

void Lane::serve() {
    while (waiting_ != 0 && serve_one()) {
    }
    if (waiting_ != 0 && !is_claim_away_) {
        send_claim();
    }
}

// --- Tokens ------------------------------------------------------------------------------------

Cost Lane::counted(const Cost& cost) const {
    return {.ios = terms_.counts_ios ? cost.ios : 0,
            .read_bytes = terms_.counts_reads ? cost.read_bytes : 0,
            .write_bytes = terms_.counts_writes ? cost.write_bytes : 0};
}

Cost Lane::needed() const {
    Cost needed;
    for (const bdev::HeldRequests& line : held_) {
        if (const bdev::IoRequest* first = line.front()) {
            needed.add(cost_of(*first));
        }
    }
    if (const StreamTurn* first = streams_.front()) {
        needed.add(first->cost);
    }
    return needed;
}

void Lane::send_claim() {
    // As much as was used since the last time, and more, as long as a slice allows: who is busy
    // soon asks once a slice, and who is not holds little that others could use.
    const Cost liked = smaller(terms_.slice, larger(queued_, doubled(spent_)));
    const Cost owed = smaller(tokens_, Cost{});
    Cost ask = larger(liked, needed());
    ask.ios -= owed.ios;
    ask.read_bytes -= owed.read_bytes;
    ask.write_bytes -= owed.write_bytes;
    claim_.ask = counted(ask);
    if (!claim_.ask.is_zero()) {
        post_claim();
    }
}

void Lane::post_claim() {
    BASALT_ASSERT(!is_claim_away_);
    is_claim_away_ = true;
    ++claims_;
    spent_ = {};
    claim_.set_run([](Event& event, Reactor&) {
        auto& claim = static_cast<ClaimEvent&>(event);
        claim.domain.claim_arrives(claim);
    });
    here_.post(home_core_, claim_);
}

void Lane::claim_is_back() {
    BASALT_ASSERT(is_claim_away_);
    is_claim_away_ = false;
    if (has_ended_) {
        return;
    }
    if (!claim_.ask.is_zero()) {
        tokens_.add(claim_.ask);
        low_ = halved(claim_.ask);
        if (!idle_timer_.is_running()) {
            idle_claims_ = claims_;
            idle_spent_ = spent_;
            here_.start_timer(idle_timer_, kIdleReturnNs);
        }
    }
    serve();
}

void Lane::look_idle() {
    const bool is_idle = waiting_ == 0 && claims_ == idle_claims_ && spent_ == idle_spent_;
    if (is_claim_away_) {
        return;  // It starts the timer when it is back.
    }
    if (!is_idle) {
        idle_claims_ = claims_;
        idle_spent_ = spent_;
        here_.start_timer(idle_timer_, kIdleReturnNs);
        return;
    }
    // What is owed stays.
    claim_.returned = counted(larger(tokens_, Cost{}));
    tokens_ = smaller(tokens_, Cost{});
    low_ = {};
    if (!claim_.returned.is_zero()) {
        claim_.ask = {};
        post_claim();
    }
}

void Lane::set_terms(const Terms& terms) {
    if (has_ended_) {
        return;
    }
    const Cost kept = counted(tokens_);  // By the old terms: the rest was not counted.
    terms_ = terms;
    tokens_ = counted(kept);
    low_ = counted(low_);
    serve();
}

void Lane::end() {
    has_ended_ = true;
    here_.stop_timer(idle_timer_);
    const Cost unused = counted(larger(tokens_, Cost{}));
    terms_ = {};
    serve();
    BASALT_ASSERT(waiting_ == 0);
    if (!is_claim_away_ && !unused.is_zero()) {
        claim_.returned = unused;
        claim_.ask = {};
        post_claim();
    }
}

}  // namespace basalt::qos
