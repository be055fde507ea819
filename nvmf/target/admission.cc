#include "nvmf/target/admission.h"

#include <utility>

#include "nvmf/target/connection.h"

namespace basalt::nvmf {

HostPlace::HostPlace(HostPlace&& other) noexcept
    : admission_(std::exchange(other.admission_, nullptr)),
      share_(other.share_),
      what_(other.what_) {}

HostPlace& HostPlace::operator=(HostPlace&& other) noexcept {
    if (this != &other) {
        give_back();
        admission_ = std::exchange(other.admission_, nullptr);
        share_ = other.share_;
        what_ = other.what_;
    }
    return *this;
}

void HostPlace::give_back() {
    Admission* const admission = std::exchange(admission_, nullptr);
    if (admission == nullptr) {
        return;
    }
    HostTally& share = share_->second;
    BASALT_ASSERT(share.*what_ > 0);
    --(share.*what_);
    if (share.connections == 0 && share.controllers == 0) {
        admission->hosts_.erase(share_);
    }
}

Admission::~Admission() {
    BASALT_ASSERT(beginning_count_ == 0);
    BASALT_ASSERT(hosts_.empty());
}

Admittance Admission::begin(Beginner& beginner, const SocketAddress& peer) {
    beginner.address = peer.host();
    uint32_t& of_address = addresses_[beginner.address];
    if (of_address >= options_.opening_per_address_max) {
        ++stats_.refused_connections;
        return Admittance::kRefused;
    }
    ++of_address;
    ++beginning_count_;
    beginners_.push_back(beginner);
    if (beginning_count_ <= options_.opening_max) {
        return Admittance::kAdmitted;
    }
    Beginner* const oldest = beginners_.front();
    BASALT_ASSERT(oldest != nullptr && oldest != &beginner);
    ++stats_.evicted_connections;
    oldest->connection.close({});
    return Admittance::kInPlaceOfAnother;
}

void Admission::settle(Beginner& beginner) {
    if (!beginner.link.is_linked()) {
        return;
    }
    IntrusiveList<Beginner, &Beginner::link>::remove(beginner);
    --beginning_count_;
    const auto of_address = addresses_.find(beginner.address);
    BASALT_ASSERT(of_address != addresses_.end());
    if (--of_address->second == 0) {
        addresses_.erase(of_address);
    }
}

HostPlace Admission::take_connection(std::string_view host_nqn) {
    return take(host_nqn, &HostTally::connections, options_.host_connections_max);
}

HostPlace Admission::take_controller(std::string_view host_nqn) {
    return take(host_nqn, &HostTally::controllers, options_.host_controllers_max);
}

bool Admission::has_room(std::string_view host_nqn, bool for_controller) const {
    const auto share = hosts_.find(host_nqn);
    return share == hosts_.end() ||
           (share->second.connections < options_.host_connections_max &&
            (!for_controller || share->second.controllers < options_.host_controllers_max));
}

HostPlace Admission::take(std::string_view host_nqn, uint32_t HostTally::*what, uint32_t limit) {
    auto share = hosts_.find(host_nqn);
    if (share == hosts_.end()) {
        share = hosts_.try_emplace(std::string(host_nqn)).first;
    }
    if (share->second.*what >= limit) {
        BASALT_ASSERT(limit > 0);
        return {};
    }
    ++(share->second.*what);
    return {*this, share, what};
}

}  // namespace basalt::nvmf
