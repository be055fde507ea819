#include "control/config/control_tables.h"

#include <cctype>
#include <utility>

namespace basalt::control {

namespace {

void read_etcd(TableReader& table, MetadataConfig& metadata) {
    metadata.root = table.text("root").value_or("");
    metadata.has_tls = table.flag("tls").value_or(false);
    for (const auto& [key, file] : {std::pair{"ca_file", &metadata.ca_file},
                                    std::pair{"cert_file", &metadata.cert_file},
                                    std::pair{"key_file", &metadata.key_file}}) {
        *file = table.text(key).value_or("");
        if (!file->empty() && !metadata.has_tls) {
            table.fail(key, "is for TLS; set tls = true");
        }
    }
    if (metadata.cert_file.empty() != metadata.key_file.empty()) {
        table.fail(metadata.cert_file.empty() ? "cert_file" : "key_file",
                   "is missing: a certificate and its key go together");
    }
}

MetadataConfig read_metadata(TableReader& top) {
    MetadataConfig metadata;
    std::optional<TableReader> table = top.table("metadata");
    if (!table) {
        return metadata;
    }
    std::optional<std::string> path = table->text("path");
    metadata.endpoints = table->texts("endpoints");
    if (path && !metadata.endpoints.empty()) {
        table->fail("path", "is of a file, endpoints are of an etcd: give one of the two");
    }
    if (path && path->empty()) {
        table->fail("path", "must be the path of a file");
    }
    for (const std::string& endpoint : metadata.endpoints) {
        if (endpoint.find(':') == std::string::npos || endpoint.find('/') != std::string::npos) {
            table->fail("endpoints",
                        "'" + endpoint + "' is no HOST:PORT; write for example \"etcd1:2379\"");
        }
    }
    if (metadata.endpoints.empty()) {
        for (const char* key : {"root", "tls", "ca_file", "cert_file", "key_file"}) {
            table->refuse(key, "is of an etcd; name its endpoints");
        }
        metadata.path = path.value_or(metadata.path);
    } else {
        read_etcd(*table, metadata);
    }
    table->finish();
    return metadata;
}

}  // namespace

std::optional<ControlPlaneConfig> read_control_plane(TableReader& top,
                                                     std::optional<uint16_t>& grpc_port) {
    std::optional<TableReader> table = top.table("control_plane");
    if (!table) {
        top.refuse("metadata", "is of the control role; add [control_plane]");
        return std::nullopt;
    }
    ControlPlaneConfig config;
    if (auto cluster = table->text("cluster")) {
        if (!is_uuid_text(*cluster)) {
            table->fail("cluster", "'" + *cluster + "' is no UUID");
        }
        config.cluster = std::move(*cluster);
    }
    if (const auto port = table->number("grpc_port", 1, UINT16_MAX)) {
        if (grpc_port && *grpc_port != *port) {
            table->fail("grpc_port", "is another one than at the top of the file");
        }
        grpc_port = static_cast<uint16_t>(*port);
    }
    table->finish();
    config.metadata = read_metadata(top);
    return config;
}

bool is_uuid_text(std::string_view text) {
    constexpr std::string_view kForm = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    if (text.size() != kForm.size()) {
        return false;
    }
    for (size_t i = 0; i < text.size(); ++i) {
        const bool is_right = kForm[i] == '-'
                                  ? text[i] == '-'
                                  : std::isxdigit(static_cast<unsigned char>(text[i])) != 0;
        if (!is_right) {
            return false;
        }
    }
    return true;
}

}  // namespace basalt::control
