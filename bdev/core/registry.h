#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bdev/core/bdev.h"
#include "bdev/core/device.h"
#include "reactor/base/result.h"

namespace basalt::bdev {

class BdevRegistry;

/// The right to use a device, held by its one user: a layer above it or a front end's namespace.
/// Given back when it is destroyed. Owner: the user. Control thread. The device outlives it,
/// because BdevRegistry::remove() refuses while it lasts.
class Claim {
  public:
    Claim() = default;
    Claim(Claim&& other) noexcept : device_(std::exchange(other.device_, nullptr)) {}
    Claim& operator=(Claim&& other) noexcept;
    Claim(const Claim&) = delete;
    Claim& operator=(const Claim&) = delete;
    ~Claim() { release(); }

    [[nodiscard]] bool is_held() const { return device_ != nullptr; }
    void release();

  private:
    friend class BdevRegistry;
    Claim(Device& device, std::string user);

    Device* device_ = nullptr;
};

/// A name, and perhaps a UUID, that no device gets while it lasts: for who can only add, or rename,
/// a device when something else is done that can't be undone. Given back when it is destroyed.
/// Owner: whoever asked for it. Control thread. The registry outlives it.
class Reservation {
  public:
    Reservation() = default;
    Reservation(Reservation&& other) noexcept
        : registry_(std::exchange(other.registry_, nullptr)), id_(other.id_) {}
    Reservation& operator=(Reservation&& other) noexcept;
    Reservation(const Reservation&) = delete;
    Reservation& operator=(const Reservation&) = delete;
    ~Reservation() { release(); }

    void release();

  private:
    friend class BdevRegistry;
    Reservation(BdevRegistry& registry, uint64_t id) : registry_(&registry), id_(id) {}

    BdevRegistry* registry_ = nullptr;
    uint64_t id_ = 0;
};

/// The block devices of the process, in the order in which they were added. Names and UUIDs are
/// unique. Owner: whoever wires the process. Core: the control thread.
class BdevRegistry {
  public:
    /// `cores` are the reactors that devices are used on.
    explicit BdevRegistry(std::vector<CoreId> cores) : cores_(std::move(cores)) {}
    BdevRegistry(const BdevRegistry&) = delete;
    BdevRegistry& operator=(const BdevRegistry&) = delete;
    ~BdevRegistry();  ///< Destroys all devices, the last first. All channels are closed.

    /// Adds a device. A layer's base is claimed for it, and given back when the layer is removed.
    /// Errors: kInvalidArgument (name empty, too long or with control characters, UUID nil, block
    /// size, no blocks, alignment), kExists (name or UUID; also if they are reserved), kNotFound
    /// (its base is not in here), kBusy (its base is used already).
    [[nodiscard]] Result<Device*> add(std::unique_ptr<Bdev> bdev);

    /// The device of that name or, as SPDK has it, of that UUID in text form; null if there is
    /// none.
    [[nodiscard]] Device* find(std::string_view name_or_uuid);

    /// Destroys a device. Errors: kNotFound; kBusy: it is claimed (Device::user() says by whom) or
    /// a channel is open.
    [[nodiscard]] Status remove(std::string_view name_or_uuid);

    /// Keeps a name, and a UUID if it is not nil, for a device to come, until the Reservation is
    /// released. Errors: kExists.
    [[nodiscard]] Result<Reservation> reserve(std::string name, const Uuid& uuid);

    /// Claims a device for `user`, some words for people such as "namespace 1 of nqn.…". Errors:
    /// kBusy.
    [[nodiscard]] Result<Claim> claim(Device& device, std::string user);

    [[nodiscard]] std::span<const std::unique_ptr<Device>> devices() const;
    [[nodiscard]] std::span<const CoreId> cores() const { return cores_; }

  private:
    friend class Reservation;
    struct Reserved {
        uint64_t id;
        std::string name;
        Uuid uuid;
    };

    [[nodiscard]] bool is_taken(std::string_view name, const Uuid& uuid) const;

    std::vector<CoreId> cores_;
    std::vector<Reserved> reserved_;
    uint64_t next_reservation_ = 1;
    // Two arrays of the same order, so that devices() can show one without the other.
    std::vector<std::unique_ptr<Device>> devices_;
    std::vector<Claim> base_claims_;
};

}  // namespace basalt::bdev
