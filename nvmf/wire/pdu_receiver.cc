#include "nvmf/wire/pdu_receiver.h"

#include <algorithm>
#include <cstring>

#include "reactor/base/assert.h"

namespace basalt::nvmf {

namespace {

/// Data with a digest is copied and summed in steps of this size, so that the sum finds it in the
/// first-level cache (32 KiB or more on every processor in question).
constexpr size_t kDigestStepBytes = 16384;

}  // namespace

PduReceiver::PduReceiver(PduHandler& handler, const PduRules& rules)
    : handler_(handler), rules_(rules) {}

size_t PduReceiver::feed(std::span<const std::byte> input) {
    const size_t offered_bytes = input.size();
    if (state_ == State::kPlan) {
        ask_plan(buffer_.data());
    }
    // Every state that takes input takes at least one byte a turn, so the loop ends.
    while (!input.empty()) {
        [[maybe_unused]] const size_t before_bytes = input.size();
        switch (state_) {
            case State::kHeader: take_header(input); break;
            case State::kPadding: take_padding(input); break;
            case State::kData: take_data(input); break;
            case State::kDataDigest: take_data_digest(input); break;
            case State::kPlan:
            case State::kFailed:
            case State::kStopped: return offered_bytes - input.size();
        }
        BASALT_ASSERT(input.size() < before_bytes || is_done());
    }
    return offered_bytes;
}

void PduReceiver::set_rules(const PduRules& rules) {
    BASALT_ASSERT(rules.data_align_bytes >= kDataAlignBytesMin);
    BASALT_ASSERT(rules.data_align_bytes <= kDataAlignBytesMax);
    rules_ = rules;
}

void PduReceiver::stop() {
    state_ = State::kStopped;
}

void PduReceiver::take_header(Bytes& input) {
    if (buffered_bytes_ == 0 && input.size() >= kCommonHeaderBytes) {
        const auto& common = *reinterpret_cast<const CommonHeader*>(input.data());
        if (const Violation bad = check_common_header(common, rules_, layout_)) {
            fail(bad, input.first(kCommonHeaderBytes));
            return;
        }
        const uint32_t total_bytes = layout_.header_total_bytes();
        if (input.size() >= total_bytes) {
            const std::byte* header = input.data();
            input = input.subspan(total_bytes);
            ahead_ = input;
            use_header(header);
            ahead_ = {};
            return;
        }
        layout_known_ = true;
    }
    if (!layout_known_) {
        if (!buffer_until(kCommonHeaderBytes, input)) {
            return;
        }
        const auto& common = *reinterpret_cast<const CommonHeader*>(buffer_.data());
        if (const Violation bad = check_common_header(common, rules_, layout_)) {
            fail(bad, Bytes(buffer_).first(kCommonHeaderBytes));
            return;
        }
        layout_known_ = true;
    }
    if (buffer_until(layout_.header_total_bytes(), input)) {
        ahead_ = input;
        use_header(buffer_.data());
        ahead_ = {};
    }
}

std::span<const std::byte> PduReceiver::data_at_hand() const {
    const size_t end_bytes =
        size_t{layout_.padding_bytes} + layout_.data_bytes + layout_.data_digest_bytes;
    return ahead_.size() >= end_bytes ? ahead_.subspan(layout_.padding_bytes, layout_.data_bytes)
                                      : Bytes();
}

std::span<std::byte> PduReceiver::wanted_data() const {
    if (state_ != State::kData || !storing_) {
        return {};
    }
    const std::span<std::byte> room = destination();
    return room.first(std::min<size_t>(room.size(), remaining_bytes_));
}

void PduReceiver::data_stored(size_t size_bytes) {
    BASALT_ASSERT(size_bytes <= wanted_data().size());
    if (layout_.data_digest_bytes != 0) {
        data_crc_.update(destination().first(size_bytes));
    }
    data_arrived(size_bytes);
}

void PduReceiver::take_padding(Bytes& input) {
    const size_t bytes = std::min<size_t>(input.size(), remaining_bytes_);
    input = input.subspan(bytes);
    remaining_bytes_ -= static_cast<uint32_t>(bytes);
    if (remaining_bytes_ == 0) {
        remaining_bytes_ = layout_.data_bytes;
        state_ = State::kData;
    }
}

void PduReceiver::take_data(Bytes& input) {
    size_t bytes = std::min<size_t>(input.size(), remaining_bytes_);
    const bool with_digest = layout_.data_digest_bytes != 0;
    if (storing_) {
        const std::span<std::byte> room = destination();
        bytes = std::min(bytes, room.size());
        if (with_digest) {
            bytes = std::min(bytes, kDigestStepBytes);
        }
        std::memcpy(room.data(), input.data(), bytes);
    }
    if (with_digest) {
        data_crc_.update(input.first(bytes));
    }
    input = input.subspan(bytes);
    data_arrived(bytes);
}

void PduReceiver::take_data_digest(Bytes& input) {
    if (!buffer_until(kDigestBytes, input)) {
        return;
    }
    Le32 digest;
    std::memcpy(&digest, buffer_.data(), sizeof(digest));
    buffered_bytes_ = 0;
    complete(digest.get() == data_crc_.value() ? DataDigest::kMatch : DataDigest::kMismatch);
}

/// True once the buffer holds `wanted_bytes` bytes; takes what it lacks from `input`.
bool PduReceiver::buffer_until(size_t wanted_bytes, Bytes& input) {
    BASALT_ASSERT(wanted_bytes <= buffer_.size());
    BASALT_ASSERT(buffered_bytes_ <= wanted_bytes);
    const size_t bytes = std::min(input.size(), wanted_bytes - buffered_bytes_);
    std::copy_n(input.begin(), bytes, buffer_.begin() + buffered_bytes_);
    buffered_bytes_ = static_cast<uint8_t>(buffered_bytes_ + bytes);
    input = input.subspan(bytes);
    return buffered_bytes_ == wanted_bytes;
}

void PduReceiver::use_header(const std::byte* header) {
    layout_known_ = false;
    buffered_bytes_ = 0;
    if (has_more_to_check(layout_)) {
        if (const Violation bad = check_header({header, layout_.header_total_bytes()}, layout_)) {
            fail(bad, {header, layout_.header_bytes});
            return;
        }
    }
    ask_plan(header);
}

void PduReceiver::ask_plan(const std::byte* header) {
    const PayloadPlan plan = handler_.on_header(PduHeader(layout_, header));
    if (state_ == State::kStopped) {
        return;
    }
    switch (plan.action) {
        case PayloadPlan::Action::kLater:
            if (header != buffer_.data()) {
                std::memcpy(buffer_.data(), header, layout_.header_total_bytes());
            }
            state_ = State::kPlan;
            return;
        case PayloadPlan::Action::kReject:
            fail(plan.violation, {header, layout_.header_bytes});
            return;
        case PayloadPlan::Action::kStore:
        case PayloadPlan::Action::kDiscard: begin_data(plan); return;
    }
}

void PduReceiver::begin_data(const PayloadPlan& plan) {
    if (layout_.data_bytes == 0) {
        complete(DataDigest::kAbsent);
        return;
    }
    storing_ = plan.action == PayloadPlan::Action::kStore;
    if (storing_) {
        size_t room_bytes = 0;
        for (const iovec& piece : plan.pieces) {
            room_bytes += piece.iov_len;
        }
        BASALT_ASSERT(room_bytes >= layout_.data_bytes);
        pieces_ = plan.pieces;
        piece_offset_ = 0;
        skip_full_pieces();
    }
    data_crc_ = Crc32c();
    const bool padded = layout_.padding_bytes != 0;
    remaining_bytes_ = padded ? layout_.padding_bytes : layout_.data_bytes;
    state_ = padded ? State::kPadding : State::kData;
}

/// The rest of the piece that the next byte of data goes to.
std::span<std::byte> PduReceiver::destination() const {
    BASALT_ASSERT(!pieces_.empty());
    const iovec& piece = pieces_.front();
    return std::span(static_cast<std::byte*>(piece.iov_base), piece.iov_len).subspan(piece_offset_);
}

void PduReceiver::skip_full_pieces() {
    while (!pieces_.empty() && piece_offset_ == pieces_.front().iov_len) {
        pieces_ = pieces_.subspan(1);
        piece_offset_ = 0;
    }
}

void PduReceiver::data_arrived(size_t bytes) {
    BASALT_ASSERT(bytes <= remaining_bytes_);
    remaining_bytes_ -= static_cast<uint32_t>(bytes);
    if (storing_) {
        piece_offset_ += bytes;
        skip_full_pieces();
    }
    if (remaining_bytes_ != 0) {
        return;
    }
    if (layout_.data_digest_bytes != 0) {
        state_ = State::kDataDigest;
    } else {
        complete(DataDigest::kAbsent);
    }
}

void PduReceiver::complete(DataDigest digest) {
    pieces_ = {};
    storing_ = false;
    state_ = State::kHeader;
    handler_.on_pdu_complete(digest);
}

void PduReceiver::fail(const Violation& violation, Bytes header) {
    BASALT_ASSERT(static_cast<bool>(violation));
    state_ = State::kFailed;
    handler_.on_violation(violation, header);
}

}  // namespace basalt::nvmf
