#include "nvmf/auth/messages.h"

#include <algorithm>
#include <cstring>

#include "nvmf/wire/le.h"
#include "reactor/base/assert.h"

namespace basalt::nvmf {

namespace {

constexpr uint8_t kTypeCommon = 0;
constexpr uint8_t kTypeDhchap = 1;
constexpr uint8_t kReasonFailure = 1;
constexpr uint8_t kProtocolDhchap = 1;

struct MessageId {
    AuthMessage message;
    uint8_t type;
    uint8_t id;
};
constexpr std::array<MessageId, 7> kMessageIds{{
    {AuthMessage::kNegotiate, kTypeCommon, 0x00},
    {AuthMessage::kChallenge, kTypeDhchap, 0x01},
    {AuthMessage::kReply, kTypeDhchap, 0x02},
    {AuthMessage::kSuccess1, kTypeDhchap, 0x03},
    {AuthMessage::kSuccess2, kTypeDhchap, 0x04},
    {AuthMessage::kFailure1, kTypeCommon, 0xf1},
    {AuthMessage::kFailure2, kTypeCommon, 0xf0},
}};

// The layouts of format.md.
struct WireHeader {
    uint8_t type = 0;
    uint8_t id = 0;
    uint8_t reserved[2] = {};
    Le16 transaction;
};
static_assert(sizeof(WireHeader) == kAuthHeaderBytes);

struct WireNegotiate {
    WireHeader header;
    uint8_t secure_channel = 0;
    uint8_t protocol_count = 0;
};
static_assert(sizeof(WireNegotiate) == 8);

struct WireProtocol {
    uint8_t protocol = 0;
    uint8_t reserved = 0;
    uint8_t hash_count = 0;
    uint8_t group_count = 0;
    uint8_t hashes[30] = {};
    uint8_t groups[30] = {};
};
static_assert(sizeof(WireProtocol) == 64);

struct WireChallenge {
    WireHeader header;
    uint8_t hash_length = 0;
    uint8_t reserved = 0;
    uint8_t hash = 0;
    uint8_t group = 0;
    Le16 dh_length;
    Le32 sequence;
};
static_assert(sizeof(WireChallenge) == 16);

struct WireReply {
    WireHeader header;
    uint8_t hash_length = 0;
    uint8_t reserved = 0;
    uint8_t challenge_valid = 0;
    uint8_t reserved2 = 0;
    Le16 dh_length;
    Le32 sequence;
};
static_assert(sizeof(WireReply) == 16);

struct WireSuccess1 {
    WireHeader header;
    uint8_t hash_length = 0;
    uint8_t reserved = 0;
    uint8_t response_valid = 0;
    uint8_t reserved2[7] = {};
};
static_assert(sizeof(WireSuccess1) == 16);

struct WireSuccess2 {
    WireHeader header;
    uint8_t reserved[10] = {};
};
static_assert(sizeof(WireSuccess2) == 16);

struct WireFailure {
    WireHeader header;
    uint8_t reason = 0;
    uint8_t explanation = 0;
};
static_assert(sizeof(WireFailure) == 8);

template <typename Wire>
Result<Wire> read(ByteView message) {
    if (message.size() < sizeof(Wire)) {
        return Errc::kProtocol;
    }
    Wire wire;
    std::memcpy(&wire, message.data(), sizeof(wire));
    return wire;
}

WireHeader header_of(AuthMessage message, uint16_t transaction) {
    const MessageId& id = kMessageIds[static_cast<size_t>(message)];
    BASALT_ASSERT(id.message == message);
    WireHeader header;
    header.type = id.type;
    header.id = id.id;
    header.transaction.set(transaction);
    return header;
}

// Appends pieces to a message.
class Writer {
  public:
    explicit Writer(std::span<std::byte> out) : out_(out) {
        BASALT_ASSERT(out.size() >= kAuthMessageBytesMax);
    }
    template <typename Wire>
    void add(const Wire& wire) {
        add_bytes(std::as_bytes(std::span(&wire, 1)));
    }
    void add_bytes(ByteView bytes) {
        BASALT_ASSERT(size_ + bytes.size() <= out_.size());
        std::copy(bytes.begin(), bytes.end(), out_.begin() + static_cast<ptrdiff_t>(size_));
        size_ += bytes.size();
    }
    void add_zeroes(size_t count) {
        BASALT_ASSERT(size_ + count <= out_.size());
        std::fill_n(out_.begin() + static_cast<ptrdiff_t>(size_), count, std::byte{0});
        size_ += count;
    }
    [[nodiscard]] size_t size() const { return size_; }

  private:
    std::span<std::byte> out_;
    size_t size_ = 0;
};

constexpr Error unusable(AuthFailure failure) {
    return Error(Errc::kNotSupported, static_cast<uint16_t>(failure));
}

}  // namespace

const char* describe(AuthFailure failure) {
    switch (failure) {
        case AuthFailure::kNone: return "no failure";
        case AuthFailure::kFailed: return "authentication failed";
        case AuthFailure::kProtocolUnusable: return "no common protocol";
        case AuthFailure::kConcatenationMismatch: return "secure channel concatenation mismatch";
        case AuthFailure::kHashUnusable: return "no common hash";
        case AuthFailure::kGroupUnusable: return "no common Diffie-Hellman group";
        case AuthFailure::kIncorrectPayload: return "incorrect payload";
        case AuthFailure::kIncorrectMessage: return "incorrect protocol message";
    }
    return "unknown failure";
}

Result<AuthHeader> decode_header(ByteView message) {
    BASALT_TRY(const WireHeader wire, read<WireHeader>(message));
    for (const MessageId& each : kMessageIds) {
        if (each.type == wire.type && each.id == wire.id) {
            return AuthHeader{each.message, wire.transaction.get()};
        }
    }
    return Errc::kProtocol;
}

Result<NegotiateFields> decode_negotiate(ByteView message) {
    BASALT_TRY(const WireNegotiate wire, read<WireNegotiate>(message));
    if (message.size() != sizeof(wire) + size_t{wire.protocol_count} * sizeof(WireProtocol)) {
        return Errc::kProtocol;
    }
    NegotiateFields fields;
    fields.transaction = wire.header.transaction.get();
    fields.secure_channel = wire.secure_channel;
    for (size_t i = 0; i < wire.protocol_count && !fields.has_dhchap; ++i) {
        BASALT_TRY(const WireProtocol protocol,
                   read<WireProtocol>(message.subspan(sizeof(wire) + i * sizeof(WireProtocol))));
        if (protocol.protocol != kProtocolDhchap) {
            continue;
        }
        if (protocol.hash_count > sizeof(protocol.hashes) ||
            protocol.group_count > sizeof(protocol.groups)) {
            return Errc::kProtocol;
        }
        fields.has_dhchap = true;
        for (size_t each = 0; each < protocol.hash_count; ++each) {
            if (const auto hash = hash_of(protocol.hashes[each])) {
                fields.algorithms.hashes |= AuthAlgorithms::bit(*hash);
            }
        }
        for (size_t each = 0; each < protocol.group_count; ++each) {
            if (const auto group = group_of(protocol.groups[each])) {
                fields.algorithms.groups |= AuthAlgorithms::bit(*group);
            }
        }
    }
    return fields;
}

Result<ChallengeFields> decode_challenge(ByteView message) {
    BASALT_TRY(const WireChallenge wire, read<WireChallenge>(message));
    const auto hash = hash_of(wire.hash);
    if (!hash || wire.hash_length != hash_bytes(*hash)) {
        return unusable(AuthFailure::kHashUnusable);
    }
    const auto group = group_of(wire.group);
    if (!group) {
        return unusable(AuthFailure::kGroupUnusable);
    }
    const size_t hash_length = wire.hash_length;
    const size_t dh_length = wire.dh_length.get();
    if (dh_length != dh_bytes(*group) || message.size() < sizeof(wire) + hash_length + dh_length) {
        return Errc::kProtocol;
    }
    return ChallengeFields{.transaction = wire.header.transaction.get(),
                           .hash = *hash,
                           .group = *group,
                           .sequence = wire.sequence.get(),
                           .challenge = message.subspan(sizeof(wire), hash_length),
                           .dh_value = message.subspan(sizeof(wire) + hash_length, dh_length)};
}

Result<ReplyFields> decode_reply(ByteView message, AuthHash hash, DhGroup group) {
    BASALT_TRY(const WireReply wire, read<WireReply>(message));
    const size_t hash_length = hash_bytes(hash);
    const size_t dh_length = dh_bytes(group);
    if (wire.hash_length != hash_length || wire.dh_length.get() != dh_length ||
        wire.challenge_valid > 1 || message.size() != sizeof(wire) + 2 * hash_length + dh_length) {
        return Errc::kProtocol;
    }
    return ReplyFields{.transaction = wire.header.transaction.get(),
                       .has_challenge = wire.challenge_valid == 1,
                       .sequence = wire.sequence.get(),
                       .response = message.subspan(sizeof(wire), hash_length),
                       .challenge = message.subspan(sizeof(wire) + hash_length, hash_length),
                       .dh_value = message.subspan(sizeof(wire) + 2 * hash_length, dh_length)};
}

Result<Success1Fields> decode_success1(ByteView message, AuthHash hash) {
    BASALT_TRY(const WireSuccess1 wire, read<WireSuccess1>(message));
    if (wire.response_valid > 1) {
        return Errc::kProtocol;
    }
    Success1Fields fields{.transaction = wire.header.transaction.get(),
                          .has_response = wire.response_valid == 1,
                          .response = {}};
    if (fields.has_response) {
        if (wire.hash_length != hash_bytes(hash) ||
            message.size() < sizeof(wire) + wire.hash_length) {
            return Errc::kProtocol;
        }
        fields.response = message.subspan(sizeof(wire), wire.hash_length);
    }
    return fields;
}

Status check_success2(ByteView message) {
    return message.size() == sizeof(WireSuccess2) ? kOk : Status(Errc::kProtocol);
}

Result<FailureFields> decode_failure(ByteView message) {
    BASALT_TRY(const WireFailure wire, read<WireFailure>(message));
    const bool is_known = wire.explanation >= static_cast<uint8_t>(AuthFailure::kFailed) &&
                          wire.explanation <= static_cast<uint8_t>(AuthFailure::kIncorrectMessage);
    return FailureFields{
        .transaction = wire.header.transaction.get(),
        .failure = is_known ? static_cast<AuthFailure>(wire.explanation) : AuthFailure::kFailed};
}

size_t encode_negotiate(uint16_t transaction,
                        AuthAlgorithms algorithms,
                        std::span<std::byte> out,
                        SecureChannel channel) {
    WireNegotiate wire;
    wire.secure_channel = static_cast<uint8_t>(channel);
    wire.header = header_of(AuthMessage::kNegotiate, transaction);
    wire.protocol_count = 1;
    WireProtocol protocol;
    protocol.protocol = kProtocolDhchap;
    for (const AuthHash hash : kAuthHashes) {
        if (algorithms.has(hash)) {
            protocol.hashes[protocol.hash_count++] = static_cast<uint8_t>(hash);
        }
    }
    for (const DhGroup group : kDhGroups) {
        if (algorithms.has(group)) {
            protocol.groups[protocol.group_count++] = static_cast<uint8_t>(group);
        }
    }
    Writer writer(out);
    writer.add(wire);
    writer.add(protocol);
    return writer.size();
}

size_t encode_challenge(const ChallengeFields& fields, std::span<std::byte> out) {
    BASALT_ASSERT(fields.challenge.size() == hash_bytes(fields.hash));
    BASALT_ASSERT(fields.dh_value.size() == dh_bytes(fields.group));
    WireChallenge wire;
    wire.header = header_of(AuthMessage::kChallenge, fields.transaction);
    wire.hash_length = static_cast<uint8_t>(fields.challenge.size());
    wire.hash = static_cast<uint8_t>(fields.hash);
    wire.group = static_cast<uint8_t>(fields.group);
    wire.dh_length.set(static_cast<uint16_t>(fields.dh_value.size()));
    wire.sequence.set(fields.sequence);
    Writer writer(out);
    writer.add(wire);
    writer.add_bytes(fields.challenge);
    writer.add_bytes(fields.dh_value);
    return writer.size();
}

size_t encode_reply(const ReplyFields& fields, std::span<std::byte> out) {
    BASALT_ASSERT(!fields.has_challenge || fields.challenge.size() == fields.response.size());
    WireReply wire;
    wire.header = header_of(AuthMessage::kReply, fields.transaction);
    wire.hash_length = static_cast<uint8_t>(fields.response.size());
    wire.challenge_valid = fields.has_challenge ? 1 : 0;
    wire.dh_length.set(static_cast<uint16_t>(fields.dh_value.size()));
    wire.sequence.set(fields.sequence);
    Writer writer(out);
    writer.add(wire);
    writer.add_bytes(fields.response);
    if (fields.has_challenge) {
        writer.add_bytes(fields.challenge);
    } else {
        writer.add_zeroes(fields.response.size());
    }
    writer.add_bytes(fields.dh_value);
    return writer.size();
}

size_t encode_success1(const Success1Fields& fields, AuthHash hash, std::span<std::byte> out) {
    WireSuccess1 wire;
    wire.header = header_of(AuthMessage::kSuccess1, fields.transaction);
    // Linux demands the hash's length even if no response follows.
    wire.hash_length = static_cast<uint8_t>(hash_bytes(hash));
    wire.response_valid = fields.has_response ? 1 : 0;
    Writer writer(out);
    writer.add(wire);
    if (fields.has_response) {
        BASALT_ASSERT(fields.response.size() == hash_bytes(hash));
        writer.add_bytes(fields.response);
    } else {
        writer.add_zeroes(hash_bytes(hash));
    }
    return writer.size();
}

size_t encode_success2(uint16_t transaction, std::span<std::byte> out) {
    WireSuccess2 wire;
    wire.header = header_of(AuthMessage::kSuccess2, transaction);
    Writer writer(out);
    writer.add(wire);
    return writer.size();
}

size_t encode_failure(AuthMessage message, const FailureFields& fields, std::span<std::byte> out) {
    BASALT_ASSERT(message == AuthMessage::kFailure1 || message == AuthMessage::kFailure2);
    WireFailure wire;
    wire.header = header_of(message, fields.transaction);
    wire.reason = kReasonFailure;
    wire.explanation = static_cast<uint8_t>(fields.failure);
    Writer writer(out);
    writer.add(wire);
    return writer.size();
}

}  // namespace basalt::nvmf
