#include "replication/link/store_connection.h"

#include <algorithm>
#include <utility>

#include "reactor/base/log.h"
#include "replication/link/tcp_link.h"

namespace basalt::replication {

StoreConnection::StoreConnection(Reactor& reactor,
                                 BlockBuffers& buffers,
                                 const StoreOptions& options)
    : reactor_(reactor),
      buffers_(buffers),
      options_(options),
      channel_(reactor, *this, options.silence_ns),
      slots_(std::make_unique<Slot[]>(kRequestsMax)),
      page_(std::make_unique_for_overwrite<std::byte[]>(wire::kListBytesMax)) {
    timer_.set([](Timer&, void* self) { static_cast<StoreConnection*>(self)->connect(); }, this);
    free_slots_.reserve(kRequestsMax);
    for (uint32_t i = kRequestsMax; i > 0; --i) {
        Slot& slot = slots_[i - 1];
        slot.index = i - 1;
        slot.connection = this;
        slot.frame.taken = &StoreConnection::on_taken;
        slot.frame.context = &slot;
        free_slots_.push_back(slot.index);
    }
}

StoreConnection::~StoreConnection() {
    BASALT_ASSERT(state_ == State::kStopped || reactor_.is_abandoned());
    BASALT_ASSERT(links_.empty());
    channel_.forget_queue();
}

// --- Connecting ------------------------------------------------------------------------------

void StoreConnection::start() {
    BASALT_ASSERT(state_ == State::kStopped);
    connect();
}

void StoreConnection::stop(Stopped done, void* context) {
    BASALT_ASSERT(state_ != State::kStopping);
    stopped_ = done;
    stopped_context_ = context;
    state_ = State::kStopping;
    reactor_.stop_timer(timer_);
    if (channel_.state() == FrameChannel::State::kIdle) {
        reactor_.defer(stopped_event_);
    } else {
        channel_.close(Error(Errc::kCancelled));
    }
}

void StoreConnection::stopped() {
    state_ = State::kStopped;
    if (stopped_ != nullptr) {
        stopped_(stopped_context_);
    }
}

void StoreConnection::connect() {
    state_ = State::kConnecting;
    const Status status = channel_.connect(options_.address);
    if (!status) {
        fail(status.error().code, "can't connect");
        wait();
    }
}

void StoreConnection::wait() {
    state_ = State::kWaiting;
    reactor_.start_timer(timer_, pause_ns(failures_++));
}

uint64_t StoreConnection::pause_ns(uint32_t failures) {
    const uint64_t longest =
        std::min(options_.reconnect_max_ns, options_.reconnect_min_ns << std::min(failures, 16U));
    return longest / 2 + reactor_.random().below(longest / 2 + 1);
}

void StoreConnection::connected() {
    state_ = State::kGreeting;
    hello_.header = {.opcode = wire::Opcode::kHello};
    hello_.body = wire::Hello{.connection = options_.connection,
                              .session = sessions_ + 1,
                              .cluster = options_.cluster,
                              .drive = options_.drive};
    channel_.send(hello_);
}

void StoreConnection::hello_answered(const InFrame& frame) {
    const auto& own = std::get<wire::Hello>(hello_.body);
    const auto& peer = std::get<wire::Hello>(frame.body);
    const auto version = wire::negotiate(own, peer);
    if (frame.header.status != Errc::kOk || !version) {
        const Errc code =
            frame.header.status != Errc::kOk ? frame.header.status : version.error().code;
        fail(code, "refused");
        channel_.close(Error(code));
        return;
    }
    state_ = State::kUp;
    ++sessions_;
    up_since_ns_ = reactor_.now_ns();
    channel_.go_live();
    BASALT_LOG(kInfo,
               "replication",
               "store {}, drive {}: connected, version {}",
               options_.address.to_string(),
               options_.drive.to_string(),
               *version);
    for (TcpLink* link : links_) {
        link->connection_changed();
    }
}

void StoreConnection::ended(Error reason) {
    const bool was_up = state_ == State::kUp;
    for (uint32_t i = 0; i < kRequestsMax; ++i) {
        if (slots_[i].is_used) {
            release(slots_[i]);
        }
    }
    if (state_ == State::kStopping) {
        for (TcpLink* link : links_) {
            link->connection_changed();
        }
        stopped();
        return;
    }
    fail(reason.code, was_up ? "lost" : "can't connect");
    if (was_up && reactor_.now_ns() - up_since_ns_ >= options_.reconnect_max_ns) {
        failures_ = 0;
    }
    wait();
    for (TcpLink* link : links_) {
        link->connection_changed();
    }
}

void StoreConnection::fail(Errc code, const char* why) {
    if (log_.admit(reactor_.now_ns())) {
        BASALT_LOG(kWarn,
                   "replication",
                   "store {}, drive {}: {}: {} ({} lines like this were left out)",
                   options_.address.to_string(),
                   options_.drive.to_string(),
                   why,
                   describe(code),
                   log_.take_skipped());
    }
}

// --- Requests --------------------------------------------------------------------------------

void StoreConnection::add(TcpLink& link) {
    links_.push_back(&link);
}

void StoreConnection::remove(TcpLink& link) {
    links_.erase(std::remove(links_.begin(), links_.end(), &link), links_.end());
}

void StoreConnection::ready(TcpLink& link) {
    if (!link.turn_.link.is_linked()) {
        ready_.push_back(link.turn_);
    }
    if (!pump_event_.is_waiting()) {
        reactor_.defer(pump_event_);
    }
}

void StoreConnection::disown(TcpLink& link) {
    if (link.turn_.link.is_linked()) {
        decltype(ready_)::remove(link.turn_);
    }
    for (uint32_t i = 0; i < kRequestsMax; ++i) {
        Slot& slot = slots_[i];
        if (!slot.is_used || slot.link != &link) {
            continue;
        }
        if (channel_.cancel(slot.frame)) {
            if (wire::spends_credit(slot.frame.header.opcode)) {
                channel_.restore_credit();
            }
            release(slot);
        } else {
            slot.link = nullptr;
            slot.data.reset();
        }
    }
}

void StoreConnection::pump() {
    while (state_ == State::kUp && !free_slots_.empty() && channel_.credits() > 0) {
        LinkTurn* turn = ready_.pop_front();
        if (turn == nullptr) {
            return;
        }
        TcpLink& link = *turn->owner;
        Slot& slot = slots_[free_slots_.back()];
        if (!link.fill(slot)) {
            continue;
        }
        ready_.push_back(*turn);
        free_slots_.pop_back();
        slot.is_used = true;
        slot.link = &link;
        slot.frame.header.id = (uint64_t{++slot.uses} << 32U) | slot.index;
        if (wire::spends_credit(slot.frame.header.opcode)) {
            channel_.spend_credit();
        }
        channel_.send(slot.frame);
    }
}

void StoreConnection::on_taken(OutFrame& frame, void* context) {
    auto& slot = *static_cast<Slot*>(context);
    frame.list = {};
    if (frame.header.opcode == wire::Opcode::kTrimWindow) {
        slot.connection->release(slot);  // Nobody answers it.
    }
}

void StoreConnection::release(Slot& slot) {
    slot.is_used = false;
    slot.link = nullptr;
    slot.data.reset();
    slot.frame.list = {};
    free_slots_.push_back(slot.index);
    if (!ready_.empty() && !pump_event_.is_waiting()) {
        reactor_.defer(pump_event_);
    }
}

StoreConnection::Slot* StoreConnection::find(const wire::Header& header) {
    const uint64_t index = header.id & UINT32_MAX;
    if (!header.is_answer || index >= kRequestsMax) {
        return nullptr;
    }
    Slot& slot = slots_[index];
    const bool is_it = slot.is_used && slot.uses == header.id >> 32U &&
                       slot.frame.header.opcode == header.opcode && !slot.frame.link.is_linked();
    return is_it ? &slot : nullptr;
}

FramePlace StoreConnection::place(const InFrame& frame) {
    const wire::Header& header = frame.header;
    if (state_ == State::kGreeting) {
        if (header.opcode != wire::Opcode::kHello || !header.is_answer ||
            header.payload_bytes > 0) {
            channel_.close(Error(Errc::kProtocol));
        }
        return {};
    }
    Slot* slot = find(header);
    if (slot == nullptr) {
        channel_.close(Error(Errc::kProtocol));
        return {};
    }
    const size_t blocks = slot->asked.range.count;
    const size_t unit =
        header.opcode == wire::Opcode::kWindow ? wire::kWindowEntryBytes : wire::kRunBytes;
    const bool is_done = header.status == Errc::kOk;
    const bool is_read =
        slot->purpose == Slot::Purpose::kMessage && replication::is_read(header.opcode);
    const bool is_page = slot->purpose == Slot::Purpose::kPage;
    const size_t payload = header.payload_bytes;
    const bool fits = is_done && is_read   ? payload == blocks * (kBlockBytes + sizeof(uint32_t))
                      : is_done && is_page ? payload <= wire::kListBytesMax && payload % unit == 0
                                           : payload == 0;
    if (!fits) {
        channel_.close(Error(Errc::kProtocol));
        return {};
    }
    if (slot->link == nullptr || payload == 0) {
        return {};
    }
    if (is_read) {
        return {.kind = FramePlace::Kind::kBlocks, .blocks = slot->data};
    }
    return {.kind = FramePlace::Kind::kList, .list = {page_.get(), wire::kListBytesMax}};
}

void StoreConnection::received(InFrame& frame) {
    if (state_ == State::kGreeting) {
        hello_answered(frame);
    } else if (Slot* slot = find(frame.header)) {
        TcpLink* link = slot->link;
        const Slot::Purpose purpose = slot->purpose;
        const uint32_t pull = slot->pull;
        const Message asked = slot->asked;
        release(*slot);
        if (link != nullptr) {
            link->answered(purpose, pull, asked, frame);
        }
    }
    // It may have brought credits.
    if (!ready_.empty() && !pump_event_.is_waiting()) {
        reactor_.defer(pump_event_);
    }
}

}  // namespace basalt::replication
