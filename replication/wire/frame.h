#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "bdev/core/uuid.h"
#include "reactor/base/result.h"
#include "replication/core/types.h"

namespace basalt::replication::wire {

/// The data protocol between heads and stores: frames, their headers and their bodies. The format
/// is format.md, in this folder. Pure functions on bytes: nothing is allocated, any core.

inline constexpr uint16_t kVersionMin = 1;
inline constexpr uint16_t kVersionMax = 1;
inline constexpr size_t kHeaderBytes = 40;
inline constexpr size_t kHelloBytes = 72;
inline constexpr size_t kRequestBytes = 112;
inline constexpr size_t kAnswerBytes = 96;
inline constexpr size_t kBodyBytesMax = kRequestBytes;

/// Payload of one frame: the data of the largest range twice (compare and write), with its sums.
inline constexpr uint32_t kPayloadBytesMax = 2 * kRangeBlocksMax * (kBlockBytes + 4);

enum class Opcode : uint8_t {
    kHello = 1,
    kPing = 2,
    kWrite = 3,
    kWriteZeroes = 4,
    kUnmap = 5,
    kRead = 6,
    kFlush = 7,
    kCompareAndWrite = 8,
    kFence = 9,
    kWindow = 10,
    kTrimWindow = 11,
    kSettle = 12,
    kCarryOn = 13,
    kJoin = 14,
    kJoined = 15,
    kGeneration = 16,
    kDirtyBitmap = 17,
    kCopyRange = 18,
    kScrubRange = 19,
    kStatistics = 20,
    kCopyRead = 21,
    kDropLine = 22,
};
inline constexpr uint8_t kOpcodeLast = 22;

/// What every frame begins with.
struct Header {
    Opcode opcode = Opcode::kPing;
    bool is_answer = false;
    Errc status = Errc::kOk;  ///< Answers only.
    uint16_t credits = 0;     ///< So many more requests the receiver may send.
    uint32_t body_bytes = 0;  ///< What the opcode and the direction say.
    uint32_t payload_bytes = 0;
    uint32_t table_crc = 0;  ///< CRC32C of the payload, or of its sums where it carries data.
    uint64_t id = 0;         ///< The sender's; comes back in the answer.

    bool operator==(const Header&) const = default;
};

/// The body of a hello, and of the answer to it.
struct Hello {
    uint16_t version_min = kVersionMin;
    uint16_t version_max = kVersionMax;  ///< In an answer both are the one that was chosen.
    uint32_t block_bytes = kBlockBytes;
    uint32_t range_blocks_max = kRangeBlocksMax;
    uint32_t payload_bytes_max = kPayloadBytesMax;
    uint16_t connection = 0;  ///< Which of the connections between the two, from 0.
    uint32_t session = 0;
    bdev::Uuid cluster{};
    bdev::Uuid drive{};
    Epoch epoch{};   ///< The highest that the sender knows.
    Epoch tenure{};  ///< The head's.

    bool operator==(const Hello&) const = default;
};

/// The body of every other request; what an opcode does not use is 0.
struct RequestFields {
    uint64_t volume = 0;
    Epoch epoch{};
    Epoch tenure{};
    uint32_t session = 0;
    BlockRange range{};
    OpNumber number{};
    OpNumber generation{};
    OpNumber watermark{};
    OpNumber as_of{};
    bool is_replica_away = false;
    bool is_exact = false;  ///< Of a part: the last one.
    bool is_part = false;

    bool operator==(const RequestFields&) const = default;
};

/// The body of every other answer; what an opcode does not use is 0.
struct AnswerFields {
    Epoch fence{};
    Epoch agreed{};
    OpNumber number{};
    OpNumber newest{};
    OpNumber watermark{};
    OpNumber generation{};
    uint64_t blocks = 0;   ///< Of the volume; dirty bitmap: of the whole bitmap.
    uint32_t entries = 0;  ///< Window, dirty bitmap, statistics: how many there are in all.
    bool is_blank = false;

    bool operator==(const AnswerFields&) const = default;
};

/// The size of the body that belongs to it.
[[nodiscard]] uint32_t body_bytes(Opcode opcode, bool is_answer);

/// Whether it takes one of the credits that the peer has given.
[[nodiscard]] bool spends_credit(Opcode opcode);

/// `status`, or kIo in place of one that has no number on the wire.
[[nodiscard]] Errc sendable(Errc status);

/// Each writes header and body, with their CRC, to the beginning of `out` and returns their size.
/// `header.body_bytes` is not looked at. `out` has room for kHeaderBytes + kBodyBytesMax.
size_t encode(const Header& header, const Hello& body, std::span<std::byte> out);
size_t encode(const Header& header, const RequestFields& body, std::span<std::byte> out);
size_t encode(const Header& header, const AnswerFields& body, std::span<std::byte> out);

/// The header at the beginning of `in`, which has kHeaderBytes or more. Its CRC is checked with the
/// body's, by the decoder of the body: until then only sizes may be believed, which are bounded.
/// Errors: kProtocol: no such magic, opcode, status or size, or a reserved field that is not 0.
[[nodiscard]] Result<Header> decode_header(std::span<const std::byte> in);

/// Each takes the body of the frame that `in` begins with, header and body whole. Errors:
/// kProtocol: too short, another kind of frame, a flag that is not known; kDataCorrupt: the CRC is
/// another one.
[[nodiscard]] Result<Hello> decode_hello(std::span<const std::byte> in);
[[nodiscard]] Result<RequestFields> decode_request(std::span<const std::byte> in);
[[nodiscard]] Result<AnswerFields> decode_answer(std::span<const std::byte> in);

/// The version that both sides speak. Errors: kNotSupported: there is none, or blocks of another
/// size; kPermissionDenied: the peer is of another cluster; kNotFound: it means another drive.
[[nodiscard]] Result<uint16_t> negotiate(const Hello& own, const Hello& peer);

}  // namespace basalt::replication::wire
