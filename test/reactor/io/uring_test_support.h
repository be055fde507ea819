#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "reactor/io/tsc_clock.h"
#include "reactor/io/uring_driver.h"

namespace basalt::test {

/// A kernel to pretend: what it can do, and what to call it.
struct Kernel {
    const char* name;
    UringFeatures allowed;
};

// GoogleTest looks for this name.
// NOLINTNEXTLINE(readability-identifier-naming)
inline void PrintTo(const Kernel& kernel, std::ostream* out) {
    *out << kernel.name;
}

/// Everything, each feature missing, and nothing but Linux 5.19's necessities.
inline std::vector<Kernel> kernels() {
    return {
        {"Full", {}},
        {"NoDeferTaskrun", {.defer_taskrun = false}},
        {"NoMultishotAccept", {.multishot_accept = false}},
        {"NoMultishotReceive", {.multishot_receive = false}},
        {"NoBufferRing", {.buffer_ring = false}},
        {"NoRegisteredMemory", {.registered_memory = false}},
        {"NoRegisteredFiles", {.registered_files = false}},
        {"Bare",
         {.defer_taskrun = false,
          .multishot_accept = false,
          .multishot_receive = false,
          .buffer_ring = false,
          .registered_memory = false,
          .registered_files = false}},
    };
}

inline std::string kernel_name(const testing::TestParamInfo<Kernel>& info) {
    return info.param.name;
}

/// What is left of this machine's kernel when it is pretended to be that one.
inline UringFeatures kernel_has(const Kernel& kernel) {
    const auto probed = UringFeatures::probe();
    return probed ? kernel.allowed & *probed : UringFeatures{};
}

inline TscClock& test_clock() {
    static TscClock clock;
    return clock;
}

inline std::unique_ptr<UringDriver> make_driver(const UringOptions& options) {
    const auto probed = UringFeatures::probe();
    EXPECT_TRUE(probed) << describe(probed.error().code);
    if (!probed) {
        return nullptr;
    }
    auto driver = UringDriver::create(test_clock(), options, *probed);
    EXPECT_TRUE(driver) << describe(driver.error().code);
    return driver ? std::move(*driver) : nullptr;
}

/// Polls all drivers until `is_done()`; false after `timeout_ns`.
template <typename IsDone>
bool poll_until(std::span<UringDriver* const> drivers,
                IsDone is_done,
                uint64_t timeout_ns = 20 * kNsPerSecond) {
    const uint64_t end_ns = test_clock().now_ns() + timeout_ns;
    while (!is_done()) {
        for (UringDriver* driver : drivers) {
            driver->poll();
        }
        if (test_clock().now_ns() > end_ns) {
            return false;
        }
    }
    return true;
}

/// A byte that tells its place in a stream, so that loss, repetition and disorder show.
inline std::byte stream_byte(uint64_t position) {
    return static_cast<std::byte>((position * 2654435761U) >> 13);
}

inline std::vector<std::byte> stream_bytes(uint64_t from, size_t count) {
    std::vector<std::byte> bytes(count);
    for (size_t i = 0; i < count; ++i) {
        bytes[i] = stream_byte(from + i);
    }
    return bytes;
}

/// One end of a connection: notes what it is told, checks the stream it receives, and takes only as
/// much as it is allowed.
class Peer : public SocketHandler {
  public:
    void on_connected() override { is_connected = true; }

    size_t on_receive(std::span<const std::byte> data) override {
        EXPECT_FALSE(closed.has_value());
        const size_t taken = data.size() < allowance ? data.size() : static_cast<size_t>(allowance);
        for (size_t i = 0; i < taken; ++i) {
            is_in_order = is_in_order && data[i] == stream_byte(received + i);
        }
        received += taken;
        allowance -= taken;
        if (is_echo) {
            echo(data.first(taken));
        }
        return taken;
    }

    void on_sent() override {
        ++sends_done;
        is_sending = false;
        sending_.clear();
        if (!waiting_.empty()) {
            sending_.swap(waiting_);
            start_send();
        }
    }

    void on_closed(Error reason) override {
        EXPECT_FALSE(closed.has_value()) << "on_closed() twice";
        closed = reason;
    }

    void on_released(AcceptedSocket connection) override {
        EXPECT_FALSE(closed.has_value());
        EXPECT_FALSE(released.has_value()) << "on_released() twice";
        socket.reset();
        released = std::move(connection);
    }

    /// Sends `count` bytes of the stream.
    void send_stream(size_t count) {
        sending_ = stream_bytes(sent, count);
        sent += count;
        start_send();
    }

    std::unique_ptr<Socket> socket;
    bool is_connected = false;
    bool is_in_order = true;
    bool is_echo = false;
    bool is_sending = false;
    uint64_t allowance = UINT64_MAX;  // Bytes that may still be taken.
    uint64_t received = 0;
    uint64_t sent = 0;
    uint32_t sends_done = 0;
    std::optional<Error> closed;
    std::optional<AcceptedSocket> released;

  private:
    void start_send() {
        is_sending = true;
        piece = {.iov_base = sending_.data(), .iov_len = sending_.size()};
        socket->send({&piece, 1});
    }

    void echo(std::span<const std::byte> data) {
        waiting_.insert(waiting_.end(), data.begin(), data.end());
        if (!is_sending && !waiting_.empty()) {
            sending_.swap(waiting_);
            start_send();
        }
    }

    std::vector<std::byte> sending_;
    std::vector<std::byte> waiting_;
    iovec piece{};
};

/// Keeps the tickets that it is given.
class Tickets : public ListenHandler {
  public:
    void on_accept(AcceptedSocket accepted) override { tickets.push_back(accepted); }
    std::vector<AcceptedSocket> tickets;
};

}  // namespace basalt::test
