#include "control/handlers/keyring_handlers.h"

namespace basalt::control {

using rpc::Reply;

namespace {

std::string key_words(const std::string& name) {
    return "key '" + name + "'";
}

}  // namespace

void KeyringHandlers::add_to(rpc::MethodTable& table) {
    table.add("keyring_file_add_key", *this, &KeyringHandlers::add_key);
    table.add("keyring_file_remove_key", *this, &KeyringHandlers::remove_key);
    table.add("keyring_get_keys", *this, &KeyringHandlers::get_keys);
}

void KeyringHandlers::add_key(const v1::KeyringFileAddKeyRequest& request, Reply<v1::Done> reply) {
    const Status added = context_.keyring.add_file_key(request.name(), request.path());
    if (!added) {
        reply.fail(added.error(),
                   key_words(request.name()) + ": file '" + request.path() +
                       "' (a key is a regular file of ours with an absolute path and mode 0600)");
        return;
    }
    reply.send();
}

void KeyringHandlers::remove_key(const v1::KeyringFileRemoveKeyRequest& request,
                                 Reply<v1::Done> reply) {
    const Status removed = context_.keyring.remove_key(request.name());
    if (!removed) {
        reply.fail(removed.error(), key_words(request.name()));
        return;
    }
    reply.send();
}

void KeyringHandlers::get_keys(const v1::KeyringGetKeysRequest& /*request*/,
                               Reply<v1::KeyringGetKeysResponse> reply) {
    for (const KeyInfo& info : context_.keyring.list()) {
        v1::KeyringKey& key = *reply.result().add_keys();
        key.set_name(info.name);
        key.set_module("keyring_file");
        key.set_removed(info.is_removed);
        key.set_probed(false);
        key.set_refcnt(info.reference_count);
        key.set_path(info.path);
    }
    reply.send();
}

}  // namespace basalt::control
