#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "reactor/base/assert.h"
#include "reactor/io/io_driver.h"
#include "reactor/reactor.h"

namespace basalt::perf {

/// A socket without a network: the benchmark gives it bytes and sees what is sent. A send is over
/// at the next poll. Owner: whoever adopted it.
class LoopbackSocket final : public Socket {
  public:
    LoopbackSocket(SocketHandler& handler, std::vector<LoopbackSocket*>& registry)
        : handler_(handler), registry_(registry) {
        registry_.push_back(this);
    }
    LoopbackSocket(const LoopbackSocket&) = delete;
    LoopbackSocket& operator=(const LoopbackSocket&) = delete;
    ~LoopbackSocket() override { std::erase(registry_, this); }

    void send(std::span<const iovec> pieces) override {
        BASALT_ASSERT(!is_sending_);
        is_sending_ = true;
        for (const iovec& piece : pieces) {
            sent_bytes += piece.iov_len;
            if (keeps_sent) {
                const auto* data = static_cast<const std::byte*>(piece.iov_base);
                sent.insert(sent.end(), data, data + piece.iov_len);
            }
        }
    }
    void resume_receive() override {}
    void close() override { is_closing_ = true; }
    [[nodiscard]] SocketAddress local_address() const override { return {}; }
    [[nodiscard]] SocketAddress peer_address() const override { return {}; }

    /// Bytes from the other end; all are taken.
    void receive(std::span<const std::byte> data) {
        const size_t taken = handler_.on_receive(data);
        BASALT_ASSERT(taken == data.size());
    }

    /// Runs what is due. May destroy the socket.
    uint32_t poll() {
        if (is_closing_) {
            handler_.on_closed(Error(Errc::kCancelled));
            return 1;
        }
        if (!is_sending_) {
            return 0;
        }
        is_sending_ = false;
        handler_.on_sent();
        return 1;
    }

    uint64_t sent_bytes = 0;
    bool keeps_sent = true;
    std::vector<std::byte> sent;

  private:
    SocketHandler& handler_;
    std::vector<LoopbackSocket*>& registry_;
    bool is_sending_ = false;
    bool is_closing_ = false;
};

/// A reactor's outside with such sockets and nothing else. Owner: the benchmark.
class LoopbackDriver final : public IoDriver, private Network, private Storage {
  public:
    uint32_t poll() override {
        uint32_t count = 0;
        for (size_t i = 0; i < sockets.size(); ++i) {
            count += sockets[i]->poll();
        }
        return count;
    }
    void wait(uint64_t /*deadline_ns*/) override {}
    [[nodiscard]] uint32_t in_flight() const override { return 0; }
    [[nodiscard]] Network& network() override { return *this; }
    [[nodiscard]] Storage& storage() override { return *this; }

    /// A new connection to the last listener, adopted by the time this returns.
    LoopbackSocket& connect_one(Reactor& reactor) {
        const size_t count = sockets.size();
        listener_->on_accept(AcceptedSocket{.ticket = 1});
        while (sockets.size() == count) {
            reactor.poll_once();
        }
        return *sockets.back();
    }

    std::vector<LoopbackSocket*> sockets;

  private:
    class Stub final : public Listener {
        [[nodiscard]] SocketAddress local_address() const override {
            return SocketAddress::parse("127.0.0.1", 4420).value();
        }
    };

    Result<std::unique_ptr<Listener>> listen(const SocketAddress& /*address*/,
                                             ListenHandler& handler) override {
        listener_ = &handler;
        return std::unique_ptr<Listener>(std::make_unique<Stub>());
    }
    Result<std::unique_ptr<Socket>> adopt(AcceptedSocket /*accepted*/,
                                          const SocketOptions& /*options*/,
                                          SocketHandler& handler) override {
        return std::unique_ptr<Socket>(std::make_unique<LoopbackSocket>(handler, sockets));
    }
    void discard(AcceptedSocket /*accepted*/) override {}
    Result<std::unique_ptr<Socket>> connect(const SocketAddress& /*address*/,
                                            const SocketOptions& /*options*/,
                                            SocketHandler& /*handler*/) override {
        return Errc::kNotSupported;
    }
    void submit(FileRequest& /*request*/) override { BASALT_ASSERT(false); }
    void submit(PassthroughRequest& /*request*/) override { BASALT_ASSERT(false); }
    void register_memory(std::span<std::byte> /*memory*/) override {}
    FileHandle register_file(FileHandle file) override { return file; }
    void unregister_file(FileHandle /*registered*/) override {}

    ListenHandler* listener_ = nullptr;
};

}  // namespace basalt::perf
