#include "replication/link/bridge.h"

#include "replication/wire/lists.h"

namespace basalt::replication {

namespace {

using wire::Opcode;

Opcode opcode_of(const Message& message) {
    switch (message.kind) {
        case MessageKind::kWrite:
            switch (message.write) {
                case WriteKind::kData: return Opcode::kWrite;
                case WriteKind::kZeroes: return Opcode::kWriteZeroes;
                case WriteKind::kUnmap: return Opcode::kUnmap;
                case WriteKind::kBarrier: return Opcode::kGeneration;
            }
            break;
        case MessageKind::kRead: return Opcode::kRead;
        case MessageKind::kTrim: return Opcode::kTrimWindow;
        case MessageKind::kFence: return Opcode::kFence;
        case MessageKind::kSettle: return Opcode::kSettle;
        case MessageKind::kCarryOn: return Opcode::kCarryOn;
        case MessageKind::kJoin: return Opcode::kJoin;
        case MessageKind::kCopyRead: return Opcode::kCopyRead;
        case MessageKind::kCopy: return Opcode::kCopyRange;
        case MessageKind::kJoined: return Opcode::kJoined;
        case MessageKind::kDropLine: return Opcode::kDropLine;
    }
    assertion_failed("a message is of one of these kinds", __FILE__, __LINE__);
}

/// The message's kind, and what it writes; without the rest. Errors: kNotSupported.
Result<Message> kind_of(Opcode opcode) {
    switch (opcode) {
        case Opcode::kWrite: return Message{};
        case Opcode::kWriteZeroes: return Message{.write = WriteKind::kZeroes};
        case Opcode::kUnmap: return Message{.write = WriteKind::kUnmap};
        case Opcode::kGeneration: return Message{.write = WriteKind::kBarrier};
        case Opcode::kRead: return Message{.kind = MessageKind::kRead};
        case Opcode::kTrimWindow: return Message{.kind = MessageKind::kTrim};
        case Opcode::kFence: return Message{.kind = MessageKind::kFence};
        case Opcode::kSettle: return Message{.kind = MessageKind::kSettle};
        case Opcode::kCarryOn: return Message{.kind = MessageKind::kCarryOn};
        case Opcode::kJoin: return Message{.kind = MessageKind::kJoin};
        case Opcode::kCopyRead: return Message{.kind = MessageKind::kCopyRead};
        case Opcode::kCopyRange: return Message{.kind = MessageKind::kCopy};
        case Opcode::kJoined: return Message{.kind = MessageKind::kJoined};
        case Opcode::kDropLine: return Message{.kind = MessageKind::kDropLine};
        case Opcode::kHello:
        case Opcode::kPing:
        case Opcode::kFlush:
        case Opcode::kCompareAndWrite:
        case Opcode::kWindow:
        case Opcode::kDirtyBitmap:
        case Opcode::kScrubRange:
        case Opcode::kStatistics: break;
    }
    return Errc::kNotSupported;
}

bool has_range(Opcode opcode) {
    return opcode == Opcode::kWrite || opcode == Opcode::kWriteZeroes || opcode == Opcode::kUnmap ||
           opcode == Opcode::kCopyRange || is_read(opcode);
}

}  // namespace

bool is_read(Opcode opcode) {
    return opcode == Opcode::kRead || opcode == Opcode::kCopyRead;
}

WireRequest to_wire(uint64_t volume, const Message& message) {
    return {.opcode = opcode_of(message),
            .fields = {.volume = volume,
                       .epoch = message.epoch,
                       .tenure = message.tenure,
                       .session = message.session,
                       .range = message.range,
                       .number = message.number,
                       .generation = message.generation,
                       .watermark = message.watermark,
                       .as_of = message.as_of,
                       .is_replica_away = message.is_replica_away,
                       .is_exact = message.is_exact,
                       .is_part = message.dirty != nullptr}};
}

Result<Message> to_message(const wire::Header& header, const wire::RequestFields& fields) {
    BASALT_TRY(Message message, kind_of(header.opcode));
    if ((fields.range.count > 0) != has_range(header.opcode)) {
        return Errc::kInvalidArgument;
    }
    message.epoch = fields.epoch;
    message.tenure = fields.tenure;
    message.session = fields.session;
    message.id = header.id;
    message.number = fields.number;
    message.range = fields.range;
    message.generation = fields.generation;
    message.watermark = fields.watermark;
    message.as_of = fields.as_of;
    message.is_exact = fields.is_exact;
    message.is_replica_away = fields.is_replica_away;
    return message;
}

Result<PayloadKind> payload_of(const wire::Header& header, const wire::RequestFields& fields) {
    const uint32_t bytes = header.payload_bytes;
    const uint32_t data_bytes = fields.range.count * (kBlockBytes + sizeof(uint32_t));
    PayloadKind kind = PayloadKind::kNone;
    bool fits = bytes == 0;
    switch (header.opcode) {
        case Opcode::kWrite:
        case Opcode::kCopyRange:
            kind = PayloadKind::kData;
            fits = bytes == data_bytes && bytes > 0;
            break;
        case Opcode::kCompareAndWrite: fits = bytes == 2 * data_bytes; break;
        case Opcode::kWindow:
        case Opcode::kDirtyBitmap: {
            const size_t unit =
                header.opcode == Opcode::kWindow ? wire::kWindowEntryBytes : wire::kRunBytes;
            kind = fields.is_part ? PayloadKind::kList : PayloadKind::kNone;
            fits = bytes % unit == 0 && bytes <= (fields.is_part ? wire::kListBytesMax : 0);
            break;
        }
        case Opcode::kHello:
        case Opcode::kPing:
        case Opcode::kWriteZeroes:
        case Opcode::kUnmap:
        case Opcode::kRead:
        case Opcode::kFlush:
        case Opcode::kFence:
        case Opcode::kTrimWindow:
        case Opcode::kSettle:
        case Opcode::kCarryOn:
        case Opcode::kJoin:
        case Opcode::kJoined:
        case Opcode::kGeneration:
        case Opcode::kScrubRange:
        case Opcode::kStatistics:
        case Opcode::kCopyRead:
        case Opcode::kDropLine: break;
    }
    if (!fits) {
        return Errc::kProtocol;
    }
    return kind;
}

wire::AnswerFields to_wire(const Reply& reply) {
    return {.fence = reply.epoch,
            .agreed = reply.agreed,
            .number = reply.number,
            .newest = reply.newest,
            .watermark = reply.watermark,
            .generation = reply.generation,
            .blocks = reply.dirty != nullptr ? reply.dirty->blocks() : 0,
            .entries = static_cast<uint32_t>(reply.window.size()),
            .is_blank = reply.is_blank};
}

Reply to_reply(const Message& asked, Errc status, const wire::AnswerFields& fields) {
    return {.kind = asked.kind,
            .status = status,
            .epoch = fields.fence,
            .session = asked.session,
            .id = asked.id,
            .connection = asked.connection,
            .number = fields.number,
            .newest = fields.newest,
            .is_blank = fields.is_blank,
            .agreed = fields.agreed,
            .watermark = fields.watermark,
            .generation = fields.generation};
}

}  // namespace basalt::replication
