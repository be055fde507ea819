#include "rpc/server/introspection.h"

#include <cstddef>

#include <google/protobuf/descriptor.pb.h>

#include "rpc/codec/json_codec.h"
#include "rpc/proto/options.pb.h"

namespace basalt::rpc {

// The output of protoc --descriptor_set_out --include_source_info, linked in by the build.
extern const unsigned char kApiDescriptors[];
extern const std::size_t kApiDescriptorsSize;

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::FieldDescriptor;

namespace {

// A comment as one line of text.
template <typename AnyDescriptor>
std::string comment(const AnyDescriptor* descriptor) {
    google::protobuf::SourceLocation location;
    if (descriptor == nullptr || !descriptor->GetSourceLocation(&location)) {
        return "";
    }
    std::string out;
    for (const char c : location.leading_comments) {
        const bool is_space = c == '\n' || c == ' ';
        if (!is_space) {
            out += c;
        } else if (!out.empty() && out.back() != ' ') {
            out += ' ';
        }
    }
    while (!out.empty() && out.back() == ' ') {
        out.pop_back();
    }
    return out;
}

std::string type_name(const FieldDescriptor& field) {
    switch (field.cpp_type()) {
        case FieldDescriptor::CPPTYPE_STRING: return "string";
        case FieldDescriptor::CPPTYPE_BOOL: return "bool";
        case FieldDescriptor::CPPTYPE_ENUM: return "enum";
        case FieldDescriptor::CPPTYPE_INT32:
        case FieldDescriptor::CPPTYPE_INT64:
        case FieldDescriptor::CPPTYPE_UINT32:
        case FieldDescriptor::CPPTYPE_UINT64: return "int";
        case FieldDescriptor::CPPTYPE_DOUBLE:
        case FieldDescriptor::CPPTYPE_FLOAT: return "float";
        case FieldDescriptor::CPPTYPE_MESSAGE: return "json";
    }
    return "json";
}

void describe_cli(const v1::Cli& cli, v1::ParameterDescription& out) {
    if (cli.position() != 0) {
        out.set_position(cli.position());
    }
    const auto copy = [](const std::string& value,
                         std::string* (*slot)(v1::ParameterDescription&),
                         v1::ParameterDescription& target) {
        if (!value.empty()) {
            *slot(target) = value;
        }
    };
    using Out = v1::ParameterDescription;
    copy(
        cli.short_(), [](Out& o) { return o.mutable_short_(); }, out);
    copy(
        cli.short_false(), [](Out& o) { return o.mutable_short_false(); }, out);
    copy(
        cli.alias(), [](Out& o) { return o.mutable_alias(); }, out);
    copy(
        cli.size_name(), [](Out& o) { return o.mutable_size_name(); }, out);
    copy(
        cli.mib_per(), [](Out& o) { return o.mutable_mib_per(); }, out);
    copy(
        cli.shorthand(), [](Out& o) { return o.mutable_shorthand(); }, out);
}

std::string help_of(const FieldDescriptor& field, const v1::Rules& rules) {
    std::string help = comment(&field);
    const auto add = [&help](const char* sentence) {
        help += help.empty() ? sentence : std::string(" ") + sentence;
    };
    if (rules.ignored()) {
        add("Accepted for SPDK's scripts; has no effect here.");
    }
    if (rules.only_default()) {
        add("Not supported; must be left out.");
    }
    return help;
}

void describe_field(const FieldDescriptor& field,
                    const std::string& prefix,
                    v1::ParameterDescription& out) {
    // By name through the linked descriptors: the commented ones know options only as raw bytes.
    const auto* linked = DescriptorPool::generated_pool()->FindFieldByName(field.full_name());
    const v1::Rules& rules = linked->options().GetExtension(v1::rules);
    out.set_name(prefix + field.name());
    out.set_type(type_name(field));
    out.set_repeated(field.is_repeated());
    out.set_required(rules.required());
    out.set_help(help_of(field, rules));
    if (rules.has_min()) {
        out.set_min(rules.min());
    }
    if (rules.has_max()) {
        out.set_max(rules.max());
    }
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
        for (int i = 0; i < linked->enum_type()->value_count(); ++i) {
            out.add_values(enum_text(*linked->enum_type()->value(i)));
        }
    }
    describe_cli(linked->options().GetExtension(v1::cli), out);
}

// The fields of a request; a nested message's fields stand in its place, as outer.inner.
void describe_fields(const Descriptor& type,
                     const std::string& prefix,
                     v1::MethodDescription& out) {
    for (int i = 0; i < type.field_count(); ++i) {
        const FieldDescriptor& field = *type.field(i);
        const Descriptor* child = field.message_type();
        if (child != nullptr && !field.is_repeated() &&
            child->file()->package() != "google.protobuf") {
            describe_fields(*child, prefix + field.name() + ".", out);
        } else {
            describe_field(field, prefix, *out.add_params());
        }
    }
}

}  // namespace

Introspection::Introspection(MethodTable& table) : table_(table) {
    google::protobuf::FileDescriptorSet set;
    const bool is_parsed =
        set.ParseFromArray(kApiDescriptors, static_cast<int>(kApiDescriptorsSize));
    BASALT_ASSERT(is_parsed);
    for (const auto& file : set.file()) {
        const auto* built = commented_.BuildFile(file);
        BASALT_ASSERT(built != nullptr);
    }
    table.add("rpc_get_methods", *this, &Introspection::rpc_get_methods);
}

void Introspection::rpc_get_methods(const v1::RpcGetMethodsRequest& request,
                                    Reply<v1::RpcGetMethodsResponse> reply) {
    for (const auto& [name, method] : table_.methods()) {
        if (method.handler == nullptr) {
            continue;
        }
        if (request.include_descriptors()) {
            *reply.result().add_descriptors() = describe(method);
        } else {
            reply.result().add_methods(name);
        }
    }
    reply.send();
}

v1::MethodDescription Introspection::describe(const Method& method) const {
    v1::MethodDescription out;
    const auto* commented = commented_.FindMethodByName(method.descriptor->full_name());
    BASALT_ASSERT(commented != nullptr);
    const auto& options = method.descriptor->options();
    out.set_name(method.name);
    out.set_help(comment(commented));
    out.set_example(options.GetExtension(v1::example));
    out.set_grpc(method.grpc_path);
    out.set_params_from_file(options.GetExtension(v1::params_from_file));
    describe_fields(*commented->input_type(), "", out);
    return out;
}

}  // namespace basalt::rpc
