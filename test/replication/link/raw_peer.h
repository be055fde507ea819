#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "bdev/store/checksum.h"
#include "reactor/reactor.h"
#include "replication/wire/block_sums.h"
#include "replication/wire/frame.h"

namespace basalt::replication::testing {

using ByteVector = std::vector<std::byte>;

template <typename Body>
ByteVector frame_of(wire::Header header,
                    const Body& body,
                    std::span<const std::byte> payload = {},
                    size_t table_bytes = 0) {
    header.payload_bytes = static_cast<uint32_t>(payload.size());
    header.table_crc = payload.empty() ? 0 : bdev::store::crc32c(payload.first(table_bytes));
    ByteVector out(wire::kHeaderBytes + wire::kBodyBytesMax);
    out.resize(wire::encode(header, body, out));
    out.insert(out.end(), payload.begin(), payload.end());
    return out;
}

/// Such a frame with data, and its sums before it.
template <typename Body>
ByteVector data_frame_of(const wire::Header& header,
                         const Body& body,
                         std::span<const std::byte> data) {
    const size_t sums = data.size() / kBlockBytes * sizeof(uint32_t);
    ByteVector payload(sums);
    wire::put_block_sums(data, payload);
    payload.insert(payload.end(), data.begin(), data.end());
    return frame_of(header, body, payload, sums);
}

/// An end of a connection that says what it is told to, sense or nonsense.
class RawPeer final : public SocketHandler, public ListenHandler {
  public:
    explicit RawPeer(Reactor& reactor) : reactor_(reactor) {}

    void connect(const SocketAddress& address) {
        auto made = reactor_.network().connect(address, SocketOptions{}, *this);
        if (made) {
            socket_ = std::move(*made);
            is_open = true;
        }
    }
    void listen(const SocketAddress& address) {
        auto made = reactor_.network().listen(address, *this);
        BASALT_ASSERT(made.has_value());
        listener_ = std::move(*made);
    }
    void send(const ByteVector& bytes) {
        queued_.insert(queued_.end(), bytes.begin(), bytes.end());
        flush();
    }
    void close() {
        if (socket_ != nullptr) {
            socket_->close();
        }
    }
    void stop_listening() { listener_.reset(); }

    void on_accept(AcceptedSocket accepted) override {
        if (socket_ != nullptr) {
            reactor_.network().discard(std::move(accepted));
            return;
        }
        auto made = reactor_.network().adopt(std::move(accepted), SocketOptions{}, *this);
        if (made) {
            socket_ = std::move(*made);
            is_open = is_connected_ = true;
            ++accepted_count;
            received.clear();
        }
    }
    void on_connected() override {
        is_connected_ = true;
        flush();
    }
    size_t on_receive(std::span<const std::byte> data) override {
        if (!is_reading) {
            return 0;
        }
        received.insert(received.end(), data.begin(), data.end());
        return data.size();
    }
    void on_sent() override {
        sending_.clear();
        flush();
    }
    void on_closed(Error /*reason*/) override {
        is_open = is_connected_ = false;
        queued_.clear();
        sending_.clear();
        socket_.reset();
    }

    /// The header of the first frame that was received and not taken yet, if it is whole.
    struct Received {
        wire::Header header{};
        ByteVector frame{};
    };
    std::optional<Received> take_frame() {
        if (received.size() < wire::kHeaderBytes) {
            return std::nullopt;
        }
        const auto header = wire::decode_header(received);
        BASALT_ASSERT(header.has_value());
        const size_t size = wire::kHeaderBytes + header->body_bytes + header->payload_bytes;
        if (received.size() < size) {
            return std::nullopt;
        }
        const auto end = received.begin() + static_cast<ptrdiff_t>(size);
        Received out{*header, ByteVector(received.begin(), end)};
        received.erase(received.begin(), end);
        return out;
    }

    ByteVector received{};
    bool is_open = false;
    bool is_reading = true;
    int accepted_count = 0;

  private:
    void flush() {
        if (!is_connected_ || !sending_.empty() || queued_.empty()) {
            return;
        }
        sending_ = std::exchange(queued_, {});
        piece_ = {sending_.data(), sending_.size()};
        socket_->send(std::span<const iovec>(&piece_, 1));
    }

    Reactor& reactor_;
    std::unique_ptr<Listener> listener_;
    std::unique_ptr<Socket> socket_;
    ByteVector queued_{};
    ByteVector sending_{};
    iovec piece_{};
    bool is_connected_ = false;
};

}  // namespace basalt::replication::testing
