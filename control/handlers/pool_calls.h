#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "bdev/store/pool/pools.h"
#include "control/handlers/context.h"
#include "rpc/proto/app.pb.h"
#include "rpc/server/method_table.h"

namespace basalt::control {

/// Methods that wait: what each does is a sequence, `run`, which lives as long as its reply.
class WaitingMethods {
  public:
    explicit WaitingMethods(Context& context) : context_(context) {}
    WaitingMethods(const WaitingMethods&) = delete;
    WaitingMethods& operator=(const WaitingMethods&) = delete;

  protected:
    /// One that only looks, and keeps what it looks at from going away itself.
    template <auto kRun, typename Request, typename Response>
    void add(rpc::MethodTable& table,
             const char* name,
             Task<void> (*)(Context&, const Request&, rpc::Reply<Response>)) {
        table.add(name, *this, &WaitingMethods::begin<kRun, Request, Response>);
    }
    /// One that makes or removes devices, or must find them all: one at a time
    /// (Context::device_sequences).
    template <auto kRun, typename Request, typename Response>
    void add_change(rpc::MethodTable& table,
                    const char* name,
                    Task<void> (*)(Context&, const Request&, rpc::Reply<Response>)) {
        table.add(name, *this, &WaitingMethods::begin_change<kRun, Request, Response>);
    }

  private:
    template <auto kRun, typename Request, typename Response>
    void begin(const Request& request, rpc::Reply<Response> reply) {
        run<kRun>(context_, request, std::move(reply)).detach();
    }
    template <auto kRun, typename Request, typename Response>
    void begin_change(const Request& request, rpc::Reply<Response> reply) {
        run_in_turn<kRun>(context_, request, std::move(reply)).detach();
    }

    template <auto kRun, typename Request, typename Response>
    static Task<void> run(Context& context, const Request& request, rpc::Reply<Response> reply) {
        const RunningCall running(context);
        Task<void> sequence = kRun(context, request, std::move(reply));
        co_await sequence;
    }
    template <auto kRun, typename Request, typename Response>
    static Task<void> run_in_turn(Context& context,
                                  const Request& request,
                                  rpc::Reply<Response> reply) {
        const RunningCall running(context);
        co_await context.device_sequences.acquire();
        const AsyncMutex::Turn turn(context.device_sequences);
        Task<void> sequence = kRun(context, request, std::move(reply));
        co_await sequence;
    }

    Context& context_;
};

/// "volume 'pool0/vol1'", for messages.
[[nodiscard]] std::string volume_words(const std::string& name);

/// Answers that a change of `pool` failed; tells what to do if it takes none any more.
template <typename Response>
void fail_change(const bdev::store::Pool& pool,
                 Error error,
                 std::string words,
                 rpc::Reply<Response>& reply) {
    if (pool.is_fenced()) {
        words += " (a change of the pool '" + pool.identity().name +
                 "' failed, and what came of it is known when it is opened again: close it with "
                 "bdev_store_close, and open it with bdev_examine)";
    }
    reply.fail(error, words);
}

/// The pool that stands on `device`, perhaps with layers between; null if none does.
[[nodiscard]] const bdev::store::Pool* pool_above(Context& context, const bdev::Bdev& device);

/// Now, for people: nanoseconds since 1970.
[[nodiscard]] uint64_t wall_clock_ns();

/// The pool that a request names by UUID or name; answers and returns null if there is none.
template <typename Request, typename Response>
[[nodiscard]] bdev::store::Pool* find_pool(Context& context,
                                           const Request& request,
                                           rpc::Reply<Response>& reply) {
    if (request.has_uuid() == request.has_lvs_name()) {
        reply.fail(rpc::RpcError(rpc::RpcCode::kInvalidParams,
                                 "exactly one of uuid and lvs_name must say which pool"));
        return nullptr;
    }
    const std::string& name = request.has_uuid() ? request.uuid() : request.lvs_name();
    bdev::store::Pool* pool = context.pools.find(name);
    if (pool == nullptr) {
        reply.fail(Error(Errc::kNotFound), "pool '" + name + "'");
    }
    return pool;
}

/// Answers if `pool` can't be taken away because it is a drive of replicas; true if so.
template <typename Response>
[[nodiscard]] bool refuse_drive(Context& context,
                                const bdev::store::Pool& pool,
                                rpc::Reply<Response>& reply) {
    if (!context.replica_host.has_drive(pool.identity().pool_uuid)) {
        return false;
    }
    reply.fail(Error(Errc::kBusy),
               "pool '" + pool.identity().name +
                   "', which is a drive of replicas (replication_remove_drive comes first)");
    return true;
}

/// The volume or snapshot of that name; answers and returns no pool if there is none.
template <typename Response>
[[nodiscard]] bdev::store::Pools::Found find_volume(Context& context,
                                                    const std::string& name,
                                                    rpc::Reply<Response>& reply) {
    bdev::store::Pools::Found found = context.pools.find_volume(name);
    if (found.pool == nullptr) {
        reply.fail(Error(Errc::kNotFound), volume_words(name));
    }
    return found;
}

}  // namespace basalt::control
