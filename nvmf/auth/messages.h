#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "nvmf/auth/algorithms.h"
#include "nvmf/auth/crypto.h"
#include "reactor/base/result.h"

namespace basalt::nvmf {

/// The messages of DH-HMAC-CHAP, which Authentication Send and Receive carry (NVMe Base
/// Specification 2.0, section 8.13.5; format.md in this folder). Values; views into the message
/// that was decoded where they are spans.

/// Longest message of ours, and what a host's buffer should hold: a reply with two hashes and the
/// largest Diffie-Hellman value.
inline constexpr size_t kAuthMessageBytesMax = 16 + 2 * kHashBytesMax + kDhBytesMax;

/// What every message begins with.
inline constexpr size_t kAuthHeaderBytes = 6;

/// Longest message that is taken: what Linux has for a buffer. A Negotiate may list protocols that
/// we don't know.
inline constexpr size_t kAuthTransferBytesMax = 4096;

/// SC_C of a Negotiate: what an exchange shall give beside proofs, with the numbers of the wire as
/// Linux has them. Number 1 is not used with NVMe/TCP.
enum class SecureChannel : uint8_t {
    kNone = 0,
    kNewPsk = 2,      ///< A key for TLS. On the admin queue, in clear.
    kReplacePsk = 3,  ///< Another one. On an admin queue whose TLS has a key of this kind.
};

/// What a message is, by its AUTH_TYPE and AUTH_ID.
enum class AuthMessage : uint8_t {
    kNegotiate,
    kChallenge,
    kReply,
    kSuccess1,
    kSuccess2,
    kFailure1,
    kFailure2,
};

/// Why an authentication fails: the reason code explanation of Failure1 and Failure2, whose reason
/// code is always "authentication failure".
enum class AuthFailure : uint8_t {
    kNone = 0,
    kFailed = 1,
    kProtocolUnusable = 2,
    kConcatenationMismatch = 3,
    kHashUnusable = 4,
    kGroupUnusable = 5,
    kIncorrectPayload = 6,
    kIncorrectMessage = 7,
};
/// In words, for logs.
[[nodiscard]] const char* describe(AuthFailure failure);

/// What every message begins with, decoded. A value.
struct AuthHeader {
    AuthMessage message = AuthMessage::kNegotiate;
    uint16_t transaction = 0;
};

/// The first of a host: which algorithms it can do.
struct NegotiateFields {
    uint16_t transaction = 0;
    uint8_t secure_channel = 0;  ///< SC_C: a SecureChannel, or a number that is none.
    bool has_dhchap = false;     ///< Is among the protocols; what follows is of the first such.
    AuthAlgorithms algorithms{0, 0};
};

struct ChallengeFields {
    uint16_t transaction = 0;
    AuthHash hash = AuthHash::kSha256;
    DhGroup group = DhGroup::kNull;
    uint32_t sequence = 0;
    ByteView challenge{};  ///< hash_bytes(hash).
    ByteView dh_value{};   ///< dh_bytes(group).
};

struct ReplyFields {
    uint16_t transaction = 0;
    bool has_challenge = false;  ///< The host wants the controller to prove itself, or a key.
    uint32_t sequence = 0;       ///< 0 with a challenge: only a key is wanted.
    ByteView response{};         ///< As long as the hash that was chosen.
    ByteView challenge{};        ///< As long; only with has_challenge.
    ByteView dh_value{};
};

struct Success1Fields {
    uint16_t transaction = 0;
    bool has_response = false;
    ByteView response{};  ///< Empty without has_response.
};

struct FailureFields {
    uint16_t transaction = 0;
    AuthFailure failure = AuthFailure::kFailed;
};

/// The message's kind. Errors: kProtocol: too short for a header, or of no kind that there is.
[[nodiscard]] Result<AuthHeader> decode_header(ByteView message);

/// Each decodes a message of the kind in its header. A controller's messages may be followed by
/// what is left of the host's buffer. Errors: kProtocol: too short, or lengths that don't fit each
/// other; of a host's also too long. A Challenge with a hash or group that does not exist is
/// kNotSupported, with the AuthFailure as the error's detail.
[[nodiscard]] Result<NegotiateFields> decode_negotiate(ByteView message);
[[nodiscard]] Result<ChallengeFields> decode_challenge(ByteView message);
/// `hash` and `group` are those of the challenge.
[[nodiscard]] Result<ReplyFields> decode_reply(ByteView message, AuthHash hash, DhGroup group);
[[nodiscard]] Result<Success1Fields> decode_success1(ByteView message, AuthHash hash);
[[nodiscard]] Status check_success2(ByteView message);
[[nodiscard]] Result<FailureFields> decode_failure(ByteView message);

/// Each writes a message to the beginning of `out`, of at least kAuthMessageBytesMax, and returns
/// its length.
[[nodiscard]] size_t encode_negotiate(uint16_t transaction,
                                      AuthAlgorithms algorithms,
                                      std::span<std::byte> out,
                                      SecureChannel channel = SecureChannel::kNone);
[[nodiscard]] size_t encode_challenge(const ChallengeFields& fields, std::span<std::byte> out);
[[nodiscard]] size_t encode_reply(const ReplyFields& fields, std::span<std::byte> out);
[[nodiscard]] size_t encode_success1(const Success1Fields& fields,
                                     AuthHash hash,
                                     std::span<std::byte> out);
[[nodiscard]] size_t encode_success2(uint16_t transaction, std::span<std::byte> out);
/// `message` is kFailure1 or kFailure2.
[[nodiscard]] size_t encode_failure(AuthMessage message,
                                    const FailureFields& fields,
                                    std::span<std::byte> out);

}  // namespace basalt::nvmf
