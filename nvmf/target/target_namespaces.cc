// The namespaces of a subsystem: which come, which go, and who hears of it.

#include <algorithm>

#include "nvmf/target/target.h"

namespace basalt::nvmf {

namespace {

/// The hosts that hear of what happens to a namespace; null: all.
const std::vector<std::string>* audience_of(const NamespaceConfig& config) {
    return config.is_auto_visible ? nullptr : &config.visible_hosts;
}

struct AnnounceNamespace {
    PollGroup* group = nullptr;
    SubsystemId id;
    Nsid nsid;
    const std::vector<std::string>* hosts = nullptr;

    static Task<void> run(Reactor&, AnnounceNamespace& self) {
        self.group->announce_namespaces(self.id, std::span(&self.nsid, 1), self.hosts);
        co_return;
    }
};

}  // namespace

Task<void> Target::announce_namespace(SubsystemId id,
                                      Nsid nsid,
                                      const std::vector<std::string>* hosts) {
    for (uint32_t i = 0; i < groups_.size(); ++i) {
        AnnounceNamespace announced{groups_[i], id, nsid, hosts};
        visit<AnnounceNamespace> trip(control_, CoreId(i), announced, &AnnounceNamespace::run);
        co_await trip;
    }
}

Task<Result<Nsid>> Target::add_namespace(std::string nqn, NamespaceOptions options) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    SubsystemState* state = find_state(nqn);
    if (state == nullptr || state->config->type == SubsystemType::kDiscovery || !transport_) {
        co_return Errc::kNotFound;
    }
    const SubsystemConfig& current = *state->config;
    NamespaceConfig added;
    added.nsid = options.nsid;
    if (added.nsid == Nsid(0)) {
        uint32_t lowest = 1;
        while (current.find_namespace(Nsid(lowest)) != nullptr) {
            ++lowest;
        }
        if (lowest > current.namespaces_max) {
            co_return Errc::kNoSpace;
        }
        added.nsid = Nsid(lowest);
    }
    added.ana_group = options.ana_group == 0 ? added.nsid.raw() : options.ana_group;
    added.is_auto_visible = options.is_auto_visible;
    if (std::max(added.nsid.raw(), added.ana_group) > current.namespaces_max) {
        co_return Errc::kInvalidArgument;
    }
    added.bdev = options.device;
    added.uuid = options.uuid.is_nil() ? options.device->info().uuid : options.uuid;
    added.eui64 = options.eui64;
    const bool has_nguid = options.nguid != std::array<uint8_t, 16>{};
    added.nguid = has_nguid ? options.nguid : added.uuid.bytes;
    for (const NamespaceConfig& other : current.namespaces) {
        if (other.nsid == added.nsid || other.uuid == added.uuid) {
            co_return Errc::kExists;
        }
    }
    std::optional<ReservationState> restored;
    if (options.reservation_store != nullptr) {
        auto loading = options.reservation_store->load(added.uuid);
        auto loaded = co_await loading;
        if (!loaded) {
            co_return loaded.error();
        }
        restored = std::move(*loaded);
    }
    const ReservationHome::Place place{current.id, added.nsid};
    auto reservations = std::make_unique<ReservationHome>(
        control_, groups_, place, std::move(options.reservation_store), std::move(restored));
    added.reservations = reservations.get();
    auto protection = std::make_unique<WriteProtection>(options.is_write_protected);
    added.protection = protection.get();
    added.reservation_file = options.reservation_file;
    auto next = std::make_unique<SubsystemConfig>(current);
    next->namespaces.push_back(added);
    std::sort(next->namespaces.begin(),
              next->namespaces.end(),
              [](const NamespaceConfig& a, const NamespaceConfig& b) { return a.nsid < b.nsid; });
    count_ana_change(*next, {added.ana_group});
    auto published = publish(*state, std::move(next));
    const Status outcome = co_await published;
    if (!outcome) {
        co_return outcome.error();
    }
    reservations->open();
    state->claims.push_back(
        {added.nsid, std::move(options.claim), std::move(reservations), std::move(protection)});
    auto announced = announce_namespace(state->config->id, added.nsid, audience_of(added));
    co_await announced;
    co_return added.nsid;
}

Task<void> Target::device_changed(const bdev::Bdev& device) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    for (const auto& state : subsystems_) {
        for (const NamespaceConfig& space : state->config->namespaces) {
            if (bdev::stands_on(*space.bdev, device)) {
                auto announced =
                    announce_namespace(state->config->id, space.nsid, audience_of(space));
                co_await announced;
            }
        }
    }
}

Task<Status> Target::remove_namespace(std::string nqn, Nsid nsid) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    SubsystemState* state = find_state(nqn);
    if (state == nullptr || state->config->find_namespace(nsid) == nullptr) {
        co_return Errc::kNotFound;
    }
    auto next = std::make_unique<SubsystemConfig>(*state->config);
    const NamespaceConfig removed = *next->find_namespace(nsid);
    count_ana_change(*next, {removed.ana_group});
    std::erase_if(next->namespaces, [&](const NamespaceConfig& n) { return n.nsid == nsid; });
    auto published = publish(*state, std::move(next));
    const Status outcome = co_await published;
    BASALT_ASSERT(outcome.has_value());  // Nothing is opened, so nothing can fail.
    std::erase_if(state->claims, [&](const NamespaceClaim& claim) { return claim.nsid == nsid; });
    auto announced = announce_namespace(state->config->id, nsid, audience_of(removed));
    co_await announced;
    co_return kOk;
}

}  // namespace basalt::nvmf
