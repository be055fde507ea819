#include "replication/link/tcp_link.h"

#include <algorithm>
#include <utility>

#include "reactor/base/log.h"

namespace basalt::replication {

namespace {

bool is_read_kind(MessageKind kind) {
    return kind == MessageKind::kRead || kind == MessageKind::kCopyRead;
}

}  // namespace

TcpLink::TcpLink(StoreConnection& connection, const TcpLinkOptions& options)
    : connection_(connection),
      options_(options),
      items_(std::make_unique<Item[]>(options.messages_max)),
      lists_out_(options.window_entries_max, options.blocks),
      lists_in_(options.window_entries_max, options.blocks),
      page_(std::make_unique_for_overwrite<std::byte[]>(wire::kListBytesMax)) {
    pause_.set([](Timer&, void* self) { static_cast<TcpLink*>(self)->report(); }, this);
    for (uint32_t i = 0; i < options.messages_max; ++i) {
        free_.push_back(items_[i]);
    }
    connection_.add(*this);
}

TcpLink::~TcpLink() {
    stop();
    connection_.remove(*this);
    free_.clear();
}

void TcpLink::start(LinkUser& user, uint32_t replica) {
    BASALT_ASSERT(user_ == nullptr);
    user_ = &user;
    replica_ = replica;
    report_later();
}

void TcpLink::stop() {
    user_ = nullptr;
    cut();
    is_told_up_ = is_cut_ = false;
    connection_.reactor_.stop_timer(pause_);
}

void TcpLink::reset() {
    if (!is_told_up_ || is_cut_) {
        return;
    }
    Reactor& reactor = connection_.reactor_;
    if (reactor.now_ns() - up_since_ns_ >= connection_.options_.reconnect_max_ns) {
        resets_ = 0;
    }
    reactor.start_timer(pause_, connection_.pause_ns(resets_++));
    cut();
    report_later();
}

/// Forgets all that is under way.
void TcpLink::cut() {
    is_cut_ = is_told_up_;
    connection_.buffers_.cancel(waiter_);
    for (Items* items : {&queue_, &thirsty_, &reads_}) {
        while (Item* item = items->front()) {
            Items::remove(*item);
            release(*item);
        }
    }
    connection_.disown(*this);
    has_lists_ = nullptr;
    lists_out_.clear();
    lists_in_.clear();
    ++pull_;
    is_page_out_ = false;
}

void TcpLink::connection_changed() {
    if (!connection_.is_up()) {
        cut();
    }
    report_later();
}

void TcpLink::report_later() {
    if (!report_event_.is_waiting()) {
        connection_.reactor_.defer(report_event_);
    }
}

void TcpLink::report() {
    if (user_ != nullptr && is_told_up_ && (is_cut_ || !connection_.is_up())) {
        is_told_up_ = is_cut_ = false;
        user_->link_down(replica_);
    }
    if (user_ != nullptr && !is_told_up_ && connection_.is_up() && !pause_.is_running()) {
        is_told_up_ = true;
        up_since_ns_ = connection_.reactor_.now_ns();
        user_->link_up(replica_);
    }
}

void TcpLink::release(Item& item) {
    item.data.reset();
    item.message = Message{};
    free_.push_back(item);
}

// --- Sending ---------------------------------------------------------------------------------

void TcpLink::send(const Message& message, BlockRef data) {
    if (!is_told_up_ || is_cut_) {
        return;
    }
    const bool has_lists = message.kind == MessageKind::kSettle || message.dirty != nullptr;
    Item* item = free_.front();
    if (item == nullptr || (has_lists && has_lists_ != nullptr)) {
        BASALT_LOG(kWarn,
                   "replication",
                   "volume {}, replica {}: too many messages wait, connecting anew",
                   options_.volume,
                   replica_);
        reset();
        return;
    }
    Items::remove(*item);
    item->message = message;
    item->message.window = {};
    item->message.dirty = nullptr;
    item->data = std::move(data);
    if (has_lists) {
        lists_out_.begin(message);
        item->message.dirty = message.dirty != nullptr ? &lists_out_.dirty() : nullptr;
        has_lists_ = item;
    }
    queue_.push_back(*item);
    connection_.ready(*this);
}

bool TcpLink::fill(Slot& slot) {
    if (lists_in_.has_more() && !is_page_out_) {
        slot.frame.list = {};
        slot.pull = pull_;
        fill_list(slot, Slot::Purpose::kPage, lists_in_.next(), asked_);
        return true;
    }
    if (Item* item = reads_.pop_front()) {
        fill_message(slot, *item);
        return true;
    }
    while (Item* item = queue_.front()) {
        if (item == has_lists_ && is_page_out_) {
            return false;
        }
        if (item == has_lists_ && lists_out_.has_more()) {
            size_t bytes = 0;
            const WireRequest part = lists_out_.next({page_.get(), wire::kListBytesMax}, bytes);
            slot.frame.list = {page_.get(), bytes};
            fill_list(slot, Slot::Purpose::kPart, part, item->message);
            slot.asked = item->message;
            return true;
        }
        Items::remove(*item);
        if (!is_read_kind(item->message.kind) || find_memory(*item)) {
            fill_message(slot, *item);
            return true;
        }
    }
    return false;
}

bool TcpLink::find_memory(Item& read) {
    const uint32_t blocks = read.message.range.count;
    if (thirsty_.empty()) {
        read.data = connection_.buffers_.try_take(blocks);
        if (read.data.is_valid()) {
            return true;
        }
        connection_.buffers_.wait(waiter_, blocks);
    }
    thirsty_.push_back(read);
    return false;
}

void TcpLink::granted(void* context, BlockRef buffer) {
    auto& self = *static_cast<TcpLink*>(context);
    Item* item = self.thirsty_.pop_front();
    BASALT_ASSERT(item != nullptr);
    item->data = std::move(buffer);
    self.reads_.push_back(*item);
    if (const Item* next = self.thirsty_.front()) {
        self.connection_.buffers_.wait(self.waiter_, next->message.range.count);
    }
    self.connection_.ready(self);
}

void TcpLink::fill_list(Slot& slot,
                        Slot::Purpose purpose,
                        const WireRequest& request,
                        const Message& about) {
    slot.purpose = purpose;
    slot.frame.header = {.opcode = request.opcode};
    wire::RequestFields fields = request.fields;
    fields.volume = options_.volume;
    fields.epoch = about.epoch;
    fields.tenure = about.tenure;
    fields.session = about.session;
    slot.frame.body = fields;
    is_page_out_ = true;
}

void TcpLink::fill_message(Slot& slot, Item& item) {
    const WireRequest request = to_wire(options_.volume, item.message);
    slot.purpose = Slot::Purpose::kMessage;
    slot.frame.header = {.opcode = request.opcode};
    slot.frame.body = request.fields;
    slot.frame.list = {};
    slot.asked = item.message;
    slot.asked.dirty = nullptr;
    if (is_read(request.opcode)) {
        slot.data = std::move(item.data);
    } else {
        slot.frame.data = std::move(item.data);
    }
    if (has_lists_ == &item) {
        has_lists_ = nullptr;
    }
    release(item);
}

// --- Answers ---------------------------------------------------------------------------------

void TcpLink::answered(Slot::Purpose purpose, uint32_t pull, const Message& asked, InFrame& frame) {
    switch (purpose) {
        case Slot::Purpose::kMessage: message_answered(asked, frame); return;
        case Slot::Purpose::kPart: part_answered(frame); return;
        case Slot::Purpose::kPage: page_answered(pull, frame); return;
    }
}

void TcpLink::reply(const Reply& reply, BlockRef data) {
    if (user_ != nullptr) {
        user_->link_replied(replica_, reply, std::move(data));
    }
}

void TcpLink::message_answered(const Message& asked, InFrame& frame) {
    const auto& fields = std::get<wire::AnswerFields>(frame.body);
    Reply answer = to_reply(asked, frame.header.status, fields);
    if (answer.status != Errc::kOk) {
        reply(answer, {});
        return;
    }
    if (is_read_kind(asked.kind)) {
        if (frame.is_data_sound) {
            answer.digest = digest_of(frame.data.sums());
        } else {
            answer.status = Errc::kDataCorrupt;
            frame.data.reset();
        }
        reply(answer, std::move(frame.data));
        return;
    }
    if (asked.kind == MessageKind::kFence || asked.kind == MessageKind::kJoin) {
        ++pull_;
        const Status begun = lists_in_.begin(fields);
        if (begun && lists_in_.has_more()) {
            pulled_ = answer;
            asked_ = asked;
            connection_.ready(*this);
            return;
        }
        answer.status = begun ? Errc::kOk : begun.error().code;
    }
    reply(answer, {});
}

void TcpLink::part_answered(const InFrame& frame) {
    is_page_out_ = false;
    connection_.ready(*this);
    Item* item = queue_.front();
    if (frame.header.status == Errc::kOk || item == nullptr) {
        return;
    }
    BASALT_ASSERT(item == has_lists_);
    Message asked = item->message;
    asked.dirty = nullptr;
    Items::remove(*item);
    release(*item);
    has_lists_ = nullptr;
    lists_out_.clear();
    reply(to_reply(asked, frame.header.status, std::get<wire::AnswerFields>(frame.body)), {});
}

void TcpLink::page_answered(uint32_t pull, const InFrame& frame) {
    is_page_out_ = false;
    connection_.ready(*this);
    if (pull != pull_) {
        return;
    }
    if (frame.header.status != Errc::kOk) {
        lists_in_.clear();
        pulled_.status = frame.header.status;
        pulled_.epoch = std::get<wire::AnswerFields>(frame.body).fence;
        reply(pulled_, {});
        return;
    }
    const Status added = lists_in_.add(frame.list, frame.header.table_crc);
    if (!added) {
        connection_.channel_.close(added.error());
        return;
    }
    if (!lists_in_.has_more()) {
        Reply whole = pulled_;
        lists_in_.put_into(whole);
        reply(whole, {});
    }
}

}  // namespace basalt::replication
