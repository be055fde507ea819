#include "replication/link/frame_channel.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "bdev/store/checksum.h"

namespace basalt::replication {

namespace {

// Bytes of one send, but for one frame more: what a slow peer makes us hold.
constexpr size_t kSendBytesMax = size_t{512} * 1024;

constexpr uint64_t kTicksPerSilence = 4;

std::span<std::byte> bytes_of(std::span<uint32_t> sums) {
    return std::as_writable_bytes(sums);
}

}  // namespace

FrameChannel::FrameChannel(Reactor& reactor, FrameHandler& handler, uint64_t silence_ns)
    : reactor_(reactor),
      handler_(handler),
      silence_ns_(silence_ns),
      heads_(std::make_unique_for_overwrite<std::byte[]>(kFramesPerSend * kHeadBytesMax)),
      list_(std::make_unique_for_overwrite<std::byte[]>(wire::kListBytesMax)) {
    timer_.set(&FrameChannel::on_tick, this);
    ping_.header.opcode = wire::Opcode::kPing;
    pong_.header.opcode = wire::Opcode::kPing;
    pong_.header.is_answer = true;
    pong_.body = wire::AnswerFields{};
}

FrameChannel::~FrameChannel() {
    BASALT_ASSERT(state_ == State::kIdle || reactor_.is_abandoned());
    forget_queue();
}

// --- The connection --------------------------------------------------------------------------

void FrameChannel::open() {
    is_live_ = is_sending_ = closes_after_sending_ = is_waiting_ = false;
    credits_ = unsaid_credits_ = given_credits_ = 0;
    reason_ = Error();
    part_ = Part::kHead;
    done_bytes_ = 0;
    received_ns_ = sent_ns_ = reactor_.now_ns();
    reactor_.start_timer(timer_, silence_ns_ / kTicksPerSilence);
}

Status FrameChannel::connect(const SocketAddress& address) {
    BASALT_ASSERT(state_ == State::kIdle);
    BASALT_TRY(socket_, reactor_.network().connect(address, SocketOptions{}, *this));
    state_ = State::kConnecting;
    open();
    return kOk;
}

Status FrameChannel::adopt(AcceptedSocket accepted) {
    BASALT_ASSERT(state_ == State::kIdle);
    BASALT_TRY(socket_, reactor_.network().adopt(std::move(accepted), SocketOptions{}, *this));
    state_ = State::kOpen;
    open();
    return kOk;
}

void FrameChannel::on_connected() {
    if (state_ == State::kConnecting) {
        state_ = State::kOpen;
        received_ns_ = reactor_.now_ns();
        handler_.connected();
    }
}

void FrameChannel::close(Error reason) {
    if (state_ == State::kIdle || state_ == State::kClosing) {
        return;
    }
    state_ = State::kClosing;
    reason_ = reason;
    reactor_.stop_timer(timer_);
    forget_queue();
    socket_->close();
}

void FrameChannel::close_after_sending(Error reason) {
    if (state_ != State::kOpen || (queue_.empty() && !is_sending_)) {
        close(reason);
        return;
    }
    reason_ = reason;
    closes_after_sending_ = true;
}

void FrameChannel::on_closed(Error reason) {
    reactor_.stop_timer(timer_);
    forget_queue();
    for (BlockRef& held : held_) {
        held.reset();
    }
    in_ = InFrame{};
    if (reason_.code == Errc::kOk) {
        reason_ = reason;
    }
    state_ = State::kIdle;
    socket_.reset();
    handler_.ended(reason_);
}

void FrameChannel::forget_queue() {
    while (OutFrame* frame = queue_.pop_front()) {
        frame->data.reset();
    }
}

void FrameChannel::on_tick(Timer& /*timer*/, void* self) {
    static_cast<FrameChannel*>(self)->tick();
}

void FrameChannel::tick() {
    const uint64_t now_ns = reactor_.now_ns();
    // While the stream stands still for want of a place here, the peer can't be heard.
    const bool is_silent = !is_waiting_ && now_ns - received_ns_ >= silence_ns_;
    const bool is_stuck = is_sending_ && now_ns - sent_ns_ >= silence_ns_;
    if (is_silent || is_stuck) {
        close(Error(Errc::kTimedOut));
        return;
    }
    if (is_live_ && !is_sending_ && queue_.empty() &&
        now_ns - sent_ns_ >= silence_ns_ / kTicksPerSilence) {
        ++ping_.header.id;
        send(ping_);
    }
    reactor_.start_timer(timer_, silence_ns_ / kTicksPerSilence);
}

// --- Sending ---------------------------------------------------------------------------------

void FrameChannel::send(OutFrame& frame) {
    BASALT_ASSERT(state_ == State::kOpen);
    BASALT_ASSERT(frame.list.size() <= wire::kListBytesMax);
    BASALT_ASSERT(frame.list.empty() || !frame.data.is_valid());
    queue_.push_back(frame);
    if (!is_sending_ && !flush_event_.is_waiting()) {
        reactor_.defer_to_end_of_turn(flush_event_);
    }
}

bool FrameChannel::cancel(OutFrame& frame) {
    if (!frame.link.is_linked()) {
        return false;
    }
    OutFrames::remove(frame);
    frame.data.reset();
    return true;
}

void FrameChannel::flush() {
    if (state_ != State::kOpen || is_sending_ || queue_.empty()) {
        return;
    }
    gather();
    is_sending_ = true;
    sent_ns_ = reactor_.now_ns();
    socket_->send({pieces_.data(), piece_count_});
}

void FrameChannel::gather() {
    frames_ = piece_count_ = heads_bytes_ = send_bytes_ = 0;
    has_list_ = false;
    while (frames_ < kFramesPerSend && send_bytes_ < kSendBytesMax) {
        OutFrame* frame = queue_.front();
        if (frame == nullptr || (has_list_ && !frame->list.empty())) {
            return;
        }
        OutFrames::remove(*frame);
        add(*frame);
    }
}

void FrameChannel::add(OutFrame& frame) {
    BlockRef& data = held_[frames_++];
    data = std::move(frame.data);
    frame.data.reset();
    frame.header.payload_bytes = static_cast<uint32_t>(frame.list.size());
    frame.header.table_crc = 0;
    if (data.is_valid()) {
        const std::span<std::byte> sums = bytes_of(data.sums());
        frame.header.payload_bytes = static_cast<uint32_t>(sums.size() + data.bytes().size());
        frame.header.table_crc = bdev::store::crc32c(sums);
    } else if (!frame.list.empty()) {
        std::copy(frame.list.begin(), frame.list.end(), list_.get());
        frame.header.table_crc = bdev::store::crc32c(frame.list);
        has_list_ = true;
    }
    const size_t list_bytes = frame.list.size();
    const wire::Header header = frame.header;
    const FrameBody body = frame.body;
    if (frame.taken != nullptr) {
        frame.taken(frame, frame.context);
    }
    OutFrame copy;
    copy.header = header;
    copy.body = body;
    const std::span<std::byte> head(heads_.get() + heads_bytes_, kHeadBytesMax);
    const size_t head_bytes = encode(copy, head);
    heads_bytes_ += head_bytes;
    add_piece(head.data(), head_bytes);
    if (data.is_valid()) {
        add_piece(data.sums().data(), data.sums().size_bytes());
        add_piece(data.bytes().data(), data.bytes().size());
    } else if (list_bytes > 0) {
        add_piece(list_.get(), list_bytes);
    }
}

/// With the credits that there are now: those of an answer's request, too.
size_t FrameChannel::encode(const OutFrame& frame, std::span<std::byte> out) {
    wire::Header header = frame.header;
    const uint32_t credits = std::min<uint32_t>(unsaid_credits_, UINT16_MAX);
    header.credits = static_cast<uint16_t>(credits);
    unsaid_credits_ -= credits;
    given_credits_ += credits;
    return std::visit([&](const auto& body) { return wire::encode(header, body, out); },
                      frame.body);
}

void FrameChannel::add_piece(const void* data, size_t bytes) {
    send_bytes_ += bytes;
    if (piece_count_ > 0) {
        iovec& last = pieces_[piece_count_ - 1];
        if (static_cast<const std::byte*>(last.iov_base) + last.iov_len == data) {
            last.iov_len += bytes;
            return;
        }
    }
    // Sending only reads through iov_base, which is not const for the sake of receiving.
    pieces_[piece_count_++] = iovec{const_cast<void*>(data), bytes};
}

void FrameChannel::on_sent() {
    is_sending_ = false;
    for (size_t i = 0; i < frames_; ++i) {
        held_[i].reset();
    }
    frames_ = 0;
    if (state_ != State::kOpen) {
        return;
    }
    if (!queue_.empty()) {
        if (!flush_event_.is_waiting()) {
            reactor_.defer_to_end_of_turn(flush_event_);
        }
    } else if (closes_after_sending_) {
        close(reason_);
    }
}

void FrameChannel::give_credits(uint16_t count) {
    unsaid_credits_ += count;
}

// --- Receiving -------------------------------------------------------------------------------

size_t FrameChannel::on_receive(std::span<const std::byte> data) {
    if (state_ != State::kOpen || closes_after_sending_) {
        return data.size();
    }
    received_ns_ = reactor_.now_ns();
    Bytes input = data;
    while (!input.empty() && !is_waiting_ && state_ == State::kOpen) {
        switch (part_) {
            case Part::kHead: take_head(input); break;
            case Part::kSkip: {
                const size_t left = in_.header.payload_bytes - done_bytes_;
                const size_t bytes = std::min(left, input.size());
                input = input.subspan(bytes);
                advance(bytes);
                break;
            }
            case Part::kSums:
            case Part::kData:
            case Part::kList: {
                const std::span<std::byte> to = target();
                const size_t bytes = std::min(to.size(), input.size());
                std::memcpy(to.data(), input.data(), bytes);
                input = input.subspan(bytes);
                advance(bytes);
                break;
            }
        }
    }
    return state_ == State::kOpen ? data.size() - input.size() : data.size();
}

std::span<std::byte> FrameChannel::receive_memory() {
    const bool is_wanted =
        state_ == State::kOpen && part_ == Part::kData && !is_waiting_ && !closes_after_sending_;
    return is_wanted ? target() : std::span<std::byte>();
}

void FrameChannel::on_received(size_t size_bytes) {
    if (state_ == State::kOpen && !closes_after_sending_) {
        received_ns_ = reactor_.now_ns();
        advance(size_bytes);
    }
}

/// Where the rest of the part belongs.
std::span<std::byte> FrameChannel::target() {
    switch (part_) {
        case Part::kSums: return bytes_of(in_.data.sums()).subspan(done_bytes_);
        case Part::kData: return in_.data.bytes().subspan(done_bytes_);
        case Part::kList: return in_list_.subspan(done_bytes_);
        case Part::kHead:
        case Part::kSkip: break;
    }
    return {};
}

void FrameChannel::take_head(Bytes& input) {
    const size_t wanted = done_bytes_ < wire::kHeaderBytes
                              ? wire::kHeaderBytes
                              : wire::kHeaderBytes + in_.header.body_bytes;
    const size_t bytes = std::min(wanted - done_bytes_, input.size());
    std::memcpy(head_.data() + done_bytes_, input.data(), bytes);
    input = input.subspan(bytes);
    done_bytes_ += bytes;
    if (done_bytes_ < wanted) {
        return;
    }
    if (done_bytes_ == wire::kHeaderBytes) {
        const auto header = wire::decode_header(head_);
        if (!header) {
            close(header.error());
            return;
        }
        in_.header = *header;
        return;
    }
    const Status sound = decode_head();
    if (!sound) {
        close(sound.error());
        return;
    }
    head_is_whole();
}

Status FrameChannel::decode_head() {
    const Bytes head = Bytes(head_).first(done_bytes_);
    if (in_.header.opcode == wire::Opcode::kHello) {
        BASALT_TRY(in_.body, wire::decode_hello(head));
    } else if (in_.header.is_answer) {
        BASALT_TRY(in_.body, wire::decode_answer(head));
    } else {
        BASALT_TRY(in_.body, wire::decode_request(head));
    }
    return kOk;
}

void FrameChannel::head_is_whole() {
    const wire::Header& header = in_.header;
    credits_ = std::min<uint32_t>(credits_ + header.credits, UINT16_MAX);
    if (!header.is_answer && wire::spends_credit(header.opcode)) {
        if (given_credits_ == 0) {
            close(Error(Errc::kProtocol));
            return;
        }
        --given_credits_;
    }
    ask_place();
}

void FrameChannel::ask_place() {
    const size_t payload = in_.header.payload_bytes;
    FramePlace place;
    if (in_.header.opcode != wire::Opcode::kPing) {
        place = handler_.place(in_);
    } else if (payload > 0) {
        close(Error(Errc::kProtocol));
    }
    if (state_ != State::kOpen) {
        return;
    }
    is_waiting_ = place.kind == FramePlace::Kind::kLater;
    if (is_waiting_) {
        return;
    }
    in_.data = std::move(place.blocks);
    in_list_ = place.list;
    done_bytes_ = 0;
    switch (place.kind) {
        case FramePlace::Kind::kLater:
        case FramePlace::Kind::kNowhere: part_ = Part::kSkip; break;
        case FramePlace::Kind::kBlocks:
            BASALT_ASSERT(payload == in_.data.sums().size_bytes() + in_.data.bytes().size());
            part_ = Part::kSums;
            break;
        case FramePlace::Kind::kList:
            BASALT_ASSERT(payload <= in_list_.size());
            in_list_ = in_list_.first(payload);
            part_ = Part::kList;
            break;
    }
    if (payload == 0) {
        frame_is_whole();
    }
}

void FrameChannel::resume() {
    if (is_waiting_ && !resume_event_.is_waiting()) {
        reactor_.defer(resume_event_);
    }
}

void FrameChannel::resume_now() {
    if (state_ != State::kOpen || !is_waiting_) {
        return;
    }
    is_waiting_ = false;
    ask_place();
    if (state_ == State::kOpen && !is_waiting_) {
        received_ns_ = reactor_.now_ns();
        socket_->resume_receive();
    }
}

void FrameChannel::advance(size_t bytes) {
    done_bytes_ += bytes;
    const bool is_whole =
        part_ == Part::kSkip ? done_bytes_ == in_.header.payload_bytes : target().empty();
    if (is_whole) {
        part_is_whole();
    }
}

void FrameChannel::part_is_whole() {
    const uint32_t crc = in_.header.table_crc;
    if (part_ == Part::kSums) {
        if (bdev::store::crc32c(bytes_of(in_.data.sums())) != crc) {
            close(Error(Errc::kDataCorrupt));
            return;
        }
        part_ = Part::kData;
        done_bytes_ = 0;
        return;
    }
    if (part_ == Part::kList) {
        in_.list = in_list_;
        if (bdev::store::crc32c(in_.list) != crc) {
            close(Error(Errc::kDataCorrupt));
            return;
        }
    } else if (part_ == Part::kData) {
        for (uint32_t i = 0; i < in_.data.blocks(); ++i) {
            const Bytes block =
                Bytes(in_.data.bytes()).subspan(size_t{i} * kBlockBytes, kBlockBytes);
            in_.is_data_sound =
                in_.is_data_sound && bdev::store::crc32c(block) == in_.data.sums()[i];
        }
    }
    frame_is_whole();
}

void FrameChannel::frame_is_whole() {
    part_ = Part::kHead;
    done_bytes_ = 0;
    InFrame frame = std::exchange(in_, InFrame{});
    in_list_ = {};
    if (frame.header.opcode != wire::Opcode::kPing) {
        handler_.received(frame);
    } else if (!frame.header.is_answer && is_live_ && !pong_.link.is_linked()) {
        pong_.header.id = frame.header.id;
        send(pong_);
    }
}

}  // namespace basalt::replication
