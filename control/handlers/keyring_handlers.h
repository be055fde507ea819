#pragma once

#include "control/handlers/context.h"
#include "rpc/proto/keyring.pb.h"
#include "rpc/server/method_table.h"

namespace basalt::control {

/// Methods that name keys. Owner: the daemon. Thread: the control thread.
class KeyringHandlers {
  public:
    explicit KeyringHandlers(Context& context) : context_(context) {}
    KeyringHandlers(const KeyringHandlers&) = delete;
    KeyringHandlers& operator=(const KeyringHandlers&) = delete;

    void add_to(rpc::MethodTable& table);

  private:
    void add_key(const v1::KeyringFileAddKeyRequest& request, rpc::Reply<v1::Done> reply);
    void remove_key(const v1::KeyringFileRemoveKeyRequest& request, rpc::Reply<v1::Done> reply);
    void get_keys(const v1::KeyringGetKeysRequest& request,
                  rpc::Reply<v1::KeyringGetKeysResponse> reply);

    Context& context_;
};

}  // namespace basalt::control
