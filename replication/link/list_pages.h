#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "replication/core/messages.h"
#include "replication/link/bridge.h"
#include "replication/link/replica_port.h"
#include "replication/wire/lists.h"

namespace basalt::replication {

/// Windows and dirty bitmaps, which travel in frames of their own, a list each: what a settle or a
/// joined brings goes before it, part by part; what a fence's or a join's answer brings is asked
/// for after it. Each is answered before the next is sent, so that large ones hold nobody up.

/// The parts of one message, on the head's side. Has copies of what it leads to, in memory that it
/// takes when it is made. Owner: a link. Core: the link's.
class ListsOut {
  public:
    ListsOut(uint32_t entries_max, uint64_t blocks) : window_(entries_max), dirty_(blocks) {}

    /// The parts of `message`. A bitmap of another size, or too large a window, is a bug.
    void begin(const Message& message);
    [[nodiscard]] bool has_more() const { return needs_window_ || needs_dirty_; }
    /// The next part: writes it to `page`, of wire::kListBytesMax, and its length to `bytes`.
    [[nodiscard]] WireRequest next(std::span<std::byte> page, size_t& bytes);
    void clear() { needs_window_ = needs_dirty_ = false; }
    [[nodiscard]] const BlockBitmap& dirty() const { return dirty_; }

  private:
    Window window_;
    BlockBitmap dirty_;
    bool needs_window_ = false;
    bool needs_dirty_ = false;
    size_t at_entry_ = 0;
    uint64_t at_block_ = 0;
};

/// What an answer brings, on the head's side: asks for page after page. Takes its memory when it is
/// made. Owner: a link. Core: the link's.
class ListsIn {
  public:
    ListsIn(uint32_t entries_max, uint64_t blocks) : window_(entries_max), dirty_(blocks) {}

    /// Begins on what `fields`, of a fence's or a join's answer, say is there. Errors: kNoMemory:
    /// more entries than a window may have; kInvalidArgument: a volume of another size.
    [[nodiscard]] Status begin(const wire::AnswerFields& fields);
    [[nodiscard]] bool has_more() const { return needs_window_ || needs_dirty_; }
    /// What to ask for next.
    [[nodiscard]] WireRequest next() const;
    /// The answer to that. Errors: kProtocol: not a sound list, or not what was asked for.
    [[nodiscard]] Status add(std::span<const std::byte> page, uint32_t crc);
    /// All of it; `reply` lives no longer than until begin() or clear().
    void put_into(Reply& reply) const;
    void clear() { needs_window_ = needs_dirty_ = false; }

  private:
    Window window_;
    BlockBitmap dirty_;
    bool has_dirty_ = false;
    bool needs_window_ = false;
    bool needs_dirty_ = false;
    size_t entries_ = 0;
    uint64_t at_block_ = 0;
};

/// A part that came in, on the replica's side, put to the others of `owner`, a connection. Errors:
/// kStaleEpoch: a newer head, or session, is at it; kTryAgain: what came before is missing;
/// kProtocol, kDataCorrupt, kNoMemory: as of decode_window() and decode_dirty().
[[nodiscard]] Status take_part(MessageLists& lists,
                               const void* owner,
                               const wire::Header& header,
                               const wire::RequestFields& fields,
                               std::span<const std::byte> page);

/// Has `message`, whose parts came before it, lead to them. Errors: kTryAgain: not all of them are
/// there.
[[nodiscard]] Status put_parts(const MessageLists& lists,
                               const void* owner,
                               const wire::RequestFields& fields,
                               Message& message);

/// A page that a head asks for, of what the replica knows, written to `page`, of
/// wire::kListBytesMax. Returns its length. Errors: kStaleEpoch: of a head that has been fenced
/// since: `answer` says by whom; kInvalidArgument: beyond the end.
[[nodiscard]] Result<size_t> answer_page(const ReplicaState& state,
                                         const wire::Header& header,
                                         const wire::RequestFields& fields,
                                         wire::AnswerFields& answer,
                                         std::span<std::byte> page);

}  // namespace basalt::replication
