#pragma once

#include <cstdint>

#include "reactor/base/result.h"
#include "replication/core/messages.h"
#include "replication/wire/frame.h"

namespace basalt::replication {

/// What heads and replicas say to each other, as frames and back: replication/wire/format.md,
/// "Bodies". Windows and bitmaps go by list_pages.h, data by itself. Pure functions, any core.

/// What follows a head.
enum class PayloadKind : uint8_t { kNone, kList, kData };

/// A request without its payload. A value.
struct WireRequest {
    wire::Opcode opcode = wire::Opcode::kPing;
    wire::RequestFields fields{};
};

/// The frame of `message`; but for `id`, which is the connection's, `connection` and `data`, which
/// are each side's own, and what its pointers lead to, of which the frame says whether it is there.
[[nodiscard]] WireRequest to_wire(uint64_t volume, const Message& message);

/// And back; `id` is the header's. Errors: kInvalidArgument: an opcode without its range, or a
/// range where there is none; kNotSupported: an opcode that no message has.
[[nodiscard]] Result<Message> to_message(const wire::Header& header,
                                         const wire::RequestFields& fields);

/// The opcode that answers to messages of that kind have in common with their questions.
[[nodiscard]] bool is_read(wire::Opcode opcode);

/// What such a request carries, and how many blocks if it is data. An error ends the connection:
/// kProtocol: the payload has another size, or there may be none.
[[nodiscard]] Result<PayloadKind> payload_of(const wire::Header& header,
                                             const wire::RequestFields& fields);

/// The answer's fields: all of `reply` but `session`, `id` and `connection`, which whoever asked
/// knows, and `digest`, which is that of the data.
[[nodiscard]] wire::AnswerFields to_wire(const Reply& reply);

/// And back; `asked` is the message that it answers, of which kind, session and id are used. The
/// window and the bitmap are not there yet.
[[nodiscard]] Reply to_reply(const Message& asked, Errc status, const wire::AnswerFields& fields);

}  // namespace basalt::replication
