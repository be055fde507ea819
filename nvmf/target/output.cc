#include "nvmf/target/output.h"

#include <cstring>

#include "nvmf/target/connection.h"
#include "nvmf/wire/digest.h"

namespace basalt::nvmf {

Output::Output() : headers_(std::make_unique_for_overwrite<std::byte[]>(kSendHeaderBytes)) {}

Output::~Output() {
    BASALT_ASSERT(!is_sending_);
}

void Output::abandon() {
    while (waiting_.pop_front() != nullptr) {
    }
    while (sent_.pop_front() != nullptr) {
    }
    control_bytes_ = 0;
    is_sending_ = false;
}

inline void Output::add_piece(const void* data, size_t bytes) {
    BASALT_ASSERT(piece_count_ < pieces_.size());
    send_bytes_ += bytes;
    // sendmsg only reads through iov_base, which is not const for the sake of recvmsg.
    pieces_[piece_count_++] = iovec{const_cast<void*>(data), bytes};
}

template <typename Encode>
void Output::add_header(Encode encode) {
    std::byte* at = headers_.get() + header_bytes_;
    const size_t bytes = encode(std::span(at, kSendHeaderBytes - header_bytes_));
    header_bytes_ += bytes;
    if (is_header_last_) {
        pieces_[piece_count_ - 1].iov_len += bytes;
        send_bytes_ += bytes;
        return;
    }
    add_piece(at, bytes);
    is_header_last_ = true;
}

bool Output::has_room() const {
    // A read takes a data header, payload, and digest and response: three pieces at most.
    return piece_count_ + 3 <= pieces_.size() && send_bytes_ < kSendBytesMax &&
           header_bytes_ + kResponseHeaderBytesMax <= kSendHeaderBytes;
}

inline void Output::add_response(Request& request, const PduFormat& format) {
    bool needs_capsule = true;
    if (request.is_data_for_host) {
        needs_capsule = !request.may_elide_response;
        const std::span<const std::byte> payload(static_cast<std::byte*>(request.piece.iov_base),
                                                 request.data_bytes);
        const C2hDataFields fields{.cid = request.sqe.cid(),
                                   .offset = 0,
                                   .length_bytes = request.data_bytes,
                                   .last = true,
                                   .success = !needs_capsule};
        add_header([&](std::span<std::byte> out) { return encode_c2h_data(out, fields, format); });
        add_piece(payload.data(), payload.size());
        is_header_last_ = false;
        if (format.data_digest) {
            add_header(
                [&](std::span<std::byte> out) { return encode_data_digest(out, crc32c(payload)); });
        }
    }
    if (needs_capsule) {
        add_header([&](std::span<std::byte> out) {
            return encode_capsule_resp(out, request.cqe, format);
        });
    }
}

std::span<const iovec> Output::begin_send(const PduFormat& format) {
    BASALT_ASSERT(has_work());
    BASALT_ASSERT(!is_sending_);
    is_sending_ = true;
    header_bytes_ = 0;
    piece_count_ = 0;
    is_header_last_ = false;
    send_bytes_ = 0;
    sent_count_ = 0;
    while (has_room()) {
        Request* request = waiting_.pop_front();
        if (request == nullptr) {
            break;
        }
        if (request->state() == Request::State::kAwaitingData) {
            // Not kept until the send is over: the data may come before we hear of that.
            const R2tFields fields{.cid = request->sqe.cid(),
                                   .tag = TransferTag(request->tag),
                                   .offset = 0,
                                   .length_bytes = request->data_bytes};
            add_header([&](std::span<std::byte> out) { return encode_r2t(out, fields, format); });
        } else {
            BASALT_ASSERT(request->state() == Request::State::kResponding);
            add_response(*request, format);
            ++sent_count_;
            if (request->holds_memory()) {
                sent_.push_back(*request);
            } else {
                // All of it is encoded. The host may answer each response with a new command
                // before it has taken the last: with their requests held until then, streams
                // stood still, full of what had been received, whenever a host was busy.
                request->connection().free_request(*request);
            }
        }
    }
    // Last: ICResp has nothing before it, and after a terminate request nothing may come.
    if (control_bytes_ > 0 && waiting_.empty() && has_room()) {
        add_header([&](std::span<std::byte> out) {
            std::memcpy(out.data(), control_.data(), control_bytes_);
            return control_bytes_;
        });
        control_bytes_ = 0;
    }
    return {pieces_.data(), piece_count_};
}

}  // namespace basalt::nvmf
