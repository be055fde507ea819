#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "reactor/reactor.h"

namespace basalt::tls::test {

/// Stands between client and server and does what a bad network may.
class Relay final : public ListenHandler {
  public:
    /// Of the bytes in one direction: from the client, or to it.
    struct Direction {
        uint64_t cut_at = UINT64_MAX;   ///< The connection ends before this byte.
        uint64_t flip_at = UINT64_MAX;  ///< A bit of this byte is wrong.
        uint64_t passed = 0;
    };

    Relay(Reactor& reactor, const SocketAddress& address, const SocketAddress& server)
        : reactor_(reactor), server_(server) {
        listener = reactor.network().listen(address, *this).value();
    }
    void on_accept(AcceptedSocket accepted) override {
        near_.peer = &far_;
        far_.peer = &near_;
        near_.direction = &from_client;
        far_.direction = &to_client;
        near_.socket = reactor_.network().adopt(accepted, SocketOptions(), near_).value();
        near_.is_connected = true;
        far_.socket = reactor_.network().connect(server_, SocketOptions(), far_).value();
    }

    Direction from_client;
    Direction to_client;
    std::unique_ptr<Listener> listener;

  private:
    struct Side final : SocketHandler {
        void on_connected() override {
            is_connected = true;
            send_on();
        }
        size_t on_receive(std::span<const std::byte> data) override {
            for (const std::byte byte : data) {
                if (direction->passed == direction->cut_at) {
                    socket->close();
                    if (peer->socket) {
                        peer->socket->close();
                    }
                    break;
                }
                const bool flips = direction->passed++ == direction->flip_at;
                peer->waiting.push_back(flips ? byte ^ std::byte{4} : byte);
            }
            peer->send_on();
            return data.size();
        }
        void on_sent() override {
            is_sending = false;
            send_on();
        }
        void on_closed(Error /*reason*/) override {
            socket.reset();
            is_gone = true;
            if (peer->socket && !peer->is_sending) {
                peer->socket->close();
            }
        }
        void send_on() {
            if (!socket || !is_connected || is_sending) {
                return;
            }
            if (waiting.empty()) {
                if (peer->is_gone) {
                    socket->close();
                }
                return;
            }
            sending.assign(waiting.begin(), waiting.end());
            waiting.clear();
            piece = iovec{sending.data(), sending.size()};
            is_sending = true;
            socket->send({&piece, 1});
        }

        Side* peer = nullptr;
        Direction* direction = nullptr;  // Of what this side receives.
        std::unique_ptr<Socket> socket;
        bool is_connected = false;
        bool is_sending = false;
        bool is_gone = false;
        std::deque<std::byte> waiting;
        std::vector<std::byte> sending;
        iovec piece{};
    };

    Reactor& reactor_;
    const SocketAddress server_;
    Side near_;
    Side far_;
};

}  // namespace basalt::tls::test
