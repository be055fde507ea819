// The DH-HMAC-CHAP keys of the target's hosts.

#include <algorithm>

#include "nvmf/target/target.h"
#include "reactor/base/log.h"

namespace basalt::nvmf {

namespace {

Result<DhchapSecret> read_secret(const KeyReference& key) {
    BASALT_TRY(const Secret contents, key.read());
    return DhchapSecret::parse(contents.text());
}

// What the key holds at this moment; nothing, and a log line, if that is no secret.
std::optional<DhchapSecret> present_secret(const KeyReference& key, std::string_view host_nqn) {
    if (!key) {
        return std::nullopt;
    }
    Result<DhchapSecret> secret = read_secret(key);
    if (!secret) {
        BASALT_LOG(kError,
                   "nvmf",
                   "key '{}' of host {} is of no use: {}",
                   key.name(),
                   host_nqn,
                   describe(secret.error().code));
        return std::nullopt;
    }
    return std::move(*secret);
}

}  // namespace

Status Target::check_keys(const HostKeys& keys) {
    if (keys.dhchap_controller && !keys.dhchap) {
        return Errc::kInvalidArgument;
    }
    for (const KeyReference* key : {&keys.dhchap, &keys.dhchap_controller}) {
        if (*key) {
            BASALT_TRY(const DhchapSecret secret, read_secret(*key));
        }
    }
    return kOk;
}

void Target::set_keys(SubsystemState& state, const std::string& host_nqn, HostKeys keys) {
    if (keys.dhchap) {
        state.keys.insert_or_assign(host_nqn, std::move(keys));
    } else {
        state.keys.erase(host_nqn);
    }
}

Task<Status> Target::set_host_keys(std::string nqn, std::string host_nqn, HostKeys keys) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    SubsystemState* state = find_state(nqn);
    if (state == nullptr ||
        !std::binary_search(state->config->hosts.begin(), state->config->hosts.end(), host_nqn)) {
        co_return Errc::kNotFound;
    }
    if (const Status checked = check_keys(keys); !checked) {
        co_return checked.error();
    }
    auto next = std::make_unique<SubsystemConfig>(*state->config);
    set_dhchap_host(*next, host_nqn, static_cast<bool>(keys.dhchap));
    set_keys(*state, host_nqn, std::move(keys));
    const SubsystemId id = next->id;
    auto published = publish(*state, std::move(next));
    const Status outcome = co_await published;
    // What was made with the old ones.
    co_await generated_keys_.revoke(id, host_nqn);
    co_return outcome;
}

const HostKeys* Target::host_keys(std::string_view nqn, std::string_view host_nqn) const {
    for (const auto& state : subsystems_) {
        if (state->config->nqn == nqn) {
            const auto found = state->keys.find(host_nqn);
            return found == state->keys.end() ? nullptr : &found->second;
        }
    }
    return nullptr;
}

Task<void> Target::publish_psk(SubsystemId subsystem, std::string host_nqn, Secret psk) {
    const auto state = std::find_if(subsystems_.begin(), subsystems_.end(), [&](const auto& each) {
        return each->config->id == subsystem;
    });
    if (state == subsystems_.end()) {
        co_return;  // Deleted meanwhile: nobody comes in with it.
    }
    const TlsPair pair{host_nqn, (*state)->config->nqn};
    Result<TlsCredential> made = derive_generated_credential(psk.bytes(), pair);
    if (!made) {
        BASALT_LOG(kError,
                   "nvmf",
                   "no TLS key can be made for {}: {}",
                   host_nqn,
                   describe(made.error().code));
        co_return;
    }
    GeneratedKey key{subsystem, host_nqn, std::move(*made)};
    auto adding = generated_keys_.add(std::move(key));
    co_await adding;
    BASALT_LOG(kInfo, "nvmf", "{} has a TLS key of its authentication", host_nqn);
}

TargetSecrets Target::secrets_of(SubsystemId subsystem, std::string_view host_nqn) {
    TargetSecrets secrets;
    for (const auto& state : subsystems_) {
        if (state->config->id != subsystem) {
            continue;
        }
        if (const auto found = state->keys.find(host_nqn); found != state->keys.end()) {
            secrets.host = present_secret(found->second.dhchap, host_nqn);
            secrets.controller = present_secret(found->second.dhchap_controller, host_nqn);
        }
    }
    return secrets;
}

}  // namespace basalt::nvmf
