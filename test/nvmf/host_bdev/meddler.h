#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <functional>
#include <list>
#include <memory>
#include <span>
#include <vector>

#include "nvmf/wire/pdu.h"
#include "reactor/sim/world.h"

namespace basalt::nvmf {

/// A machine of its own between a host and a target, which hears every command and makes the target
/// look worse than it is: a command is changed, so that it fails, or lost, or everything stops. No
/// digests. It stands at its own address, where the target's controllers seem to be.
///
/// Owner: the test; destroyed before its world, between runs, with all its connections.
class Meddler final : private ListenHandler {
  public:
    enum class Fate : uint8_t { kPasses, kIsLost };

    Meddler(sim::World& world, const SocketAddress& target)
        : world_(world),
          node_(world.add_node()),
          reactor_(world.add_reactor(node_)),
          target_(target),
          address_(sim::World::address(node_, 4420)),
          listener_(reactor_.network().listen(address_, *this).value()) {}
    Meddler(const Meddler&) = delete;
    Meddler& operator=(const Meddler&) = delete;
    ~Meddler() override { world_.crash_node(node_, sim::Crash::kProcess); }

    [[nodiscard]] const SocketAddress& address() const { return address_; }
    /// Connections that somebody still has.
    [[nodiscard]] size_t open_count() const {
        return static_cast<size_t>(std::count_if(links_.begin(), links_.end(), [](const auto& one) {
            return one->host.socket != nullptr || one->target.socket != nullptr;
        }));
    }

    /// Asked about each command, which it may change.
    std::function<Fate(Sqe&)> judge = [](Sqe&) { return Fate::kPasses; };
    /// As a process that was stopped: bytes and ends are taken, and none passed on. Connections
    /// that it has met are of no use any more.
    bool is_silent = false;

  private:
    /// One side of a connection.
    struct End final : SocketHandler {
        End(Meddler& of, End& to, bool hears_commands)
            : owner(of), peer(to), is_host(hears_commands) {}

        void on_connected() override {
            is_ready = true;
            pump();
        }
        size_t on_receive(std::span<const std::byte> data) override {
            if (owner.is_silent) {
                return data.size();
            }
            if (is_host) {
                stream.insert(stream.end(), data.begin(), data.end());
                owner.cut(*this);
            } else {
                peer.pass(data);
            }
            return data.size();
        }
        void on_sent() override {
            is_sending = false;
            pump();
        }
        void on_closed(Error /*reason*/) override {
            socket.reset();
            if (peer.socket != nullptr && !owner.is_silent) {
                peer.socket->close();
            }
        }
        void pass(std::span<const std::byte> bytes) {
            queued.insert(queued.end(), bytes.begin(), bytes.end());
            pump();
        }
        void pump() {
            if (socket == nullptr || !is_ready || is_sending || queued.empty()) {
                return;
            }
            sent.clear();
            std::swap(sent, queued);
            piece = iovec{sent.data(), sent.size()};
            is_sending = true;
            socket->send({&piece, 1});
        }

        Meddler& owner;
        End& peer;
        const bool is_host;
        bool is_ready = false;
        bool is_sending = false;
        std::unique_ptr<Socket> socket;
        std::vector<std::byte> stream;  // Of a host: what is no whole PDU yet.
        std::vector<std::byte> queued;
        std::vector<std::byte> sent;
        iovec piece{};
    };
    struct Link {
        explicit Link(Meddler& owner) : host(owner, target, true), target(owner, host, false) {}
        End host;
        End target;
    };

    void on_accept(AcceptedSocket accepted) override {
        Link& link = *links_.emplace_back(std::make_unique<Link>(*this));
        link.host.is_ready = true;
        auto host = reactor_.network().adopt(std::move(accepted), SocketOptions{}, link.host);
        if (!host) {
            return;
        }
        link.host.socket = std::move(*host);
        link.target.socket =
            reactor_.network().connect(target_, SocketOptions{}, link.target).value();
    }

    /// Passes the whole PDUs of a host's stream on.
    void cut(End& host) {
        std::span<std::byte> rest(host.stream);
        while (rest.size() >= sizeof(CommonHeader)) {
            CommonHeader head;
            std::memcpy(&head, rest.data(), sizeof(head));
            const uint32_t bytes = head.pdu_bytes.get();
            if (rest.size() < bytes) {
                break;
            }
            const std::span<std::byte> pdu = rest.first(bytes);
            if (head.type != static_cast<uint8_t>(PduType::kCapsuleCmd) || may_pass(pdu)) {
                host.peer.pass(pdu);
            }
            rest = rest.subspan(bytes);
        }
        host.stream.erase(host.stream.begin(),
                          host.stream.end() - static_cast<ptrdiff_t>(rest.size()));
    }
    bool may_pass(std::span<std::byte> pdu) {
        Sqe sqe;
        std::memcpy(&sqe, pdu.data() + sizeof(CommonHeader), sizeof(sqe));
        const Fate fate = judge(sqe);
        std::memcpy(pdu.data() + sizeof(CommonHeader), &sqe, sizeof(sqe));
        return fate == Fate::kPasses;
    }

    sim::World& world_;
    const sim::NodeId node_;
    Reactor& reactor_;
    const SocketAddress target_;
    const SocketAddress address_;
    std::unique_ptr<Listener> listener_;
    std::list<std::unique_ptr<Link>> links_;
};

}  // namespace basalt::nvmf
