#pragma once

#include <cstddef>
#include <cstdint>

#include "reactor/io/clock.h"

namespace basalt::tls {

/// Plaintext of one record at most (RFC 8446, section 5.1).
inline constexpr size_t kRecordPlainBytes = 16384;

/// What a record of ours is longer than its plaintext: header, content type and tag. We don't pad.
inline constexpr size_t kRecordOverheadBytes = 5 + 1 + 16;

/// Room that must be free before a record is made: the record, and an answer to a key update that
/// OpenSSL may put before it.
inline constexpr size_t kRecordRoomBytes = kRecordPlainBytes + kRecordOverheadBytes + 256;

/// Ciphertext that a connection gathers for one send of the socket below: four full records.
inline constexpr size_t kOutBytes = 4 * (kRecordPlainBytes + kRecordOverheadBytes) + 512;
static_assert(kOutBytes >= kRecordRoomBytes);

/// How long a connection may take from TCP's handshake to the last message of TLS's.
inline constexpr uint64_t kHandshakeTimeoutNs = 10 * kNsPerSecond;

/// How long the peer may take to accept our last alert before the connection is closed without.
inline constexpr uint64_t kCloseTimeoutNs = kNsPerSecond;

/// Keys: the output of SHA-256 or SHA-384.
inline constexpr size_t kPskBytesMax = 48;

/// Identities are at most this long. NVMe's have two NQNs of 223 bytes and a digest in base 64.
inline constexpr size_t kIdentityBytesMax = 560;

/// Identities of one ClientHello that are looked at. Linux offers two.
inline constexpr uint32_t kIdentitiesPerHelloMax = 8;

}  // namespace basalt::tls
