// A daemon without a dataplane: real servers and the real method list over handlers that only
// remember. For tests of clients. Usage: rpc_fake_daemon SOCKET; ends on SIGTERM.
#include <csignal>
#include <iostream>
#include <map>
#include <memory>
#include <string>

#include <poll.h>

#include "rpc/proto/app.pb.h"
#include "rpc/proto/bdev.pb.h"
#include "rpc/proto/nvmf.pb.h"
#include "rpc/server/introspection.h"
#include "rpc/server/json_rpc_server.h"

namespace basalt::rpc {
namespace {

volatile std::sig_atomic_t stopping = 0;

// Knows the names of malloc devices, and answers some other methods with what they were asked.
class FakeHandlers {
  public:
    explicit FakeHandlers(MethodTable& table) {
        table.add("bdev_malloc_create", *this, &FakeHandlers::bdev_malloc_create);
        table.add("bdev_malloc_delete", *this, &FakeHandlers::bdev_malloc_delete);
        table.add("bdev_get_bdevs", *this, &FakeHandlers::bdev_get_bdevs);
        table.add("bdev_get_iostat", *this, &FakeHandlers::bdev_get_iostat);
        table.add(
            "bdev_enable_histogram", *this, &FakeHandlers::echo<v1::BdevEnableHistogramRequest>);
        table.add(
            "nvmf_create_transport", *this, &FakeHandlers::echo<v1::NvmfCreateTransportRequest>);
        table.add(
            "nvmf_create_subsystem", *this, &FakeHandlers::echo<v1::NvmfCreateSubsystemRequest>);
        table.add("nvmf_subsystem_add_listener",
                  *this,
                  &FakeHandlers::echo<v1::NvmfSubsystemAddListenerRequest>);
        table.add("nvmf_subsystem_add_ns", *this, &FakeHandlers::nvmf_subsystem_add_ns);
        table.add("load_config", *this, &FakeHandlers::echo<v1::SavedConfig>);
        table.add("log_get_level", *this, &FakeHandlers::log_get_level);
        table.add("thread_get_stats", *this, &FakeHandlers::thread_get_stats);
    }

    // Prints the request, for the test to compare.
    template <typename Request>
    void echo(const Request& request, Reply<v1::Done> reply) {
        std::cout << request.ShortDebugString() << std::endl;
        reply.send();
    }

    void bdev_malloc_create(const v1::BdevMallocCreateRequest& request,
                            Reply<v1::BdevMallocCreateResponse> reply) {
        if (!bdevs_.emplace(request.name(), request).second) {
            reply.fail(Error(Errc::kExists), "bdev '" + request.name() + "'");
            return;
        }
        reply.result().set_name(request.name());
        reply.send();
    }

    void bdev_malloc_delete(const v1::BdevMallocDeleteRequest& request, Reply<v1::Done> reply) {
        if (bdevs_.erase(request.name()) == 0) {
            reply.fail(Error(Errc::kNotFound), "bdev '" + request.name() + "'");
            return;
        }
        reply.send();
    }

    void bdev_get_bdevs(const v1::BdevGetBdevsRequest&, Reply<v1::BdevGetBdevsResponse> reply) {
        for (const auto& [name, created] : bdevs_) {
            auto& bdev = *reply.result().add_bdevs();
            bdev.set_name(name);
            bdev.set_block_size(created.block_size());
            bdev.set_num_blocks(created.num_blocks());
            bdev.mutable_driver_specific();
        }
        reply.send();
    }

    void bdev_get_iostat(const v1::BdevGetIostatRequest& request,
                         Reply<v1::BdevGetIostatResponse> reply) {
        for (const auto& name : request.names()) {
            reply.result().add_bdevs()->set_name(name);
        }
        reply.send();
    }

    void nvmf_subsystem_add_ns(const v1::NvmfSubsystemAddNsRequest& request,
                               Reply<v1::NvmfSubsystemAddNsResponse> reply) {
        std::cout << request.ShortDebugString() << std::endl;
        reply.result().set_nsid(7);
        reply.send();
    }

    void log_get_level(const v1::LogGetLevelRequest&, Reply<v1::LogGetLevelResponse> reply) {
        reply.result().set_level(v1::LOG_LEVEL_WARNING);
        reply.send();
    }

    // Never answers, for tests of time-outs.
    void thread_get_stats(const v1::ThreadGetStatsRequest&,
                          Reply<v1::ThreadGetStatsResponse> reply) {
        stuck_.push_back(std::move(reply));
    }

  private:
    std::map<std::string, v1::BdevMallocCreateRequest> bdevs_;
    std::vector<Reply<v1::ThreadGetStatsResponse>> stuck_;
};

int run(const char* path) {
    MethodTable table;
    const Introspection introspection(table);
    FakeHandlers handlers(table);
    auto server = JsonRpcServer::create(table);
    if (!server || !(*server)->listen_unix(path) || !(*server)->listen_tcp("127.0.0.1", 0)) {
        std::cerr << "can't listen at " << path << "\n";
        return 1;
    }
    std::cout << "port " << (*server)->tcp_port() << std::endl;
    pollfd ready{(*server)->poll_fd(), POLLIN, 0};
    while (stopping == 0) {
        if (::poll(&ready, 1, -1) > 0) {
            (*server)->process_ready();
        }
    }
    return 0;
}

}  // namespace
}  // namespace basalt::rpc

int main(int argc, char** argv) {
    if (argc != 2) {
        std::cerr << "usage: rpc_fake_daemon SOCKET\n";
        return 2;
    }
    struct sigaction action {};
    action.sa_handler = [](int) { basalt::rpc::stopping = 1; };
    ::sigaction(SIGTERM, &action, nullptr);
    return basalt::rpc::run(argv[1]);
}
