#include "replication/link/replica_connection.h"

#include <algorithm>
#include <utility>

#include "reactor/base/log.h"
#include "replication/link/replica_server.h"

namespace basalt::replication {

using wire::Opcode;

ReplicaConnection::ReplicaConnection(ReplicaServer& server)
    : server_(server),
      channel_(server.reactor_, *this, server.options_.silence_ns),
      requests_(std::make_unique<Request[]>(server.options_.credits)),
      page_in_(std::make_unique_for_overwrite<std::byte[]>(wire::kListBytesMax)),
      page_out_(std::make_unique_for_overwrite<std::byte[]>(wire::kListBytesMax)) {
    hello_timer_.set(
        [](Timer&, void* self) {
            static_cast<ReplicaConnection*>(self)->channel_.close(Error(Errc::kTimedOut));
        },
        this);
    attached_.reserve(kVolumesPerConnection);
    free_requests_.reserve(server.options_.credits);
    for (uint32_t i = server.options_.credits; i > 0; --i) {
        Request& request = requests_[i - 1];
        request.index = i - 1;
        request.connection = this;
        request.answer.taken = &ReplicaConnection::on_taken;
        request.answer.context = &request;
        free_requests_.push_back(request.index);
    }
}

ReplicaConnection::~ReplicaConnection() {
    stop_waiting();
    channel_.forget_queue();
}

// --- The connection --------------------------------------------------------------------------

Status ReplicaConnection::adopt(AcceptedSocket accepted) {
    BASALT_ASSERT(state_ == State::kFree);
    BASALT_CHECK(channel_.adopt(std::move(accepted)));
    state_ = State::kGreeting;
    server_.reactor_.start_timer(hello_timer_, server_.options_.hello_timeout_ns);
    return kOk;
}

void ReplicaConnection::greet(const InFrame& frame) {
    const auto& peer = std::get<wire::Hello>(frame.body);
    wire::Hello own{.session = peer.session, .cluster = server_.options_.cluster};
    if (server_.directory_.has_drive(peer.drive)) {
        own.drive = peer.drive;
    }
    const auto version = wire::negotiate(own, peer);
    server_.reactor_.stop_timer(hello_timer_);
    hello_.header = {.opcode = Opcode::kHello, .is_answer = true, .id = frame.header.id};
    if (!version) {
        hello_.header.status = version.error().code;
        hello_.body = own;
        channel_.send(hello_);
        fail(version.error(), "its hello is refused");
        channel_.close_after_sending(version.error());
        return;
    }
    own.version_min = own.version_max = *version;
    hello_.body = own;
    drive_ = peer.drive;
    state_ = State::kServing;
    channel_.give_credits(server_.options_.credits);
    channel_.send(hello_);
    channel_.go_live();
}

void ReplicaConnection::ended(Error reason) {
    if (reason.code == Errc::kProtocol || reason.code == Errc::kDataCorrupt ||
        reason.code == Errc::kTimedOut) {
        fail(reason, "the connection ends");
    }
    server_.reactor_.stop_timer(hello_timer_);
    stop_waiting();
    for (const Attached& to : attached_) {
        to.port->disconnect(to.name);
    }
    attached_.clear();
    for (uint32_t i = 0; i < server_.options_.credits; ++i) {
        if (requests_[i].is_used) {
            requests_[i].is_used = false;
            requests_[i].answer.list = {};
            requests_[i].answer.data.reset();
            free_requests_.push_back(i);
        }
    }
    outstanding_ = 0;
    incoming_ = nullptr;
    is_page_out_used_ = false;
    state_ = State::kFree;
    server_.ended(*this);
}

void ReplicaConnection::fail(Error reason, const char* what) {
    if (server_.may_log()) {
        BASALT_LOG(kWarn,
                   "replication",
                   "drive {}: a head's connection: {}: {} ({} lines like this were left out)",
                   drive_.to_string(),
                   what,
                   describe(reason.code),
                   server_.log_.take_skipped());
    }
}

// --- What comes in ---------------------------------------------------------------------------

FramePlace ReplicaConnection::place(const InFrame& frame) {
    const wire::Header& header = frame.header;
    const bool is_hello = header.opcode == Opcode::kHello;
    const bool is_payload_for_hello = is_hello && header.payload_bytes > 0;
    if (header.is_answer || is_payload_for_hello || is_hello != (state_ == State::kGreeting)) {
        channel_.close(Error(Errc::kProtocol));
        return {};
    }
    if (is_hello) {
        return {};
    }
    const auto& fields = std::get<wire::RequestFields>(frame.body);
    const auto payload = payload_of(header, fields);
    if (!payload) {
        channel_.close(payload.error());
        return {};
    }
    if (header.opcode == Opcode::kTrimWindow) {
        return {};
    }
    return place_request(header, fields, *payload);
}

FramePlace ReplicaConnection::place_request(const wire::Header& header,
                                            const wire::RequestFields& fields,
                                            PayloadKind payload) {
    if (incoming_ == nullptr) {
        if (free_requests_.empty()) {
            // Not when it keeps to its credits: each is given when a slot is free.
            channel_.close(Error(Errc::kProtocol));
            return {};
        }
        incoming_ = &begin_request(header, fields);
        refusal_ = judge(header, fields);
    }
    const Attached* to = refusal_ == Errc::kOk ? attach(fields.volume) : nullptr;
    if (to == nullptr) {
        // Also when the replica went away while this waited, and comes back before all of it is
        // here: it has no place.
        refusal_ = refusal_ == Errc::kOk ? Errc::kNotFound : refusal_;
        granted_.reset();
        return {};
    }
    const bool asks_for_page =
        (header.opcode == Opcode::kWindow || header.opcode == Opcode::kDirtyBitmap) &&
        !fields.is_part;
    if (asks_for_page && is_page_out_used_) {
        return {.kind = FramePlace::Kind::kLater};
    }
    if (payload == PayloadKind::kData) {
        return place_data(*to->port, fields.range.count);
    }
    if (payload == PayloadKind::kList && header.payload_bytes > 0) {
        return {.kind = FramePlace::Kind::kList, .list = {page_in_.get(), wire::kListBytesMax}};
    }
    return {};
}

FramePlace ReplicaConnection::place_data(ReplicaPort& port, uint32_t blocks) {
    if (!granted_.is_valid()) {
        granted_ = port.buffers().try_take(blocks);
    }
    if (granted_.is_valid()) {
        return {.kind = FramePlace::Kind::kBlocks, .blocks = std::exchange(granted_, {})};
    }
    waits_for_ = &port;
    port.buffers().wait(waiter_, blocks);
    return {.kind = FramePlace::Kind::kLater};
}

void ReplicaConnection::granted(void* context, BlockRef buffer) {
    auto& self = *static_cast<ReplicaConnection*>(context);
    self.waits_for_ = nullptr;
    self.granted_ = std::move(buffer);
    self.channel_.resume();
}

void ReplicaConnection::stop_waiting() {
    if (waits_for_ != nullptr) {
        waits_for_->buffers().cancel(waiter_);
        waits_for_ = nullptr;
    }
    granted_.reset();
}

/// What can be told without the payload.
Errc ReplicaConnection::judge(const wire::Header& header, const wire::RequestFields& fields) {
    const bool is_list = header.opcode == Opcode::kWindow || header.opcode == Opcode::kDirtyBitmap;
    if (!is_list && header.opcode != Opcode::kFlush) {
        const auto message = to_message(header, fields);
        if (!message) {
            return message.error().code;
        }
    }
    if (attach(fields.volume) == nullptr) {
        return attached_.size() == kVolumesPerConnection ? Errc::kNoMemory : Errc::kNotFound;
    }
    return Errc::kOk;
}

const ReplicaConnection::Attached* ReplicaConnection::attach(uint64_t volume) {
    BASALT_ASSERT(state_ == State::kServing);
    const auto at = std::lower_bound(
        attached_.begin(), attached_.end(), volume, [](const Attached& to, uint64_t wanted) {
            return to.volume < wanted;
        });
    if (at != attached_.end() && at->volume == volume) {
        return &*at;
    }
    ReplicaPort* port = server_.directory_.find(drive_, volume);
    if (port == nullptr || attached_.size() == kVolumesPerConnection) {
        return nullptr;
    }
    const auto place = attached_.insert(at, {.volume = volume, .port = port, .name = 0});
    place->name = port->connect(*this);
    return &*place;
}

ReplicaConnection::Request& ReplicaConnection::begin_request(const wire::Header& header,
                                                             const wire::RequestFields& fields) {
    Request& request = requests_[free_requests_.back()];
    free_requests_.pop_back();
    ++outstanding_;
    ++request.uses;
    request.is_used = true;
    request.id = header.id;
    request.volume = fields.volume;
    request.blocks = is_read(header.opcode) ? fields.range.count : 0;
    request.answer.header = {.opcode = header.opcode, .is_answer = true, .id = header.id};
    return request;
}

void ReplicaConnection::received(InFrame& frame) {
    if (frame.header.opcode == Opcode::kHello) {
        greet(frame);
    } else if (frame.header.opcode == Opcode::kTrimWindow) {
        trim(frame);
    } else {
        Request& request = *std::exchange(incoming_, nullptr);
        request_received(request, frame);
    }
}

void ReplicaConnection::trim(const InFrame& frame) {
    const auto& fields = std::get<wire::RequestFields>(frame.body);
    const auto message = to_message(frame.header, fields);
    const Attached* to = attach(fields.volume);
    if (message && to != nullptr) {
        to->port->take(to->name, *message, {});
    }
}

void ReplicaConnection::request_received(Request& request, InFrame& frame) {
    const Attached* to = refusal_ == Errc::kOk ? attach(request.volume) : nullptr;
    if (to == nullptr) {
        answer(request, refusal_ == Errc::kOk ? Errc::kNotFound : refusal_);
        return;
    }
    if (!frame.is_data_sound) {
        // Damaged on the way: what the head sends again is whole.
        channel_.close(Error(Errc::kDataCorrupt));
        return;
    }
    const Opcode opcode = frame.header.opcode;
    if (opcode == Opcode::kFlush) {
        answer(request, Errc::kOk);  // What was answered is durable.
    } else if (opcode == Opcode::kWindow || opcode == Opcode::kDirtyBitmap) {
        list_received(request, *to, frame);
    } else {
        take_message(request, *to, frame);
    }
}

void ReplicaConnection::list_received(Request& request, const Attached& to, const InFrame& frame) {
    const auto& fields = std::get<wire::RequestFields>(frame.body);
    wire::AnswerFields out;
    if (fields.is_part) {
        const Status taken = take_part(to.port->lists(), this, frame.header, fields, frame.list);
        if (!taken && taken.error().code == Errc::kProtocol) {
            channel_.close(taken.error());
            return;
        }
        out.fence = to.port->state().fence;
        answer(request, taken ? Errc::kOk : taken.error().code, out);
        return;
    }
    const auto bytes = answer_page(
        to.port->state(), frame.header, fields, out, {page_out_.get(), wire::kListBytesMax});
    if (bytes && *bytes > 0) {
        is_page_out_used_ = true;
        request.answer.list = {page_out_.get(), *bytes};
    }
    answer(request, bytes ? Errc::kOk : bytes.error().code, out);
}

void ReplicaConnection::take_message(Request& request, const Attached& to, InFrame& frame) {
    const auto& fields = std::get<wire::RequestFields>(frame.body);
    auto message = to_message(frame.header, fields);
    BASALT_ASSERT(message.has_value());  // judge() saw to that.
    const Status whole = put_parts(to.port->lists(), this, fields, *message);
    if (!whole) {
        answer(request, whole.error().code);
        return;
    }
    message->id = (uint64_t{request.uses} << 32U) | request.index;
    message->connection = to.name;
    to.port->take(to.name, *message, std::move(frame.data));
}

// --- Answers ---------------------------------------------------------------------------------

void ReplicaConnection::answer(Request& request, Errc status, const wire::AnswerFields& fields) {
    request.answer.header.status = wire::sendable(status);
    request.answer.body = fields;
    if (channel_.state() == FrameChannel::State::kOpen) {
        channel_.send(request.answer);
    }
}

void ReplicaConnection::reply(const Reply& reply, BlockRef data) {
    const uint64_t index = reply.id & UINT32_MAX;
    BASALT_ASSERT(index < server_.options_.credits);
    Request& request = requests_[index];
    if (!request.is_used || request.uses != reply.id >> 32U || request.answer.link.is_linked()) {
        return;
    }
    const bool has_data = request.blocks > 0 && reply.status == Errc::kOk;
    if (has_data) {
        BASALT_ASSERT(data.is_valid() && data.blocks() == request.blocks);
        request.answer.data = std::move(data);
    }
    answer(request, reply.status, to_wire(reply));
}

void ReplicaConnection::replica_gone(const ReplicaPort& replica, uint64_t connection) {
    const auto at = std::find_if(attached_.begin(), attached_.end(), [&](const Attached& to) {
        return to.port == &replica && to.name == connection;
    });
    if (at == attached_.end()) {
        return;
    }
    const Attached gone = *at;
    attached_.erase(at);
    const bool waited = waits_for_ == gone.port;
    if (waited) {
        stop_waiting();
    }
    for (uint32_t i = 0; i < server_.options_.credits; ++i) {
        Request& request = requests_[i];
        if (request.is_used && request.volume == gone.volume && &request != incoming_ &&
            !request.answer.link.is_linked()) {
            answer(request, Errc::kNotFound);
        }
    }
    if (waited) {
        channel_.resume();  // May attach others.
    }
}

void ReplicaConnection::on_taken(OutFrame& frame, void* context) {
    auto& request = *static_cast<Request*>(context);
    ReplicaConnection& self = *request.connection;
    if (!frame.list.empty()) {
        frame.list = {};
        self.is_page_out_used_ = false;
        self.channel_.resume();
    }
    request.is_used = false;
    --self.outstanding_;
    self.free_requests_.push_back(request.index);
    self.channel_.give_credits(1);
}

}  // namespace basalt::replication
