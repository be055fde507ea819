#include "perf/basalt_perf/host_keys.h"

#include <utility>

namespace basalt::perf {

namespace {

Status read_into(KeyFiles& files,
                 const std::string& path,
                 std::optional<nvmf::DhchapSecret>& secret) {
    if (path.empty()) {
        return kOk;
    }
    BASALT_TRY(const Secret contents, files.read(path));
    BASALT_TRY(nvmf::DhchapSecret parsed, nvmf::DhchapSecret::parse(contents.text()));
    secret.emplace(std::move(parsed));
    return kOk;
}

}  // namespace

HostKeyFiles::HostKeyFiles(std::string host_path, std::string controller_path)
    : host_path_(std::move(host_path)), controller_path_(std::move(controller_path)) {}

Result<nvmf::AuthSecrets> HostKeyFiles::read_secrets() {
    nvmf::AuthSecrets secrets;
    BASALT_CHECK(read_into(files_, host_path_, secrets.host));
    BASALT_CHECK(read_into(files_, controller_path_, secrets.controller));
    return secrets;
}

}  // namespace basalt::perf
