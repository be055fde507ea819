#pragma once

#include <vector>

#include <nlohmann/json.hpp>

#include "control/config/config.h"
#include "control/handlers/context.h"
#include "rpc/proto/app.pb.h"
#include "rpc/server/method_table.h"

namespace basalt::control {

/// Methods that save and load the live configuration, as the calls that bring it about. Owner: the
/// daemon. Thread: the control thread.
class ConfigHandlers {
  public:
    ConfigHandlers(Context& context, const rpc::MethodTable& table)
        : context_(context), table_(table) {}
    ConfigHandlers(const ConfigHandlers&) = delete;
    ConfigHandlers& operator=(const ConfigHandlers&) = delete;

    void add_to(rpc::MethodTable& table);

  private:
    void get_subsystems(const v1::FrameworkGetSubsystemsRequest& request,
                        rpc::Reply<v1::FrameworkGetSubsystemsResponse> reply);
    void get_config(const v1::FrameworkGetConfigRequest& request,
                    rpc::Reply<v1::FrameworkGetConfigResponse> reply);
    void save_config(const v1::SaveConfigRequest& request, rpc::Reply<v1::SavedConfig> reply);
    void load_config(const v1::SavedConfig& request, rpc::Reply<v1::Done> reply);

    Task<void> load(std::vector<StartupCall> calls, rpc::Reply<v1::Done> reply);

    Context& context_;
    const rpc::MethodTable& table_;
};

}  // namespace basalt::control
