#include "replication/wire/frame.h"

#include <algorithm>
#include <optional>

#include "bdev/store/checksum.h"
#include "replication/wire/bytes.h"

namespace basalt::replication::wire {

namespace {

constexpr uint32_t kMagic = 0x50455242;  // "BREP"
constexpr size_t kCrcOffset = 4;
constexpr uint8_t kAnswerFlag = 1;
constexpr uint32_t kAwayFlag = 1;
constexpr uint32_t kExactFlag = 2;
constexpr uint32_t kPartFlag = 4;
constexpr uint32_t kBlankFlag = 1;

// The place is the number on the wire.
constexpr std::array kStatuses{Errc::kOk,
                               Errc::kStaleEpoch,
                               Errc::kTryAgain,
                               Errc::kNoMemory,
                               Errc::kDataCorrupt,
                               Errc::kMediaError,
                               Errc::kIo,
                               Errc::kNoSpace,
                               Errc::kInvalidArgument,
                               Errc::kCompareMismatch,
                               Errc::kNotSupported,
                               Errc::kOutOfRange,
                               Errc::kPermissionDenied,
                               Errc::kNotFound};

uint16_t number_of(Errc status) {
    const auto* found = std::find(kStatuses.begin(), kStatuses.end(), status);
    BASALT_ASSERT(found != kStatuses.end());
    return static_cast<uint16_t>(found - kStatuses.begin());
}

uint32_t crc_of(std::span<const std::byte> frame) {
    constexpr std::array<std::byte, 4> kZero{};
    uint32_t crc = bdev::store::crc32c(frame.first(kCrcOffset));
    crc = bdev::store::crc32c(kZero, crc);
    return bdev::store::crc32c(frame.subspan(kCrcOffset + 4), crc);
}

void put_uuid(Writer& writer, const bdev::Uuid& uuid) {
    for (const uint8_t byte : uuid.bytes) {
        writer.put(byte);
    }
}

bdev::Uuid get_uuid(Reader& reader) {
    bdev::Uuid uuid;
    for (uint8_t& byte : uuid.bytes) {
        byte = reader.get<uint8_t>();
    }
    return uuid;
}

Writer begin(const Header& header, std::span<std::byte> out) {
    const uint32_t body = body_bytes(header.opcode, header.is_answer);
    BASALT_ASSERT(out.size() >= kHeaderBytes + body);
    BASALT_ASSERT(header.payload_bytes <= kPayloadBytesMax);
    std::fill_n(out.begin(), kHeaderBytes + body, std::byte{0});
    Writer writer(out);
    writer.put(kMagic);
    writer.put(uint32_t{0});
    writer.put(static_cast<uint8_t>(header.opcode));
    writer.put(header.is_answer ? kAnswerFlag : uint8_t{0});
    writer.put(number_of(header.status));
    writer.put(body);
    writer.put(header.payload_bytes);
    writer.put(header.credits);
    writer.put(uint16_t{0});
    writer.put(header.id);
    writer.put(header.table_crc);
    writer.put(uint32_t{0});
    BASALT_ASSERT(writer.size() == kHeaderBytes);
    return writer;
}

size_t end(const Header& header, std::span<std::byte> out) {
    const size_t size = kHeaderBytes + body_bytes(header.opcode, header.is_answer);
    const uint32_t crc = crc_of(out.first(size));
    std::memcpy(out.data() + kCrcOffset, &crc, sizeof(crc));
    return size;
}

/// The body of a frame of that kind, whose CRC is right.
Result<std::span<const std::byte>> body_of(std::span<const std::byte> in,
                                           bool is_hello,
                                           std::optional<bool> is_answer) {
    if (in.size() < kHeaderBytes) {
        return Errc::kProtocol;
    }
    BASALT_TRY(const Header header, decode_header(in));
    if (in.size() < kHeaderBytes + header.body_bytes ||
        (header.opcode == Opcode::kHello) != is_hello ||
        (is_answer && *is_answer != header.is_answer)) {
        return Errc::kProtocol;
    }
    uint32_t crc = 0;
    std::memcpy(&crc, in.data() + kCrcOffset, sizeof(crc));
    if (crc != crc_of(in.first(kHeaderBytes + header.body_bytes))) {
        return Errc::kDataCorrupt;
    }
    return in.subspan(kHeaderBytes, header.body_bytes);
}

}  // namespace

uint32_t body_bytes(Opcode opcode, bool is_answer) {
    if (opcode == Opcode::kHello) {
        return kHelloBytes;
    }
    return is_answer ? kAnswerBytes : kRequestBytes;
}

bool spends_credit(Opcode opcode) {
    return opcode != Opcode::kHello && opcode != Opcode::kPing && opcode != Opcode::kTrimWindow;
}

Errc sendable(Errc status) {
    return std::find(kStatuses.begin(), kStatuses.end(), status) == kStatuses.end() ? Errc::kIo
                                                                                    : status;
}

size_t encode(const Header& header, const Hello& body, std::span<std::byte> out) {
    BASALT_ASSERT(header.opcode == Opcode::kHello);
    Writer writer = begin(header, out);
    writer.put(body.version_min);
    writer.put(body.version_max);
    writer.put(body.block_bytes);
    writer.put(body.range_blocks_max);
    writer.put(body.payload_bytes_max);
    writer.put(body.connection);
    writer.put(uint16_t{0});
    writer.put(body.session);
    put_uuid(writer, body.cluster);
    put_uuid(writer, body.drive);
    writer.put(body.epoch.raw());
    writer.put(body.tenure.raw());
    return end(header, out);
}

size_t encode(const Header& header, const RequestFields& body, std::span<std::byte> out) {
    BASALT_ASSERT(header.opcode != Opcode::kHello && !header.is_answer);
    Writer writer = begin(header, out);
    writer.put(body.volume);
    writer.put(body.epoch.raw());
    writer.put(body.tenure.raw());
    writer.put(body.session);
    writer.put((body.is_replica_away ? kAwayFlag : 0) | (body.is_exact ? kExactFlag : 0) |
               (body.is_part ? kPartFlag : 0));
    writer.put(body.range.first);
    writer.put(body.range.count);
    writer.put(uint32_t{0});
    writer.put_number(body.number);
    writer.put_number(body.generation);
    writer.put_number(body.watermark);
    writer.put_number(body.as_of);
    return end(header, out);
}

size_t encode(const Header& header, const AnswerFields& body, std::span<std::byte> out) {
    BASALT_ASSERT(header.opcode != Opcode::kHello && header.is_answer);
    Writer writer = begin(header, out);
    writer.put(body.fence.raw());
    writer.put(body.agreed.raw());
    writer.put_number(body.number);
    writer.put_number(body.newest);
    writer.put_number(body.watermark);
    writer.put_number(body.generation);
    writer.put(body.blocks);
    writer.put(body.entries);
    writer.put(body.is_blank ? kBlankFlag : 0);
    return end(header, out);
}

Result<Header> decode_header(std::span<const std::byte> in) {
    BASALT_ASSERT(in.size() >= kHeaderBytes);
    Reader reader(in);
    const auto magic = reader.get<uint32_t>();
    static_cast<void>(reader.get<uint32_t>());  // The CRC, when the body is there.
    const auto opcode = reader.get<uint8_t>();
    const auto flags = reader.get<uint8_t>();
    const auto status = reader.get<uint16_t>();
    Header header;
    header.body_bytes = reader.get<uint32_t>();
    header.payload_bytes = reader.get<uint32_t>();
    header.credits = reader.get<uint16_t>();
    const auto reserved = reader.get<uint16_t>();
    header.id = reader.get<uint64_t>();
    header.table_crc = reader.get<uint32_t>();
    const auto reserved2 = reader.get<uint32_t>();
    if (magic != kMagic || opcode == 0 || opcode > kOpcodeLast || flags > kAnswerFlag ||
        status >= kStatuses.size() || reserved != 0 || reserved2 != 0) {
        return Errc::kProtocol;
    }
    header.opcode = Opcode{opcode};
    header.is_answer = flags == kAnswerFlag;
    header.status = kStatuses[status];
    if ((!header.is_answer && status != 0) || header.payload_bytes > kPayloadBytesMax ||
        header.body_bytes != body_bytes(header.opcode, header.is_answer)) {
        return Errc::kProtocol;
    }
    return header;
}

Result<Hello> decode_hello(std::span<const std::byte> in) {
    BASALT_TRY(const auto bytes, body_of(in, true, std::nullopt));
    Reader reader(bytes);
    Hello body;
    body.version_min = reader.get<uint16_t>();
    body.version_max = reader.get<uint16_t>();
    body.block_bytes = reader.get<uint32_t>();
    body.range_blocks_max = reader.get<uint32_t>();
    body.payload_bytes_max = reader.get<uint32_t>();
    body.connection = reader.get<uint16_t>();
    const auto reserved = reader.get<uint16_t>();
    body.session = reader.get<uint32_t>();
    body.cluster = get_uuid(reader);
    body.drive = get_uuid(reader);
    body.epoch = Epoch(reader.get<uint64_t>());
    body.tenure = Epoch(reader.get<uint64_t>());
    if (reserved != 0 || body.version_min > body.version_max) {
        return Errc::kProtocol;
    }
    return body;
}

Result<RequestFields> decode_request(std::span<const std::byte> in) {
    BASALT_TRY(const auto bytes, body_of(in, false, false));
    Reader reader(bytes);
    RequestFields body;
    body.volume = reader.get<uint64_t>();
    body.epoch = Epoch(reader.get<uint64_t>());
    body.tenure = Epoch(reader.get<uint64_t>());
    body.session = reader.get<uint32_t>();
    const auto flags = reader.get<uint32_t>();
    body.range.first = reader.get<uint64_t>();
    body.range.count = reader.get<uint32_t>();
    const auto reserved = reader.get<uint32_t>();
    body.number = reader.get_number();
    body.generation = reader.get_number();
    body.watermark = reader.get_number();
    body.as_of = reader.get_number();
    body.is_replica_away = (flags & kAwayFlag) != 0;
    body.is_exact = (flags & kExactFlag) != 0;
    body.is_part = (flags & kPartFlag) != 0;
    if (reserved != 0 || flags > (kAwayFlag | kExactFlag | kPartFlag) ||
        body.range.count > kRangeBlocksMax || body.range.end() < body.range.first) {
        return Errc::kProtocol;
    }
    return body;
}

Result<AnswerFields> decode_answer(std::span<const std::byte> in) {
    BASALT_TRY(const auto bytes, body_of(in, false, true));
    Reader reader(bytes);
    AnswerFields body;
    body.fence = Epoch(reader.get<uint64_t>());
    body.agreed = Epoch(reader.get<uint64_t>());
    body.number = reader.get_number();
    body.newest = reader.get_number();
    body.watermark = reader.get_number();
    body.generation = reader.get_number();
    body.blocks = reader.get<uint64_t>();
    body.entries = reader.get<uint32_t>();
    const auto flags = reader.get<uint32_t>();
    body.is_blank = flags == kBlankFlag;
    if (flags > kBlankFlag) {
        return Errc::kProtocol;
    }
    return body;
}

Result<uint16_t> negotiate(const Hello& own, const Hello& peer) {
    if (own.cluster != peer.cluster) {
        return Errc::kPermissionDenied;
    }
    if (own.drive != peer.drive) {
        return Errc::kNotFound;
    }
    const uint16_t version = std::min(own.version_max, peer.version_max);
    if (version < std::max(own.version_min, peer.version_min) ||
        own.block_bytes != peer.block_bytes) {
        return Errc::kNotSupported;
    }
    return version;
}

}  // namespace basalt::replication::wire
