#include "nvmf/host_bdev/session_keys.h"

namespace basalt::nvmf {

namespace {

Status read_into(const KeyReference& key, std::optional<DhchapSecret>& out) {
    if (!key) {
        return kOk;
    }
    BASALT_TRY(const Secret contents, key.read());
    BASALT_TRY(DhchapSecret secret, DhchapSecret::parse(contents.text()));
    out.emplace(std::move(secret));
    return kOk;
}

}  // namespace

Result<AuthSecrets> SessionKeys::read_secrets() {
    AuthSecrets secrets;
    BASALT_CHECK(read_into(host_, secrets.host));
    BASALT_CHECK(read_into(controller_, secrets.controller));
    return secrets;
}

}  // namespace basalt::nvmf
