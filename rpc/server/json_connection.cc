#include "rpc/server/json_connection.h"

#include <array>
#include <cerrno>
#include <utility>

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "reactor/base/log.h"
#include "rpc/limits.h"
#include "rpc/server/json_exchange.h"

namespace basalt::rpc {

JsonConnection::JsonConnection(uint64_t id,
                               int fd,
                               const MethodTable& table,
                               ConnectionWaker& waker)
    : id_(id), fd_(fd), table_(table), waker_(waker) {}

JsonConnection::~JsonConnection() {
    ::close(fd_);
}

bool JsonConnection::is_paused() const {
    return exchanges_.size() >= kOutstandingPerConnectionMax || unsent_bytes() >= kOutputBytesMax;
}

uint32_t JsonConnection::wanted_events() const {
    const bool reads = !input_ended_ && (state_ == State::kDraining || !is_paused());
    const bool writes = unsent_bytes() > 0;
    return (reads ? uint32_t{EPOLLIN} : 0U) | (writes ? uint32_t{EPOLLOUT} : 0U);
}

void JsonConnection::on_ready(uint32_t events) {
    BASALT_ASSERT(!is_running_);
    is_running_ = true;
    const bool may_read = (wanted_events() & EPOLLIN) != 0;
    if (may_read && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
        read_input();
    }
    start_requests();
    write_output();
    settle(events);
    is_running_ = false;
}

void JsonConnection::read_input() {
    std::array<char, kReadBytes> bytes{};
    const ssize_t count = ::recv(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (count > 0) {
        if (state_ == State::kOpen) {
            framer_.append(std::string_view(bytes.data(), static_cast<size_t>(count)));
        }
    } else if (count == 0) {
        input_ended_ = true;
    } else if (errno != EAGAIN && errno != EINTR) {
        state_ = State::kDead;
    }
}

void JsonConnection::start_requests() {
    while (state_ == State::kOpen && !is_paused()) {
        switch (framer_.scan()) {
            case Framer::Status::kNeedMore: return;
            case Framer::Status::kValue: handle_value(framer_.take()); break;
            case Framer::Status::kGarbage:
                break_stream(RpcCode::kParseError, "this is not JSON-RPC");
                return;
            case Framer::Status::kTooLarge:
                break_stream(
                    RpcCode::kInvalidRequest,
                    "a request has at most " + std::to_string(kRequestBytesMax) + " bytes");
                return;
            case Framer::Status::kTooDeep:
                break_stream(RpcCode::kParseError,
                             "JSON may nest " + std::to_string(kJsonDepthMax) + " deep");
                return;
        }
    }
}

void JsonConnection::handle_value(const std::string& text) {
    const Json value = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (value.is_discarded()) {
        break_stream(RpcCode::kParseError, "this is not valid JSON");
        return;
    }
    auto exchange = std::make_unique<JsonExchange>(*this);
    JsonExchange& started = *exchange;
    exchanges_.emplace(&started, std::move(exchange));
    started.start(table_, value);
}

void JsonConnection::break_stream(RpcCode code, std::string_view message) {
    BASALT_LOG(kWarn, "rpc", "connection {}: closing: {}", id_, message);
    output_ += error_response(nullptr, RpcError(code, std::string(message))) + "\n";
    framer_ = Framer();
    state_ = State::kDraining;
}

void JsonConnection::exchange_done(JsonExchange& exchange, std::string_view text) {
    if (!text.empty()) {
        // What is sent goes only once it is the larger part, so that a long answer that leaves in
        // small pieces is not moved for each of them.
        if (sent_bytes_ > output_.size() / 2) {
            output_.erase(0, std::exchange(sent_bytes_, 0));
        }
        output_ += text;
        output_ += '\n';
    }
    const size_t removed = exchanges_.erase(&exchange);
    BASALT_ASSERT(removed == 1);
    if (!is_running_) {
        waker_.wake(*this);
    }
}

void JsonConnection::write_output() {
    while (unsent_bytes() > 0 && state_ != State::kDead) {
        const ssize_t count =
            ::send(fd_, output_.data() + sent_bytes_, unsent_bytes(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (count >= 0) {
            sent_bytes_ += static_cast<size_t>(count);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != EINTR) {
            state_ = State::kDead;
        }
    }
    output_ = std::string();
    sent_bytes_ = 0;
}

// Decides what comes next once everything that could be done is done.
void JsonConnection::settle(uint32_t events) {
    if (state_ == State::kDead) {
        return;
    }
    // Writing may have made room for requests that are here already.
    if (state_ == State::kOpen && !is_paused() && framer_.scan() != Framer::Status::kNeedMore) {
        waker_.wake(*this);
        return;
    }
    if (input_ended_ && state_ == State::kOpen && !is_paused()) {
        state_ = State::kDraining;  // Half a request, if any, will never be whole.
    }
    // Hung up: nobody reads answers. What it sent before is read to its end, unless we can't now.
    const bool is_hung_up = (events & (EPOLLHUP | EPOLLERR)) != 0;
    if (is_hung_up && (input_ended_ || (wanted_events() & EPOLLIN) == 0)) {
        state_ = State::kDead;
        return;
    }
    if (state_ == State::kDraining && is_idle()) {
        if (input_ended_) {
            state_ = State::kDead;
        } else if (!is_shut_) {
            // Not close(): with unread input that would destroy the error message on its way.
            ::shutdown(fd_, SHUT_WR);
            is_shut_ = true;
        }
    }
}

}  // namespace basalt::rpc
