#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/handlers/context.h"
#include "control/handlers/live_config.h"
#include "nvmf/host_bdev/remote_devices.h"
#include "rpc/error.h"
#include "rpc/proto/bdev_nvme.pb.h"

namespace basalt::control {

/// The name and the id by which targets know this host: the NQN given, or that of the node.
void set_host_name(const Context& context,
                   const std::optional<std::string>& hostnqn,
                   nvmf::HostOptions& options);

/// The three parameters of reconnecting, where given, over the defaults. Errors, in `problem`, if
/// they contradict each other.
template <typename Request>
[[nodiscard]] bool read_reconnect(const Request& request,
                                  nvmf::ReconnectOptions& options,
                                  std::string& problem) {
    if (request.has_ctrlr_loss_timeout_sec()) {
        options.ctrlr_loss_timeout_sec = request.ctrlr_loss_timeout_sec();
        if (options.ctrlr_loss_timeout_sec == 0) {
            options.reconnect_delay_sec = 0;
            options.fast_io_fail_timeout_sec = 0;
        }
    }
    if (request.has_reconnect_delay_sec()) {
        options.reconnect_delay_sec = request.reconnect_delay_sec();
    }
    if (request.has_fast_io_fail_timeout_sec()) {
        options.fast_io_fail_timeout_sec = request.fast_io_fail_timeout_sec();
    }
    if (!validate(options)) {
        problem =
            "reconnect_delay_sec must not be 0, and not above fast_io_fail_timeout_sec or "
            "ctrlr_loss_timeout_sec, nor the former above the latter; with a "
            "ctrlr_loss_timeout_sec of 0 both must be 0";
        return false;
    }
    return true;
}

/// The keys of a path, by the names that the request gives: a TLS key goes into `options`, those of
/// DH-HMAC-CHAP are returned. Nothing, with what to answer in `problem`, if one is of no use.
[[nodiscard]] std::optional<nvmf::SessionKeys> find_session_keys(
    Keyring& keyring,
    const v1::BdevNvmeAttachControllerRequest& request,
    nvmf::AttachOptions& options,
    std::string& problem);

void read_multipath(const v1::NvmeMultipathOptions& from, nvmf::PathRules& rules);

void fill(const nvmf::HostOptions& host, v1::NvmeTransportId& out);

/// What bdev_get_bdevs tells about a namespace of `subsystem`, path by path, as SPDK has it.
[[nodiscard]] nlohmann::json describe_remote(const nvmf::RemoteSubsystem& subsystem,
                                             const nvmf::RemoteSubsystem::Namespace& space);

/// The calls that bring everything of `devices` about again.
[[nodiscard]] std::vector<SavedCall> remote_calls(const nvmf::RemoteDevices& devices);

}  // namespace basalt::control
