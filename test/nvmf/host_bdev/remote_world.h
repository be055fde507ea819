#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "nvmf/host_bdev/remote_devices.h"
#include "test/nvmf/target/target_world.h"

namespace basalt::nvmf {

/// A TargetWorld with a third machine: two cores and a control thread that use the target's
/// namespaces as devices.
class RemoteWorld : public TargetWorld {
  public:
    explicit RemoteWorld(uint64_t seed, TransportOptions options = {})
        : TargetWorld(seed, sim::calm(), options), node(world.add_node()) {
        for (uint32_t i = 0; i < 3; ++i) {
            cores.push_back(&world.add_reactor(node));
        }
        sequences.emplace(*cores[2]);
        local = std::make_unique<bdev::BdevRegistry>(std::vector{CoreId(0), CoreId(1)});
        remote = std::make_unique<RemoteDevices>(*cores[2], *local, *sequences);
    }
    ~RemoteWorld() {
        channels.clear();
        auto ended = remote->shut_down();
        BASALT_ASSERT(world.run_until([&] { return ended.is_done(); }, 600 * kNsPerSecond));
        remote.reset();
        local.reset();
    }

    [[nodiscard]] AttachOptions options_for(const SocketAddress& where) const {
        AttachOptions options{.name = "Nvme0"};
        options.host.address = where;
        options.host.subsystem_nqn = std::string(kNqn);
        options.host.host_nqn = "nqn.2026-11.io.basalt:host";
        options.reconnect.ctrlr_loss_timeout_sec = -1;
        options.reconnect.reconnect_delay_sec = 1;
        return options;
    }
    Result<std::vector<std::string>> attach(AttachOptions options) {
        return run(remote->attach(std::move(options), problem));
    }
    /// Attaches through the target's first address; the names of the devices.
    std::vector<std::string> attach() { return attach(options_for(address)).value(); }

    /// Another address of the target.
    SocketAddress add_address(uint16_t port) {
        return run(target->add_listener(std::string(kNqn), sim::World::address(server, port)))
            .value();
    }

    /// The device as core `index` uses it. The device is claimed, too.
    bdev::DeviceChannel& open(const std::string& name, uint32_t index = 0) {
        channels.push_back(local->find(name)->open(*cores[index]).value());
        return *channels.back();
    }

    /// A path's session of "Nvme0".
    [[nodiscard]] ControllerSession* session(uint32_t path) const {
        const RemoteSubsystem* subsystem = remote->find("Nvme0");
        return subsystem != nullptr ? subsystem->sessions()[path].get() : nullptr;
    }

    sim::NodeId node;
    std::vector<Reactor*> cores;  // The last is the control thread's.
    std::optional<AsyncMutex> sequences;
    std::unique_ptr<bdev::BdevRegistry> local;
    std::unique_ptr<RemoteDevices> remote;
    std::vector<std::unique_ptr<bdev::DeviceChannel>> channels;
    std::string problem;
};

}  // namespace basalt::nvmf
