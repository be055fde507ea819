// TLS over real sockets: it works, and once it runs only OpenSSL allocates.

#include <array>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "reactor/base/allocation_counter.h"
#include "reactor/tls/tls_socket.h"
#include "test/reactor/io/uring_test_support.h"
#include "test/reactor/tls/tls_testing.h"

namespace basalt::tls {
namespace {

/// Of a reactor without others.
class NoMailbox final : public Mailbox {
  public:
    bool send(CoreId /*to*/, Event& /*event*/) override { return false; }
    uint32_t receive(std::span<Event*> /*out*/) override { return 0; }
    bool prepare_sleep() override { return true; }
    void awake() override {}
};

/// Sends back what it gets, or sends and counts; allocates nothing itself.
class Bouncer final : public SocketHandler {
  public:
    void on_connected() override { is_connected = true; }
    size_t on_receive(std::span<const std::byte> data) override {
        received += data.size();
        if (is_echo) {
            const size_t taken = std::min(data.size(), buffer_.size() - filled_);
            std::copy_n(data.begin(), taken, buffer_.begin() + static_cast<ptrdiff_t>(filled_));
            filled_ += taken;
            send_filled();
            is_short_ = is_short_ || taken < data.size();
            return taken;
        }
        return data.size();
    }
    void on_sent() override {
        is_sending = false;
        filled_ -= sending_;
        std::copy_n(buffer_.begin() + static_cast<ptrdiff_t>(sending_), filled_, buffer_.begin());
        send_filled();
        if (is_short_) {
            is_short_ = false;
            socket->resume_receive();
        }
    }
    void on_closed(Error /*reason*/) override { is_closed = true; }

    void send(size_t bytes) {
        filled_ = bytes;
        send_filled();
    }

    std::unique_ptr<Socket> socket;
    bool is_echo = false;
    bool is_connected = false;
    bool is_sending = false;
    bool is_closed = false;
    uint64_t received = 0;

  private:
    void send_filled() {
        if (!is_sending && filled_ > 0) {
            is_sending = true;
            sending_ = filled_;
            piece_ = iovec{buffer_.data(), sending_};
            socket->send({&piece_, 1});
        }
    }

    std::array<std::byte, 200'000> buffer_{};
    size_t filled_ = 0;
    size_t sending_ = 0;
    bool is_short_ = false;
    iovec piece_{};
};

// What OpenSSL 3.0 takes and gives back at once for each record that it writes, 40 bytes each; it
// takes nothing for one that it reads.
constexpr uint64_t kAllocationsPerRecord = 4;

TEST(TlsOverUring, OnlyOpensslAllocatesOnceItRuns) {
    const std::unique_ptr<UringDriver> driver = basalt::test::make_driver(UringOptions());
    ASSERT_NE(driver, nullptr);
    NoMailbox mailbox;
    Reactor reactor(ReactorOptions(), basalt::test::test_clock(), *driver, mailbox);
    const auto server = Context::make(reactor, Role::kServer).value();
    const auto client = Context::make(reactor, Role::kClient).value();
    test::Keys keys;
    keys.keys.emplace(test::kIdentity, test::make_psk(1));
    basalt::test::Tickets tickets;
    auto listener =
        reactor.network().listen(*SocketAddress::parse("127.0.0.1", 0), tickets).value();

    Bouncer near;
    Bouncer far;
    far.is_echo = true;
    ClientOptions options;
    options.identity = test::kIdentity;
    options.psk = test::make_psk(1);
    near.socket =
        TlsSocket::connect(*client, listener->local_address(), SocketOptions(), options, near)
            .value();
    const auto poll_until = [&](auto is_done) {
        const uint64_t end_ns = basalt::test::test_clock().now_ns() + 20 * kNsPerSecond;
        while (!is_done() && basalt::test::test_clock().now_ns() < end_ns) {
            reactor.poll_once();
        }
        return is_done();
    };
    ASSERT_TRUE(poll_until([&] { return !tickets.tickets.empty(); }));
    far.socket = TlsSocket::adopt(
                     *server, tickets.tickets.front(), SocketOptions(), ServerOptions(), keys, far)
                     .value();
    ASSERT_TRUE(poll_until([&] { return near.is_connected; }));

    uint64_t expected = 0;
    const auto exchange = [&](size_t bytes) {
        expected += bytes;
        near.send(bytes);
        ASSERT_TRUE(poll_until([&] { return near.received == expected && !near.is_sending; }));
    };
    for (const size_t bytes : {size_t{64}, size_t{4096}, size_t{200'000}}) {
        exchange(bytes);
    }
    const uint64_t before = thread_allocations();
    constexpr uint64_t kExchanges = 300;
    for (uint64_t i = 0; i < kExchanges; ++i) {
        exchange(i % 2 == 0 ? 64 : 4096);
    }
    if (is_counting_allocations()) {
        // One record there and one back.
        EXPECT_LE(thread_allocations() - before, kExchanges * 2 * kAllocationsPerRecord);
    }
    near.socket->close();
    EXPECT_TRUE(poll_until([&] { return near.is_closed && far.is_closed; }));
    near.socket.reset();
    far.socket.reset();
    listener.reset();
    reactor.poll_once();
}

}  // namespace
}  // namespace basalt::tls
