#pragma once

#include <coroutine>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "control/config/config.h"
#include "reactor/task.h"
#include "rpc/server/method_table.h"

namespace basalt::control {

/// `co_await ApiCall(table, method, params)`: makes one call of the API from inside and gives its
/// error, or nothing if it succeeded. Control thread.
class [[nodiscard]] ApiCall final : public rpc::CallSink {
  public:
    /// The arguments live until the call has ended.
    ApiCall(const rpc::MethodTable& table, const std::string& method, const nlohmann::json& params)
        : table_(table), method_(method), params_(params) {}

    [[nodiscard]] bool await_ready();
    void await_suspend(std::coroutine_handle<> awaiter) { awaiter_ = awaiter; }
    [[nodiscard]] std::optional<rpc::RpcError> await_resume() { return std::move(error_); }

    void call_done(const rpc::Call& call, const rpc::RpcError* error) override;

  private:
    const rpc::MethodTable& table_;
    const std::string& method_;
    const nlohmann::json& params_;
    std::optional<rpc::RpcError> error_;
    std::coroutine_handle<> awaiter_;
    bool is_done_ = false;
};

/// Why a replay ended early: which call, and what it said.
struct ReplayError {
    std::string text;  ///< "s.json: subsystem 'bdev': bdev_malloc_create: …"
    int32_t code = 0;
};

/// Makes the calls one after the other, and stops at the first that fails, or when `is_stopping`
/// becomes true. What was done before stays. `table` and `is_stopping` live until it ends.
[[nodiscard]] Task<std::optional<ReplayError>> replay(const rpc::MethodTable& table,
                                                      std::vector<StartupCall> calls,
                                                      const bool& is_stopping);

}  // namespace basalt::control
