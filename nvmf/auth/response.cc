#include "nvmf/auth/response.h"

#include <array>

#include "nvmf/wire/le.h"

namespace basalt::nvmf {

namespace {

ByteView bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text));
}

template <typename Wire>
ByteView bytes_of_wire(const Wire& wire) {
    return std::as_bytes(std::span(&wire, 1));
}

// Ks, which replaces challenges and makes keys: H(shared secret).
Result<Secret> session_key(AuthHash hash, const Secret& shared) {
    Secret key = Secret::zeroes(hash_bytes(hash));
    BASALT_CHECK(digest(hash, shared.bytes(), key.writable()));
    return key;
}

// With Diffie-Hellman the challenge is replaced: HMAC(Ks, challenge).
Result<Secret> augment(const AuthChallenge& challenge) {
    if (challenge.shared == nullptr) {
        return Secret(challenge.value);
    }
    BASALT_TRY(const Secret key, session_key(challenge.hash, *challenge.shared));
    Secret augmented = Secret::zeroes(hash_bytes(challenge.hash));
    BASALT_CHECK(
        hmac(challenge.hash, key.bytes(), std::span(&challenge.value, 1), augmented.writable()));
    return augmented;
}

}  // namespace

Result<Secret> auth_response(AuthRole role,
                             const DhchapSecret& secret,
                             const AuthNames& names,
                             const AuthChallenge& challenge) {
    const bool is_host = role == AuthRole::kHost;
    const std::string& own = is_host ? names.host_nqn : names.subsystem_nqn;
    const std::string& other = is_host ? names.subsystem_nqn : names.host_nqn;
    BASALT_TRY(const Secret key, secret.transform(own));
    BASALT_TRY(const Secret augmented, augment(challenge));
    const Le32 sequence(challenge.sequence);
    const Le16 transaction(challenge.transaction);
    const auto channel = static_cast<uint8_t>(challenge.channel);
    constexpr uint8_t kSeparator = 0;
    const std::array<ByteView, 8> pieces{augmented.bytes(),
                                         bytes_of_wire(sequence),
                                         bytes_of_wire(transaction),
                                         bytes_of_wire(channel),
                                         bytes_of(is_host ? "HostHost" : "Controller"),
                                         bytes_of(own),
                                         bytes_of_wire(kSeparator),
                                         bytes_of(other)};
    Secret response = Secret::zeroes(hash_bytes(challenge.hash));
    BASALT_CHECK(hmac(challenge.hash, key.bytes(), pieces, response.writable()));
    return response;
}

Result<Secret> generate_psk(AuthHash hash,
                            const Secret& shared,
                            ByteView controller_challenge,
                            ByteView host_challenge) {
    BASALT_TRY(const Secret key, session_key(hash, shared));
    const std::array<ByteView, 2> pieces{controller_challenge, host_challenge};
    Secret psk = Secret::zeroes(hash_bytes(hash));
    BASALT_CHECK(hmac(hash, key.bytes(), pieces, psk.writable()));
    return psk;
}

}  // namespace basalt::nvmf
