#include "rpc/server/method_table.h"

#include <array>
#include <cctype>

#include "rpc/codec/rules.h"
#include "rpc/proto/app.pb.h"
#include "rpc/proto/bdev.pb.h"
#include "rpc/proto/bdev_lvol.pb.h"
#include "rpc/proto/bdev_nvme.pb.h"
#include "rpc/proto/bdev_store.pb.h"
#include "rpc/proto/cluster.pb.h"
#include "rpc/proto/keyring.pb.h"
#include "rpc/proto/nvmf.pb.h"
#include "rpc/proto/nvmf_paths.pb.h"
#include "rpc/proto/replication.pb.h"

namespace basalt::rpc {

namespace {

std::unique_ptr<google::protobuf::Message> new_message(const google::protobuf::Descriptor* type) {
    const auto* prototype =
        google::protobuf::MessageFactory::generated_factory()->GetPrototype(type);
    BASALT_ASSERT(prototype != nullptr);
    return std::unique_ptr<google::protobuf::Message>(prototype->New());
}

}  // namespace

std::string snake_case(std::string_view camel_case) {
    std::string out;
    for (const char c : camel_case) {
        if (std::isupper(static_cast<unsigned char>(c)) != 0) {
            if (!out.empty()) {
                out += '_';
            }
            out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
        } else {
            out += c;
        }
    }
    return out;
}

std::unique_ptr<google::protobuf::Message> Method::new_request() const {
    return new_message(descriptor->input_type());
}

std::unique_ptr<google::protobuf::Message> Method::new_response() const {
    return new_message(descriptor->output_type());
}

MethodTable::MethodTable() {
    // One message of each file is named here, so that the linker keeps the file's descriptor.
    const std::array files = {v1::Done::descriptor()->file(),
                              v1::BdevInfo::descriptor()->file(),
                              v1::LvolInfo::descriptor()->file(),
                              v1::StoreScrub::descriptor()->file(),
                              v1::ClusterStatus::descriptor()->file(),
                              v1::NvmeTransportId::descriptor()->file(),
                              v1::KeyringKey::descriptor()->file(),
                              v1::ListenAddress::descriptor()->file(),
                              v1::NvmfNsAddHostRequest::descriptor()->file(),
                              v1::ReplicationReplica::descriptor()->file()};
    for (const auto* file : files) {
        for (int s = 0; s < file->service_count(); ++s) {
            const auto* service = file->service(s);
            for (int m = 0; m < service->method_count(); ++m) {
                Method method;
                method.descriptor = service->method(m);
                method.name = snake_case(method.descriptor->name());
                method.grpc_path = "/" + service->full_name() + "/" + method.descriptor->name();
                const std::string name = method.name;
                const auto [it, is_new] = methods_.emplace(name, std::move(method));
                BASALT_ASSERT(is_new);
                by_grpc_path_.emplace(it->second.grpc_path, &it->second);
            }
        }
    }
}

void MethodTable::bind(std::string_view name,
                       const google::protobuf::Descriptor& request,
                       const google::protobuf::Descriptor& response,
                       std::unique_ptr<Handler> handler) {
    const auto it = methods_.find(name);
    BASALT_ASSERT(it != methods_.end());
    Method& method = it->second;
    BASALT_ASSERT(method.descriptor->input_type() == &request);
    BASALT_ASSERT(method.descriptor->output_type() == &response);
    BASALT_ASSERT(method.handler == nullptr);
    method.handler = std::move(handler);
}

const Method* MethodTable::find(std::string_view name) const {
    const auto it = methods_.find(name);
    return it == methods_.end() || it->second.handler == nullptr ? nullptr : &it->second;
}

const Method* MethodTable::find_grpc(std::string_view path) const {
    const auto it = by_grpc_path_.find(path);
    return it == by_grpc_path_.end() || it->second->handler == nullptr ? nullptr : it->second;
}

std::vector<std::string> MethodTable::unhandled() const {
    std::vector<std::string> names;
    for (const auto& [name, method] : methods_) {
        if (method.handler == nullptr) {
            names.push_back(name);
        }
    }
    return names;
}

void MethodTable::dispatch(const Method& method,
                           std::unique_ptr<google::protobuf::Message> request,
                           CallSink& sink,
                           uint64_t tag) {
    BASALT_ASSERT(method.handler != nullptr);
    BASALT_ASSERT(request->GetDescriptor() == method.descriptor->input_type());
    auto call = std::make_unique<Call>(method, std::move(request), sink, tag);
    if (const auto broken = check_rules(call->request())) {
        call->fail(*broken);
        return;
    }
    method.handler->call(std::move(call));
}

}  // namespace basalt::rpc
