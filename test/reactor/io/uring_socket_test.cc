// What a socket does beyond bytes in, bytes out: bulk receiving, kept memory, sends at once.
#include "reactor/io/uring_socket.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "test/reactor/io/uring_test_support.h"

namespace basalt {
namespace {

using test::Peer;
using test::stream_byte;
using test::Tickets;

constexpr size_t kTransferBytes = 131072;
constexpr size_t kHeadBytes = 24;

/// Cuts the stream into heads and transfers, as a target that has asked for data does; says where
/// the rest of a transfer belongs, and notes how it came.
class Receiver : public SocketHandler {
  public:
    size_t on_receive(std::span<const std::byte> data) override {
        ++offers;
        for (size_t taken = 0; taken < data.size();) {
            const std::span<const std::byte> rest = data.subspan(taken);
            size_t count = 0;
            if (filled_bytes_ < kHeadBytes) {
                count = std::min(kHeadBytes - filled_bytes_, rest.size());
            } else {
                count = std::min(kHeadBytes + kTransferBytes - filled_bytes_, rest.size());
                std::memcpy(&memory[filled_bytes_ - kHeadBytes], rest.data(), count);
                copied_bytes += count;
            }
            advance(count);
            taken += count;
        }
        return data.size();
    }
    std::span<std::byte> receive_memory() override {
        return filled_bytes_ < kHeadBytes ? std::span<std::byte>()
                                          : std::span(memory).subspan(filled_bytes_ - kHeadBytes);
    }
    void on_received(size_t size_bytes) override {
        direct_bytes += size_bytes;
        ++direct_calls;
        advance(size_bytes);
    }
    void on_sent() override {}
    void on_closed(Error) override { is_closed = true; }
    void on_released(AcceptedSocket connection) override { released = std::move(connection); }

    std::vector<std::byte> memory = std::vector<std::byte>(kTransferBytes);
    bool is_right = true;
    bool is_closed = false;
    std::optional<AcceptedSocket> released;
    uint32_t transfers = 0;
    uint32_t offers = 0;
    uint32_t direct_calls = 0;
    size_t copied_bytes = 0;
    size_t direct_bytes = 0;

  private:
    void advance(size_t bytes) {
        filled_bytes_ += bytes;
        position_ += bytes;
        if (filled_bytes_ < kHeadBytes + kTransferBytes) {
            return;
        }
        const uint64_t first = position_ - kTransferBytes;
        for (size_t i = 0; i < kTransferBytes; ++i) {
            is_right = is_right && memory[i] == stream_byte(first + i);
        }
        ++transfers;
        filled_bytes_ = 0;
    }

    size_t filled_bytes_ = 0;  // Of a head and its transfer.
    uint64_t position_ = 0;
};

/// Keeps what it is offered, as long as it may.
class Keeper : public SocketHandler {
  public:
    size_t on_receive(std::span<const std::byte> data) override {
        received += data.size();
        if (const auto memory = socket->keep_received()) {
            kept.push_back({*memory, data, position_});
        } else {
            ++refusals;
        }
        position_ += data.size();
        return data.size();
    }
    void on_sent() override {}
    void on_closed(Error) override {
        is_closed = true;
        socket.reset();
    }
    [[nodiscard]] bool is_right() const {
        for (const Kept& one : kept) {
            for (size_t i = 0; i < one.data.size(); ++i) {
                if (one.data[i] != stream_byte(one.position + i)) {
                    return false;
                }
            }
        }
        return true;
    }

    struct Kept {
        KeptMemory memory;
        std::span<const std::byte> data;
        uint64_t position = 0;
    };
    std::unique_ptr<Socket> socket;
    std::vector<Kept> kept;
    uint64_t received = 0;
    uint32_t refusals = 0;
    bool is_closed = false;

  private:
    uint64_t position_ = 0;
};

/// A client's end (a Peer) on one driver and any handler's on another.
class UringSocketTest : public testing::TestWithParam<test::Kernel> {
  protected:
    void SetUp() override {
        UringOptions options;
        options.allowed = GetParam().allowed;
        options.buffers = {
            .buffer_bytes = 16384, .lent_start = 4, .lent_max = 16, .total_count = 64};
        client_ = test::make_driver(options);
        server_ = test::make_driver(options);
        ASSERT_TRUE(client_ && server_);
        drivers_ = {client_.get(), server_.get()};
        listener_ = *server_->network().listen(*SocketAddress::parse("127.0.0.1", 0), tickets_);
    }
    void TearDown() override {
        listener_.reset();
        if (near_.socket) {
            near_.socket->close();
        }
        EXPECT_TRUE(
            poll([this] { return client_->socket_count() == 0 && server_->socket_count() == 0; }));
    }
    template <typename IsDone>
    bool poll(IsDone is_done) {
        return test::poll_until(drivers_, is_done);
    }
    std::unique_ptr<Socket> connect(SocketHandler& far) {
        near_.socket =
            *client_->network().connect(listener_->local_address(), SocketOptions(), near_);
        EXPECT_TRUE(poll([&] { return near_.is_connected && !tickets_.tickets.empty(); }));
        return *server_->network().adopt(tickets_.tickets.front(), SocketOptions(), far);
    }

    std::unique_ptr<UringDriver> client_;
    std::unique_ptr<UringDriver> server_;
    std::array<UringDriver*, 2> drivers_{};
    Tickets tickets_;
    std::unique_ptr<Listener> listener_;
    Peer near_;
};

INSTANTIATE_TEST_SUITE_P(Kernels,
                         UringSocketTest,
                         testing::ValuesIn(test::kernels()),
                         test::kernel_name);

TEST_P(UringSocketTest, PutsTheRestOfLargeTransfersStraightToTheirPlace) {
    Receiver receiver;
    const std::unique_ptr<Socket> socket = connect(receiver);
    constexpr uint32_t kTransfers = 32;
    near_.send_stream(kTransfers * (kHeadBytes + kTransferBytes));
    ASSERT_TRUE(poll([&] { return receiver.transfers == kTransfers; }));
    EXPECT_TRUE(receiver.is_right);
    // All but the first transfer, and what comes with a head.
    EXPECT_GT(receiver.direct_bytes, 7 * receiver.copied_bytes);
    EXPECT_LE(receiver.direct_calls, kTransfers);
    socket->close();
    ASSERT_TRUE(poll([&] { return receiver.is_closed; }));
}

TEST_P(UringSocketTest, ReceivesSmallThingsAsBeforeAfterALargeTransfer) {
    Receiver receiver;
    const std::unique_ptr<Socket> socket = connect(receiver);
    near_.send_stream(2 * (kHeadBytes + kTransferBytes));
    ASSERT_TRUE(poll([&] { return receiver.transfers == 2; }));
    // Single bytes: requests for little until the socket believes that bulk is over. Then one
    // request lasts: nothing is submitted for a byte any more.
    uint64_t submissions = 0;
    for (uint32_t i = 0; i < 20; ++i) {
        const uint32_t before = receiver.offers;
        submissions = server_->counters().submissions;
        near_.send_stream(1);
        ASSERT_TRUE(poll([&] { return receiver.offers > before; }));
        ASSERT_TRUE(poll([&] { return !near_.is_sending; }));
    }
    server_->poll();
    if (GetParam().allowed.multishot_receive && GetParam().allowed.buffer_ring) {
        EXPECT_EQ(server_->counters().submissions, submissions);
    }
    socket->close();
    ASSERT_TRUE(poll([&] { return receiver.is_closed; }));
}

TEST_P(UringSocketTest, ClosesWhileItReceivesStraightToAPlace) {
    Receiver receiver;
    std::unique_ptr<Socket> socket = connect(receiver);
    near_.send_stream(2 * kTransferBytes);  // Half of the second is missing.
    ASSERT_TRUE(poll([&] { return receiver.transfers == 1 && !near_.is_sending; }));
    for (uint32_t i = 0; i < 100; ++i) {
        server_->poll();
    }
    socket->close();
    ASSERT_TRUE(poll([&] { return receiver.is_closed; }));
    socket.reset();
    EXPECT_EQ(receiver.transfers, 1U);
}

TEST_P(UringSocketTest, ReceivesTransfersInOrderWhereTheRingTakesFewRequests) {
    // Requests that belong together then often meet a queue that has room for one.
    UringOptions options;
    options.allowed = GetParam().allowed;
    options.ring.submission_entries = 2;
    const auto server = test::make_driver(options);
    Tickets tickets;
    const auto listener = *server->network().listen(*SocketAddress::parse("127.0.0.1", 0), tickets);
    constexpr size_t kSockets = 5;
    std::array<Peer, kSockets> peers;
    std::array<Receiver, kSockets> receivers;
    std::vector<std::unique_ptr<Socket>> sockets;
    const std::array<UringDriver*, 2> drivers{client_.get(), server.get()};
    const auto wait = [&](auto is_done) { return test::poll_until(drivers, is_done); };
    for (size_t i = 0; i < kSockets; ++i) {
        peers[i].socket =
            *client_->network().connect(listener->local_address(), SocketOptions(), peers[i]);
        ASSERT_TRUE(wait([&] { return peers[i].is_connected && tickets.tickets.size() > i; }));
        sockets.push_back(
            *server->network().adopt(tickets.tickets[i], SocketOptions(), receivers[i]));
    }
    constexpr uint32_t kTransfers = 16;
    for (Peer& peer : peers) {
        peer.send_stream(kTransfers * (kHeadBytes + kTransferBytes));
    }
    ASSERT_TRUE(wait([&] {
        return std::all_of(receivers.begin(), receivers.end(), [](const Receiver& one) {
            return one.transfers == kTransfers || one.is_closed;
        });
    }));
    for (size_t i = 0; i < kSockets; ++i) {
        EXPECT_FALSE(receivers[i].is_closed);
        EXPECT_TRUE(receivers[i].is_right);
        EXPECT_GT(receivers[i].direct_calls, 0U);
        sockets[i]->close();
        peers[i].socket->close();
    }
    EXPECT_TRUE(wait([&] { return server->socket_count() + client_->socket_count() == 0; }));
}

TEST_P(UringSocketTest, IsReleasedBetweenTwoTransfersWithAllThatHasCome) {
    for (uint32_t extra = 0; extra < 8; ++extra) {
        Receiver receiver;
        Peer near;
        near.socket = *client_->network().connect(listener_->local_address(), {}, near);
        ASSERT_TRUE(poll([&] { return near.is_connected && !tickets_.tickets.empty(); }));
        auto socket = *server_->network().adopt(tickets_.tickets.front(), {}, receiver);
        tickets_.tickets.clear();
        constexpr uint32_t kTransfers = 3;
        near.send_stream(kTransfers * (kHeadBytes + kTransferBytes));
        ASSERT_TRUE(poll([&] { return receiver.transfers == kTransfers; }));
        for (uint32_t i = 0; i < extra; ++i) {
            server_->poll();
        }
        // What follows may be here already, or come when all is over.
        const uint64_t before = near.sent;
        const bool is_early = extra >= 4;
        ASSERT_TRUE(poll([&] { return !near.is_sending; }));
        if (is_early) {
            near.send_stream(extra % 2 == 0 ? 10 : 2000);
            client_->poll();
        }
        ASSERT_TRUE(socket->release());
        ASSERT_TRUE(poll([&] { return receiver.released.has_value(); }));
        socket.reset();
        if (!is_early) {
            near.send_stream(100);
        }
        Peer heir;
        heir.received = before;
        heir.socket = *client_->network().adopt(std::move(*receiver.released), {}, heir);
        ASSERT_TRUE(poll([&] { return heir.received == near.sent; }));
        EXPECT_TRUE(heir.is_in_order);
        heir.socket->close();
        near.socket->close();
        ASSERT_TRUE(poll([&] { return heir.closed.has_value() && near.closed.has_value(); }));
    }
}

TEST_P(UringSocketTest, HearsThatThePeerHasGoneInTheMiddleOfATransfer) {
    Receiver receiver;
    const std::unique_ptr<Socket> socket = connect(receiver);
    near_.send_stream(2 * kTransferBytes);
    ASSERT_TRUE(poll([&] { return receiver.transfers == 1 && !near_.is_sending; }));
    near_.socket->close();
    ASSERT_TRUE(poll([&] { return receiver.is_closed; }));
    EXPECT_TRUE(receiver.is_right);
}

TEST_P(UringSocketTest, KeptMemoryStaysAsItWasUntilItIsGivenBack) {
    Keeper keeper;
    keeper.socket = connect(keeper);
    for (uint32_t i = 0; i < 300; ++i) {
        const uint64_t before = keeper.received;
        near_.send_stream(1000);
        ASSERT_TRUE(poll([&] { return keeper.received == before + 1000 && !near_.is_sending; }));
    }
    // A quarter of 64 buffers may be kept; receiving goes on without.
    EXPECT_EQ(keeper.kept.size(), 16U);
    EXPECT_EQ(keeper.refusals, 284U);
    EXPECT_TRUE(keeper.is_right());
    keeper.socket->close();
    ASSERT_TRUE(poll([&] { return keeper.is_closed; }));
    EXPECT_TRUE(keeper.is_right());
    for (const Keeper::Kept& one : keeper.kept) {
        server_->network().give_back(one.memory);
    }
}

TEST_P(UringSocketTest, MemoryGivenBackMayBeKeptAgain) {
    Keeper keeper;
    keeper.socket = connect(keeper);
    for (uint32_t i = 0; i < 300; ++i) {
        const uint64_t before = keeper.received;
        near_.send_stream(1000);
        ASSERT_TRUE(poll([&] { return keeper.received == before + 1000 && !near_.is_sending; }));
        ASSERT_TRUE(keeper.is_right());
        for (const Keeper::Kept& one : keeper.kept) {
            server_->network().give_back(one.memory);
        }
        keeper.kept.clear();
    }
    EXPECT_EQ(keeper.refusals, 0U);
    keeper.socket->close();
    ASSERT_TRUE(poll([&] { return keeper.is_closed; }));
}

TEST_P(UringSocketTest, SendsAtOnceAndTellsItFromThePollLoop) {
    Peer far;
    far.socket = connect(far);
    std::vector<std::byte> bytes = test::stream_bytes(0, 100);
    const iovec piece{.iov_base = bytes.data(), .iov_len = bytes.size()};
    server_->poll();  // Receiving is asked for.
    const uint64_t submissions = server_->counters().submissions;
    far.socket->send_at_once({&piece, 1});
    EXPECT_EQ(far.sends_done, 0U);
    // The other end has it before this end's poll loop turns.
    ASSERT_TRUE(
        test::poll_until(std::span(drivers_).first(1), [&] { return near_.received == 100; }));
    EXPECT_EQ(far.sends_done, 0U);
    server_->poll();
    EXPECT_EQ(far.sends_done, 1U);
    EXPECT_EQ(server_->counters().submissions, submissions);
    EXPECT_TRUE(near_.is_in_order);
    far.socket->close();
    ASSERT_TRUE(poll([&] { return far.closed.has_value(); }));
}

TEST_P(UringSocketTest, SendsTheRestLaterOfWhatDoesNotGoAtOnce) {
    Peer far;
    far.socket = connect(far);
    constexpr size_t kBytes = size_t{16} << 20U;
    std::vector<std::byte> bytes = test::stream_bytes(0, kBytes);
    const std::array<iovec, 2> pieces{
        iovec{.iov_base = bytes.data(), .iov_len = 1000},
        iovec{.iov_base = bytes.data() + 1000, .iov_len = kBytes - 1000}};
    far.socket->send_at_once(pieces);
    ASSERT_TRUE(poll([&] { return far.sends_done == 1 && near_.received == kBytes; }));
    EXPECT_TRUE(near_.is_in_order);
    far.socket->close();
    ASSERT_TRUE(poll([&] { return far.closed.has_value(); }));
}

TEST_P(UringSocketTest, ClosesRightAfterASendAtOnce) {
    Peer far;
    far.socket = connect(far);
    std::vector<std::byte> bytes = test::stream_bytes(0, 100);
    const iovec piece{.iov_base = bytes.data(), .iov_len = bytes.size()};
    far.socket->send_at_once({&piece, 1});
    far.socket->close();
    ASSERT_TRUE(poll([&] { return far.closed.has_value() && near_.received == 100; }));
    EXPECT_EQ(far.sends_done, 0U);
}

}  // namespace
}  // namespace basalt
