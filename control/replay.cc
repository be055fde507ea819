#include "control/replay.h"

#include <cerrno>
#include <utility>

#include "control/config/file.h"
#include "rpc/server/invoke.h"

namespace basalt::control {

namespace {

// Where the trouble comes from: the key with the path, if that is what the message speaks of.
const std::string& origin_of(const StartupCall& call, const std::string& message) {
    const bool is_about_file =
        call.file && message.find("'" + call.file->path + "'") != std::string::npos;
    return is_about_file ? call.file->origin : call.origin;
}

}  // namespace

bool ApiCall::await_ready() {
    // Refused here, or answered later, which may be before invoke() returns.
    if (std::optional<rpc::RpcError> refused = rpc::invoke(table_, method_, params_, *this, 0)) {
        error_ = std::move(refused);
        is_done_ = true;
    }
    return is_done_;
}

void ApiCall::call_done(const rpc::Call& /*call*/, const rpc::RpcError* error) {
    if (error != nullptr) {
        error_ = *error;
    }
    is_done_ = true;
    if (awaiter_) {
        awaiter_.resume();
    }
}

// tidy: allow(coroutine): the arguments live until it is done, as the header says
Task<std::optional<ReplayError>> replay(const rpc::MethodTable& table,
                                        std::vector<StartupCall> calls,
                                        const bool& is_stopping) {
    for (const StartupCall& call : calls) {
        if (is_stopping) {
            break;
        }
        std::string problem;
        if (call.new_file) {
            const Status made =
                make_sparse_file(call.new_file->path, call.new_file->size_bytes, problem);
            if (!made) {
                const std::string& origin = call.file ? call.file->origin : call.origin;
                co_return ReplayError{.text = origin + ": " + problem};
            }
        }
        ApiCall making(table, call.method, call.params);
        const std::optional<rpc::RpcError> error = co_await making;
        if (error && !(call.may_exist && error->code == -EEXIST)) {
            co_return ReplayError{.text = origin_of(call, error->message) + ": " + call.method +
                                          ": " + error->message,
                                  .code = error->code};
        }
    }
    co_return std::nullopt;
}

}  // namespace basalt::control
