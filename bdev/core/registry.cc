#include "bdev/core/registry.h"

#include <algorithm>
#include <bit>

#include "bdev/limits.h"
#include "reactor/base/assert.h"

namespace basalt::bdev {

namespace {

bool is_good_name(std::string_view name) {
    const bool is_printable = std::all_of(name.begin(), name.end(), [](char c) {
        return static_cast<unsigned char>(c) > ' ' && c != '\x7f';
    });
    return !name.empty() && name.size() <= kNameBytesMax && is_printable;
}

bool is_block_size(uint32_t bytes) {
    return std::has_single_bit(bytes) && bytes >= kBlockBytesMin && bytes <= kBlockBytesMax;
}

bool is_good(const BdevInfo& info) {
    return is_good_name(info.name) && !info.uuid.is_nil() && is_block_size(info.block_size_bytes) &&
           std::has_single_bit(info.memory_alignment_bytes) && info.block_count.raw() > 0 &&
           info.block_count.raw() <= UINT64_MAX / info.block_size_bytes;
}

}  // namespace

Claim::Claim(Device& device, std::string user) : device_(&device) {
    device.user_ = std::move(user);
}

Claim& Claim::operator=(Claim&& other) noexcept {
    if (this != &other) {
        release();
        device_ = std::exchange(other.device_, nullptr);
    }
    return *this;
}

void Claim::release() {
    if (device_ != nullptr) {
        device_->user_.clear();
        device_ = nullptr;
    }
}

Reservation& Reservation::operator=(Reservation&& other) noexcept {
    if (this != &other) {
        release();
        registry_ = std::exchange(other.registry_, nullptr);
        id_ = other.id_;
    }
    return *this;
}

void Reservation::release() {
    if (registry_ != nullptr) {
        std::erase_if(registry_->reserved_, [this](const auto& one) { return one.id == id_; });
        registry_ = nullptr;
    }
}

BdevRegistry::~BdevRegistry() {
    BASALT_ASSERT(reserved_.empty());
    while (!devices_.empty()) {
        devices_.pop_back();
        base_claims_.pop_back();
    }
}

bool BdevRegistry::is_taken(std::string_view name, const Uuid& uuid) const {
    const auto is_same = [&](std::string_view other_name, const Uuid& other_uuid) {
        return other_name == name || (!uuid.is_nil() && other_uuid == uuid);
    };
    return std::any_of(
               devices_.begin(),
               devices_.end(),
               [&](const auto& each) { return is_same(each->info().name, each->info().uuid); }) ||
           std::any_of(reserved_.begin(), reserved_.end(), [&](const Reserved& each) {
               return is_same(each.name, each.uuid);
           });
}

Result<Reservation> BdevRegistry::reserve(std::string name, const Uuid& uuid) {
    if (is_taken(name, uuid)) {
        return Errc::kExists;
    }
    reserved_.push_back({next_reservation_, std::move(name), uuid});
    return Reservation(*this, next_reservation_++);
}

Result<Device*> BdevRegistry::add(std::unique_ptr<Bdev> bdev) {
    const BdevInfo& info = bdev->info();
    if (!is_good(info)) {
        return Errc::kInvalidArgument;
    }
    if (is_taken(info.name, info.uuid)) {
        return Errc::kExists;
    }
    Claim base_claim;
    if (const Bdev* base = bdev->base()) {
        const auto below = std::find_if(
            devices_.begin(), devices_.end(), [base](const auto& d) { return d.get() == base; });
        if (below == devices_.end()) {
            return Errc::kNotFound;
        }
        BASALT_TRY(base_claim, claim(**below, "device " + info.name));
    }
    devices_.push_back(std::make_unique<Device>(std::move(bdev), cores_));
    base_claims_.push_back(std::move(base_claim));
    return devices_.back().get();
}

Device* BdevRegistry::find(std::string_view name_or_uuid) {
    for (const auto& device : devices_) {
        if (device->info().name == name_or_uuid) {
            return device.get();
        }
    }
    const auto uuid = Uuid::parse(name_or_uuid);
    for (const auto& device : devices_) {
        if (uuid && device->info().uuid == *uuid) {
            return device.get();
        }
    }
    return nullptr;
}

Status BdevRegistry::remove(std::string_view name_or_uuid) {
    const Device* device = find(name_or_uuid);
    if (device == nullptr) {
        return Errc::kNotFound;
    }
    if (!device->user().empty() || device->open_channels() > 0) {
        return Errc::kBusy;
    }
    const auto at = std::find_if(
        devices_.begin(), devices_.end(), [device](const auto& d) { return d.get() == device; });
    const auto index = at - devices_.begin();
    // The layer first, then its claim on what is below.
    devices_.erase(at);
    base_claims_.erase(base_claims_.begin() + index);
    return kOk;
}

Result<Claim> BdevRegistry::claim(Device& device, std::string user) {
    BASALT_ASSERT(!user.empty());
    if (!device.user().empty()) {
        return Errc::kBusy;
    }
    return Claim(device, std::move(user));
}

std::span<const std::unique_ptr<Device>> BdevRegistry::devices() const {
    return devices_;
}

}  // namespace basalt::bdev
