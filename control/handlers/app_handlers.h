#pragma once

#include <cstdint>
#include <vector>

#include "control/handlers/context.h"
#include "rpc/proto/app.pb.h"
#include "rpc/server/method_table.h"

namespace basalt::control {

/// Lets a handler end the daemon. Implemented by the daemon.
class Stopper {
  public:
    virtual ~Stopper() = default;
    /// Begins the orderly end, as SIGTERM does. Returns at once.
    virtual void request_stop() = 0;
};

/// Methods about the daemon itself: version, reactors, threads, log. Owner: the daemon. Thread: the
/// control thread.
class AppHandlers {
  public:
    AppHandlers(Context& context, Stopper& stopper);
    AppHandlers(const AppHandlers&) = delete;
    AppHandlers& operator=(const AppHandlers&) = delete;

    void add_to(rpc::MethodTable& table);

  private:
    void get_version(const v1::SpdkGetVersionRequest& request,
                     rpc::Reply<v1::SpdkGetVersionResponse> reply);
    void kill_instance(const v1::SpdkKillInstanceRequest& request, rpc::Reply<v1::Done> reply);
    void get_reactors(const v1::FrameworkGetReactorsRequest& request,
                      rpc::Reply<v1::FrameworkGetReactorsResponse> reply);
    void get_thread_stats(const v1::ThreadGetStatsRequest& request,
                          rpc::Reply<v1::ThreadGetStatsResponse> reply);
    void set_scheduler(const v1::FrameworkSetSchedulerRequest& request, rpc::Reply<v1::Done> reply);
    void get_scheduler(const v1::FrameworkGetSchedulerRequest& request,
                       rpc::Reply<v1::FrameworkGetSchedulerResponse> reply);
    void wait_init(const v1::FrameworkWaitInitRequest& request, rpc::Reply<v1::Done> reply);
    void set_log_level(const v1::LogSetLevelRequest& request, rpc::Reply<v1::Done> reply);
    void get_log_level(const v1::LogGetLevelRequest& request,
                       rpc::Reply<v1::LogGetLevelResponse> reply);

    Task<void> read_reactors(rpc::Reply<v1::FrameworkGetReactorsResponse> reply);
    Task<void> read_threads(rpc::Reply<v1::ThreadGetStatsResponse> reply);

    Context& context_;
    Stopper& stopper_;
    const uint64_t started_ns_;
};

}  // namespace basalt::control
