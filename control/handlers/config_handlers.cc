#include "control/handlers/config_handlers.h"

#include <utility>

#include "control/handlers/live_config.h"
#include "control/replay.h"
#include "rpc/codec/json_codec.h"

namespace basalt::control {

namespace {

using rpc::Reply;
using rpc::RpcCode;
using rpc::RpcError;

template <typename Message>
void add_calls(const std::vector<SavedCall>& calls, Message& out) {
    for (const SavedCall& call : calls) {
        v1::ConfigEntry& entry = *out.add_config();
        entry.set_method(call.method);
        rpc::to_struct(call.params, *entry.mutable_params());
    }
}

}  // namespace

void ConfigHandlers::add_to(rpc::MethodTable& table) {
    table.add("framework_get_subsystems", *this, &ConfigHandlers::get_subsystems);
    table.add("framework_get_config", *this, &ConfigHandlers::get_config);
    table.add("save_config", *this, &ConfigHandlers::save_config);
    table.add("load_config", *this, &ConfigHandlers::load_config);
}

void ConfigHandlers::get_subsystems(const v1::FrameworkGetSubsystemsRequest& /*request*/,
                                    Reply<v1::FrameworkGetSubsystemsResponse> reply) {
    reply.result().add_subsystems()->set_subsystem("keyring");
    reply.result().add_subsystems()->set_subsystem("bdev");
    auto& nvmf = *reply.result().add_subsystems();
    nvmf.set_subsystem("nvmf");
    nvmf.add_depends_on("bdev");
    nvmf.add_depends_on("keyring");
    reply.send();
}

void ConfigHandlers::get_config(const v1::FrameworkGetConfigRequest& request,
                                Reply<v1::FrameworkGetConfigResponse> reply) {
    if (request.name() == "keyring") {
        add_calls(keyring_calls(context_), reply.result());
    } else if (request.name() == "bdev") {
        add_calls(bdev_calls(context_), reply.result());
    } else if (request.name() == "nvmf") {
        add_calls(nvmf_calls(context_), reply.result());
    } else {
        reply.fail(RpcError(
            RpcCode::kInvalidParams,
            "name: there are subsystems keyring, bdev and nvmf, and no '" + request.name() + "'"));
        return;
    }
    reply.send();
}

void ConfigHandlers::save_config(const v1::SaveConfigRequest& /*request*/,
                                 Reply<v1::SavedConfig> reply) {
    v1::SavedConfig::Subsystem& keyring = *reply.result().add_subsystems();
    keyring.set_subsystem("keyring");
    add_calls(keyring_calls(context_), keyring);
    v1::SavedConfig::Subsystem& bdev = *reply.result().add_subsystems();
    bdev.set_subsystem("bdev");
    add_calls(bdev_calls(context_), bdev);
    v1::SavedConfig::Subsystem& nvmf = *reply.result().add_subsystems();
    nvmf.set_subsystem("nvmf");
    add_calls(nvmf_calls(context_), nvmf);
    reply.send();
}

void ConfigHandlers::load_config(const v1::SavedConfig& request, Reply<v1::Done> reply) {
    std::vector<StartupCall> calls;
    for (const v1::SavedConfig::Subsystem& subsystem : request.subsystems()) {
        for (const v1::ConfigEntry& entry : subsystem.config()) {
            if (entry.method() == "load_config") {
                reply.fail(RpcError(RpcCode::kInvalidParams,
                                    "a saved configuration can't load another: load_config"));
                return;
            }
            const rpc::OrderedJson params = rpc::from_struct(entry.params());
            calls.push_back({.method = entry.method(),
                             .params = nlohmann::json::parse(params.dump()),
                             .origin = "subsystem '" + subsystem.subsystem() + "'",
                             .new_file = std::nullopt});
        }
    }
    load(std::move(calls), std::move(reply)).detach();
}

Task<void> ConfigHandlers::load(std::vector<StartupCall> calls, Reply<v1::Done> reply) {
    const RunningCall running(context_);
    auto replaying = replay(table_, std::move(calls), context_.is_stopping);
    const std::optional<ReplayError> error = co_await replaying;
    if (error) {
        reply.fail(RpcError(error->code, error->text));
        co_return;
    }
    if (context_.is_stopping) {
        reply.fail(RpcError(-ECANCELED, "the daemon is stopping; not all calls were made"));
        co_return;
    }
    reply.send();
}

}  // namespace basalt::control
