#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include "rpc/server/call.h"

namespace basalt::rpc {

/// Does the work of one method. Owner: the MethodTable. Thread: the control thread.
class Handler {
  public:
    virtual ~Handler() = default;
    /// Takes the call over and answers it, now or later. The request has passed its rules.
    virtual void call(std::unique_ptr<Call> call) = 0;
};

/// One method of the API. Owner: the MethodTable, which outlives all calls.
struct Method {
    const google::protobuf::MethodDescriptor* descriptor = nullptr;
    std::string name;                  ///< In JSON-RPC: "bdev_malloc_create".
    std::string grpc_path;             ///< In gRPC: "/basalt.v1.Bdev/BdevMallocCreate".
    std::unique_ptr<Handler> handler;  ///< Null: declared, but not offered.

    [[nodiscard]] std::unique_ptr<google::protobuf::Message> new_request() const;
    [[nodiscard]] std::unique_ptr<google::protobuf::Message> new_response() const;
};

/// All methods that the .proto files declare, and who does their work: the seam between the servers
/// and the handlers.
///
/// Life: made and filled by main before the servers start, then only read. Thread: the control
/// thread; look-ups (find, find_grpc) from any thread once it is filled. To add a method, declare
/// it in rpc/proto/ and add() a handler; nothing else knows it by name.
class MethodTable {
  public:
    MethodTable();
    MethodTable(const MethodTable&) = delete;
    MethodTable& operator=(const MethodTable&) = delete;

    /// Lets `(object.*function)(request, reply)` do the work of the method `name`. `object`
    /// outlives the table. The request lives until the reply is answered. Asserts that the .proto
    /// files declare the method with these messages and that nobody else has it.
    template <typename Request, typename Response, typename Object>
    void add(std::string_view name,
             Object& object,
             void (Object::*function)(const Request&, Reply<Response>)) {
        bind(name,
             *Request::descriptor(),
             *Response::descriptor(),
             std::make_unique<MemberHandler<Request, Response, Object>>(object, function));
    }

    /// The method of that JSON-RPC name or gRPC path that has a handler, or null.
    [[nodiscard]] const Method* find(std::string_view name) const;
    [[nodiscard]] const Method* find_grpc(std::string_view path) const;

    /// All declared methods by name.
    [[nodiscard]] const std::map<std::string, Method, std::less<>>& methods() const {
        return methods_;
    }

    /// Names of the declared methods without a handler; empty in a finished daemon.
    [[nodiscard]] std::vector<std::string> unhandled() const;

    /// Checks the request's rules (see options.proto) and hands it to the method's handler, or
    /// answers -32602. The answer goes to `sink` with `tag`, possibly before this returns.
    static void dispatch(const Method& method,
                         std::unique_ptr<google::protobuf::Message> request,
                         CallSink& sink,
                         uint64_t tag);

  private:
    template <typename Request, typename Response, typename Object>
    class MemberHandler final : public Handler {
      public:
        using Function = void (Object::*)(const Request&, Reply<Response>);
        MemberHandler(Object& object, Function function) : object_(object), function_(function) {}
        void call(std::unique_ptr<Call> call) override {
            const auto& request = static_cast<const Request&>(call->request());
            (object_.*function_)(request, Reply<Response>(std::move(call)));
        }

      private:
        Object& object_;
        Function function_;
    };

    void bind(std::string_view name,
              const google::protobuf::Descriptor& request,
              const google::protobuf::Descriptor& response,
              std::unique_ptr<Handler> handler);

    std::map<std::string, Method, std::less<>> methods_;
    std::map<std::string, const Method*, std::less<>> by_grpc_path_;
};

/// "BdevMallocCreate" -> "bdev_malloc_create".
[[nodiscard]] std::string snake_case(std::string_view camel_case);

}  // namespace basalt::rpc
