#include "rpc/server/json_exchange.h"

#include "reactor/base/log.h"
#include "rpc/limits.h"
#include "rpc/server/invoke.h"
#include "rpc/server/json_connection.h"

namespace basalt::rpc {

namespace {

// A string with bytes that are not UTF-8 (a file name, say) must not break the answer.
template <typename AnyJson>
std::string dump(const AnyJson& json) {
    return json.dump(-1, ' ', false, AnyJson::error_handler_t::replace);
}

std::string response(const Json& id, const std::string& member, const std::string& value) {
    return R"({"jsonrpc":"2.0","id":)" + dump(id) + ",\"" + member + "\":" + value + "}";
}

std::string error_object(const RpcError& error) {
    return dump(OrderedJson{{"code", error.code}, {"message", error.message}});
}

// Why `request` is no request object, or null.
const char* request_fault(const Json& request) {
    if (!request.is_object()) {
        return "a request must be an object";
    }
    const auto version = request.find("jsonrpc");
    if (version == request.end() || *version != "2.0") {
        return "a request must say \"jsonrpc\": \"2.0\"";
    }
    const auto method = request.find("method");
    if (method == request.end() || !method->is_string()) {
        return "a request must have a \"method\" that is a string";
    }
    const auto id = request.find("id");
    if (id != request.end() && !id->is_string() && !id->is_number() && !id->is_null()) {
        return "the \"id\" of a request must be a string, a number or null";
    }
    return nullptr;
}

}  // namespace

std::string error_response(const Json& id, const RpcError& error) {
    return response(id, "error", error_object(error));
}

void JsonExchange::start(const MethodTable& table, const Json& value) {
    pending_ = 1;
    is_batch_ = value.is_array() && !value.empty() && value.size() <= kBatchMax;
    if (is_batch_) {
        ids_.reserve(value.size());
        for (const Json& request : value) {
            start_request(table, request);
        }
    } else if (value.is_array()) {
        refuse(nullptr,
               "a batch",
               RpcError(RpcCode::kInvalidRequest,
                        value.empty()
                            ? "an empty batch"
                            : "a batch has at most " + std::to_string(kBatchMax) + " requests"));
    } else {
        start_request(table, value);
    }
    release();
}

void JsonExchange::start_request(const MethodTable& table, const Json& request) {
    if (const char* fault = request_fault(request)) {
        refuse(nullptr, "a request", RpcError(RpcCode::kInvalidRequest, fault));
        return;
    }
    const auto id = request.find("id");
    ids_.push_back(id != request.end() ? *id : Json(Json::value_t::discarded));
    const uint64_t tag = ids_.size() - 1;
    const auto params = request.find("params");
    ++pending_;
    const auto& method = request["method"].get_ref<const std::string&>();
    const auto error =
        invoke(table, method, params != request.end() ? *params : Json(), *this, tag);
    if (error) {
        refuse(ids_[tag], method, *error);
        --pending_;
    }
}

void JsonExchange::call_done(const Call& call, const RpcError* error) {
    const Json& id = ids_[call.tag()];
    if (error != nullptr) {
        refuse(id, call.method().name, *error);
    } else {
        answer(id, "result", dump(encode_result(*call.method().descriptor, call.response())));
    }
    release();
}

void JsonExchange::answer(const Json& id, const std::string& member, const std::string& value) {
    if (id.is_discarded()) {
        return;
    }
    text_ += text_.empty() ? "" : ",";
    text_ += response(id, member, value);
}

void JsonExchange::refuse(const Json& id, std::string_view subject, const RpcError& error) {
    BASALT_LOG(kInfo,
               "rpc",
               "connection {}, request {}: {} refused: {} ({})",
               connection_.id(),
               id.is_discarded() ? "without id" : dump(id),
               subject,
               error.message,
               error.code);
    answer(id, "error", error_object(error));
}

void JsonExchange::release() {
    BASALT_ASSERT(pending_ > 0);
    --pending_;
    if (pending_ > 0) {
        return;
    }
    std::string text = std::move(text_);
    if (is_batch_ && !text.empty()) {
        text = "[" + text + "]";
    }
    connection_.exchange_done(*this, text);
}

}  // namespace basalt::rpc
