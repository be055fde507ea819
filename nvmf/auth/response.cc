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

// With Diffie-Hellman the challenge is replaced: HMAC(H(shared secret), challenge).
Result<Secret> augment(const AuthChallenge& challenge) {
    if (challenge.shared == nullptr) {
        return Secret(challenge.value);
    }
    const size_t size = hash_bytes(challenge.hash);
    Secret key = Secret::zeroes(size);
    BASALT_CHECK(digest(challenge.hash, challenge.shared->bytes(), key.writable()));
    Secret augmented = Secret::zeroes(size);
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
    constexpr uint8_t kNoSecureChannel = 0;
    constexpr uint8_t kSeparator = 0;
    const std::array<ByteView, 8> pieces{augmented.bytes(),
                                         bytes_of_wire(sequence),
                                         bytes_of_wire(transaction),
                                         bytes_of_wire(kNoSecureChannel),
                                         bytes_of(is_host ? "HostHost" : "Controller"),
                                         bytes_of(own),
                                         bytes_of_wire(kSeparator),
                                         bytes_of(other)};
    Secret response = Secret::zeroes(hash_bytes(challenge.hash));
    BASALT_CHECK(hmac(challenge.hash, key.bytes(), pieces, response.writable()));
    return response;
}

}  // namespace basalt::nvmf
