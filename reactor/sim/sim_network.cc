#include "reactor/sim/sim_network.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "reactor/base/assert.h"

namespace basalt::sim {

Result<std::unique_ptr<Listener>> SimNetwork::listen(const SocketAddress& address,
                                                     ListenHandler& handler) {
    if (!has_power_) {
        return Error(Errc::kUnreachable);
    }
    return fabric_.listen(*this, address, handler);
}

Result<std::unique_ptr<Socket>> SimNetwork::adopt(AcceptedSocket accepted,
                                                  const SocketOptions& options,
                                                  SocketHandler& handler) {
    if (!has_power_) {
        return Error(Errc::kConnectionClosed);
    }
    return fabric_.adopt(*this, std::move(accepted), options, handler);
}

void SimNetwork::discard(AcceptedSocket accepted) {
    if (has_power_) {
        fabric_.discard(accepted);
    }
}

Result<std::unique_ptr<Socket>> SimNetwork::connect(const SocketAddress& address,
                                                    const SocketOptions& options,
                                                    SocketHandler& handler) {
    if (!has_power_) {
        return Error(Errc::kUnreachable);
    }
    return fabric_.connect(*this, address, options, handler);
}

void SimNetwork::remove_listener(SimListener& listener) {
    listeners_.erase(std::find(listeners_.begin(), listeners_.end(), &listener));
}

uint32_t SimNetwork::poll() {
    if (ready_.empty()) {
        return 0;
    }
    std::swap(ready_, serving_);
    for (size_t i = serving_.size(); i > 1; --i) {
        std::swap(serving_[i - 1], serving_[timeline_.random().below(i)]);
    }
    uint32_t calls = 0;
    for (const Ready& item : serving_) {
        if (item.side != kListenerSide) {
            calls += fabric_.serve(item.id, item.side, *this);
            continue;
        }
        // A handler may stop any listener, so look for one that still has something each time.
        for (size_t i = 0; i < listeners_.size();) {
            const uint32_t accepted = listeners_[i]->serve();
            calls += accepted;
            i = accepted > 0 ? 0 : i + 1;
        }
    }
    serving_.clear();
    return calls;
}

std::span<const std::byte> SimNetwork::begin_offer(std::span<const std::byte> data) {
    Received& received = received_[++last_offer_];
    received.bytes.assign(data.begin(), data.end());
    return received.bytes;
}

void SimNetwork::end_offer() {
    give_back(KeptMemory{last_offer_});
}

KeptMemory SimNetwork::keep_offer() {
    const auto at = received_.find(last_offer_);
    BASALT_ASSERT(at != received_.end());  // Only inside on_receive().
    ++at->second.holders;
    return KeptMemory{last_offer_};
}

void SimNetwork::give_back(KeptMemory memory) {
    const auto at = received_.find(memory.token);
    BASALT_ASSERT(at != received_.end());
    if (--at->second.holders == 0) {
        received_.erase(at);
    }
}

void SimNetwork::power_off() {
    has_power_ = false;
    ready_.clear();
    listeners_.clear();
}

SimSocket::~SimSocket() {
    // Destroyed before on_closed(): its owner breaks the contract of Socket.
    BASALT_ASSERT(fabric_ == nullptr);
}

void SimSocket::send(std::span<const iovec> pieces) {
    if (has_power_) {
        BASALT_ASSERT(fabric_ != nullptr);  // Used after on_closed().
        fabric_->send(id_, side_, pieces);
    }
}

std::optional<KeptMemory> SimSocket::keep_received() {
    BASALT_ASSERT(fabric_ != nullptr);
    return fabric_->keep_received(id_, side_);
}

void SimSocket::resume_receive() {
    if (has_power_) {
        BASALT_ASSERT(fabric_ != nullptr);  // Used after on_closed().
        fabric_->resume_receive(id_, side_);
    }
}

bool SimSocket::release() {
    if (has_power_) {
        BASALT_ASSERT(fabric_ != nullptr);  // Used after on_closed().
        fabric_->release(id_, side_);
    }
    return true;
}

void SimSocket::close() {
    if (fabric_ != nullptr) {
        fabric_->close(id_, side_);
    }
}

SimListener::SimListener(Fabric& fabric,
                         SimNetwork& network,
                         const SocketAddress& address,
                         ListenHandler& handler)
    : fabric_(&fabric), network_(network), address_(address), handler_(handler) {
    network.add_listener(*this);
}

SimListener::~SimListener() {
    if (fabric_ != nullptr) {
        network_.remove_listener(*this);
        fabric_->forget(*this);
    }
}

void SimListener::add_waiting(uint64_t id) {
    waiting_.push_back(id);
    network_.mark_ready(id, SimNetwork::kListenerSide);
}

uint32_t SimListener::serve() {
    if (waiting_.empty()) {
        return 0;
    }
    const uint64_t id = waiting_.front();
    waiting_.pop_front();
    handler_.on_accept(AcceptedSocket{static_cast<int64_t>(id)});
    return 1;
}

void SimListener::detach() {
    fabric_ = nullptr;
    waiting_.clear();
}

}  // namespace basalt::sim
