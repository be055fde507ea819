#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "reactor/base/assert.h"
#include "reactor/sim/world.h"

namespace basalt::sim {

/// The byte at `offset` of the stream that client `stream` sends.
inline std::byte echo_byte(uint64_t stream, uint64_t offset) {
    const uint64_t mixed = (offset + stream * 77'777) * 0x9E3779B97F4A7C15U;
    return static_cast<std::byte>(mixed >> 56U);
}

/// Sends back what it hears, with bounded memory and so with backpressure.
class EchoSession final : public SocketHandler {
  public:
    /// `drops_at`: the broken variant swallows the byte at that offset.
    explicit EchoSession(uint64_t drops_at) : drops_at_(drops_at) {}

    void start(std::unique_ptr<Socket> socket) { socket_ = std::move(socket); }

    size_t on_receive(std::span<const std::byte> data) override {
        const size_t taken = std::min(data.size(), kBufferBytes - waiting_.size());
        for (size_t i = 0; i < taken; ++i) {
            if (received_++ != drops_at_) {
                waiting_.push_back(data[i]);
            }
        }
        held_back = held_back || taken < data.size();
        send_waiting();
        return taken;
    }
    void on_sent() override {
        sending_.clear();
        if (held_back) {
            held_back = false;
            socket_->resume_receive();
        }
        send_waiting();
    }
    void on_closed(Error /*reason*/) override {
        BASALT_ASSERT(!is_closed);
        is_closed = true;
        socket_.reset();
    }

    bool is_closed = false;
    bool held_back = false;

  private:
    static constexpr size_t kBufferBytes = 3000;

    void send_waiting() {
        if (sending_.empty() && !waiting_.empty()) {
            std::swap(sending_, waiting_);
            piece_ = iovec{sending_.data(), sending_.size()};
            socket_->send({&piece_, 1});
        }
    }

    const uint64_t drops_at_;
    uint64_t received_ = 0;
    std::unique_ptr<Socket> socket_;
    std::vector<std::byte> waiting_;
    std::vector<std::byte> sending_;
    iovec piece_{};
};

class EchoServer final : public ListenHandler {
  public:
    /// Accepts on `front`, and adopts on the reactors in turn, by message, as a target does.
    EchoServer(Reactor& front, std::vector<Reactor*> backs, const SocketAddress& address)
        : front_(front), backs_(std::move(backs)) {
        listener_ = front.network().listen(address, *this).value();
    }

    void on_accept(AcceptedSocket accepted) override {
        auto handover = std::make_unique<Handover>();
        handover->server = this;
        handover->accepted = accepted;
        handover->set_run([](Event& event, Reactor& here) {
            auto& self = static_cast<Handover&>(event);
            auto session = std::make_unique<EchoSession>(self.server->drops_at);
            auto socket = here.network().adopt(self.accepted, SocketOptions{}, *session);
            if (socket) {
                session->start(std::move(socket).value());
                self.server->sessions.push_back(std::move(session));
            }
        });
        Reactor& back = *backs_[accepts++ % backs_.size()];
        front_.post(back.core(), *handover);
        handovers_.push_back(std::move(handover));
    }

    uint64_t drops_at = UINT64_MAX;
    size_t accepts = 0;
    std::vector<std::unique_ptr<EchoSession>> sessions;

  private:
    struct Handover : Event {
        EchoServer* server = nullptr;
        AcceptedSocket accepted;
    };

    Reactor& front_;
    std::vector<Reactor*> backs_;
    std::vector<std::unique_ptr<Handover>> handovers_;
    std::unique_ptr<Listener> listener_;
};

/// Sends `total_bytes` in pieces of many sizes and checks each byte that comes back.
class EchoClient final : public SocketHandler {
  public:
    EchoClient(Reactor& reactor, uint64_t stream, uint64_t total_bytes)
        : reactor_(reactor), stream_(stream), total_bytes_(total_bytes) {}

    void connect(const SocketAddress& address, uint32_t user_timeout_ms = 30'000) {
        const SocketOptions options{.user_timeout_ms = user_timeout_ms};
        socket_ = reactor_.network().connect(address, options, *this).value();
    }
    void close() { socket_->close(); }
    [[nodiscard]] Socket& socket() { return *socket_; }

    void on_connected() override {
        BASALT_ASSERT(!is_connected && !is_closed);
        is_connected = true;
        send_next();
    }
    size_t on_receive(std::span<const std::byte> data) override {
        BASALT_ASSERT(!is_closed);
        for (const std::byte b : data) {
            is_wrong = is_wrong || received >= sent_ || b != echo_byte(stream_, received);
            ++received;
        }
        if (received == total_bytes_ && closes_at_end) {
            socket_->close();
        }
        return data.size();
    }
    void on_sent() override {
        BASALT_ASSERT(is_sending_ && !is_closed);
        is_sending_ = false;
        send_next();
    }
    void on_closed(Error reason) override {
        BASALT_ASSERT(!is_closed);
        is_closed = true;
        close_reason = reason;
        socket_.reset();
    }

    [[nodiscard]] bool has_all() const { return received == total_bytes_; }
    [[nodiscard]] uint64_t sent_bytes() const { return sent_; }

    bool is_connected = false;
    bool is_closed = false;
    bool is_wrong = false;
    bool closes_at_end = true;
    uint64_t received = 0;
    Error close_reason;

  private:
    void send_next() {
        if (sent_ == total_bytes_) {
            return;
        }
        const uint64_t most = uint64_t{1} << reactor_.random().below(14);
        const uint64_t length = std::min(total_bytes_ - sent_, 1 + reactor_.random().below(most));
        buffer_.resize(length);
        for (uint64_t i = 0; i < length; ++i) {
            buffer_[i] = echo_byte(stream_, sent_ + i);
        }
        const size_t cut = reactor_.random().below(length + 1);
        pieces_ = {iovec{buffer_.data(), cut}, iovec{buffer_.data() + cut, length - cut}};
        sent_ += length;
        is_sending_ = true;
        socket_->send(pieces_);
    }

    Reactor& reactor_;
    const uint64_t stream_;
    const uint64_t total_bytes_;
    uint64_t sent_ = 0;
    bool is_sending_ = false;
    std::unique_ptr<Socket> socket_;
    std::vector<std::byte> buffer_;
    std::array<iovec, 2> pieces_{};
};

}  // namespace basalt::sim
