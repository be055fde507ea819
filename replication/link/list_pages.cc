#include "replication/link/list_pages.h"

#include <algorithm>

#include "replication/wire/bytes.h"

namespace basalt::replication {

using wire::Opcode;

namespace {

/// Whether what came is of this volume: cores mark the blocks of entries.
bool fit(std::span<const WindowEntry> entries, uint64_t blocks) {
    return std::all_of(entries.begin(), entries.end(), [blocks](const WindowEntry& entry) {
        return entry.range.end() <= blocks;
    });
}

}  // namespace

// --- The head's side -------------------------------------------------------------------------

void ListsOut::begin(const Message& message) {
    needs_window_ = message.kind == MessageKind::kSettle;
    needs_dirty_ = message.dirty != nullptr;
    at_entry_ = 0;
    at_block_ = 0;
    if (needs_window_) {
        BASALT_ASSERT(message.window.size() <= window_.entries_max());
        window_.replace(message.window);
    }
    if (const BlockBitmap* dirty = message.dirty) {
        BASALT_ASSERT(dirty->blocks() == dirty_.blocks());
        dirty_ = *dirty;
    }
}

WireRequest ListsOut::next(std::span<std::byte> page, size_t& bytes) {
    BASALT_ASSERT(has_more());
    WireRequest part;
    part.fields.is_part = true;
    if (needs_window_) {
        part.opcode = Opcode::kWindow;
        part.fields.as_of.count = at_entry_;
        bytes = wire::encode_window(window_.entries().subspan(at_entry_), page);
        at_entry_ += bytes / wire::kWindowEntryBytes;
        part.fields.is_exact = at_entry_ == window_.entries().size();
        needs_window_ = !part.fields.is_exact;
        return part;
    }
    part.opcode = Opcode::kDirtyBitmap;
    part.fields.range.first = at_block_;
    bytes = wire::encode_dirty(dirty_, at_block_, page);
    part.fields.is_exact = at_block_ == dirty_.blocks();
    needs_dirty_ = !part.fields.is_exact;
    return part;
}

Status ListsIn::begin(const wire::AnswerFields& fields) {
    has_dirty_ = fields.blocks > 0;
    needs_window_ = fields.entries > 0;
    needs_dirty_ = has_dirty_;
    entries_ = fields.entries;
    at_block_ = 0;
    window_.clear();
    if (entries_ > window_.entries_max()) {
        clear();
        return Errc::kNoMemory;
    }
    if (has_dirty_ && fields.blocks != dirty_.blocks()) {
        clear();
        return Errc::kInvalidArgument;
    }
    if (has_dirty_) {
        dirty_.clear_all();
    }
    return kOk;
}

WireRequest ListsIn::next() const {
    BASALT_ASSERT(has_more());
    WireRequest request;
    if (needs_window_) {
        request.opcode = Opcode::kWindow;
        request.fields.as_of.count = window_.entries().size();
    } else {
        request.opcode = Opcode::kDirtyBitmap;
        request.fields.range.first = at_block_;
    }
    return request;
}

Status ListsIn::add(std::span<const std::byte> page, uint32_t crc) {
    if (needs_window_) {
        BASALT_CHECK(wire::decode_window(page, crc, window_));
        if (page.empty() || window_.entries().size() > entries_ ||
            !fit(window_.entries(), dirty_.blocks())) {
            return Errc::kProtocol;
        }
        needs_window_ = window_.entries().size() < entries_;
        return kOk;
    }
    BASALT_CHECK(wire::decode_dirty(page, crc, dirty_));
    if (!page.empty()) {
        wire::Reader first(page);
        wire::Reader last(page.last(wire::kRunBytes));
        const auto begin = first.get<uint64_t>();
        const auto end = last.get<uint64_t>() + last.get<uint64_t>();
        if (begin < at_block_) {
            return Errc::kProtocol;
        }
        at_block_ = end;
    }
    // A page that isn't full is the last one.
    needs_dirty_ = page.size() == wire::kListBytesMax && at_block_ < dirty_.blocks();
    return kOk;
}

void ListsIn::put_into(Reply& reply) const {
    reply.window = window_.entries();
    reply.dirty = has_dirty_ ? &dirty_ : nullptr;
}

// --- The replica's side ----------------------------------------------------------------------

namespace {

Status add_part(MessageLists& lists,
                const wire::Header& header,
                const wire::RequestFields& fields,
                std::span<const std::byte> page) {
    if (header.opcode == Opcode::kWindow) {
        if (fields.as_of.count == 0) {
            lists.window.clear();
        }
        lists.has_window = false;
        if (fields.as_of.count != lists.window.entries().size()) {
            return Errc::kTryAgain;
        }
        BASALT_CHECK(wire::decode_window(page, header.table_crc, lists.window));
        if (!fit(lists.window.entries(), lists.dirty.blocks())) {
            return Errc::kProtocol;
        }
        lists.has_window = fields.is_exact;
        return kOk;
    }
    if (fields.range.first == 0) {
        lists.dirty.clear_all();
    }
    lists.has_dirty = false;
    BASALT_CHECK(wire::decode_dirty(page, header.table_crc, lists.dirty));
    lists.has_dirty = fields.is_exact;
    return kOk;
}

}  // namespace

Status take_part(MessageLists& lists,
                 const void* owner,
                 const wire::Header& header,
                 const wire::RequestFields& fields,
                 std::span<const std::byte> page) {
    const bool is_window = header.opcode == Opcode::kWindow;
    const bool is_first = is_window ? fields.as_of.count == 0 : fields.range.first == 0;
    if (lists.owner != nullptr && fields.tenure < lists.tenure) {
        return Errc::kStaleEpoch;
    }
    const bool is_same =
        lists.owner == owner && lists.tenure == fields.tenure && lists.session == fields.session;
    if (!is_same) {
        if (!is_first) {
            return Errc::kTryAgain;
        }
        lists.owner = owner;
        lists.tenure = fields.tenure;
        lists.session = fields.session;
        lists.has_window = lists.has_dirty = false;
    }
    const Status added = add_part(lists, header, fields, page);
    if (!added) {
        lists.owner = nullptr;  // What follows would leave a hole.
    }
    return added;
}

Status put_parts(const MessageLists& lists,
                 const void* owner,
                 const wire::RequestFields& fields,
                 Message& message) {
    const bool needs_window = message.kind == MessageKind::kSettle;
    if (!needs_window && !fields.is_part) {
        return kOk;
    }
    const bool is_same =
        lists.owner == owner && lists.tenure == fields.tenure && lists.session == fields.session;
    if (!is_same || (needs_window && !lists.has_window) || (fields.is_part && !lists.has_dirty)) {
        return Errc::kTryAgain;
    }
    if (needs_window) {
        message.window = lists.window.entries();
    }
    if (fields.is_part) {
        message.dirty = &lists.dirty;
    }
    return kOk;
}

Result<size_t> answer_page(const ReplicaState& state,
                           const wire::Header& header,
                           const wire::RequestFields& fields,
                           wire::AnswerFields& answer,
                           std::span<std::byte> page) {
    answer.fence = state.fence;
    answer.blocks = state.dirty.blocks();
    answer.entries = static_cast<uint32_t>(state.window.entries().size());
    if (fields.epoch < state.fence) {
        return Errc::kStaleEpoch;
    }
    if (header.opcode == Opcode::kWindow) {
        if (fields.as_of.count > answer.entries) {
            return Errc::kInvalidArgument;
        }
        return wire::encode_window(state.window.entries().subspan(fields.as_of.count), page);
    }
    uint64_t from = fields.range.first;
    if (from > answer.blocks) {
        return Errc::kInvalidArgument;
    }
    return wire::encode_dirty(state.dirty, from, page);
}

}  // namespace basalt::replication
