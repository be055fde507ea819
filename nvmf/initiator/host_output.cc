#include "nvmf/initiator/host_output.h"

#include <algorithm>
#include <cstring>

#include "nvmf/wire/digest.h"
#include "reactor/base/assert.h"

namespace basalt::nvmf {

HostOutput::HostOutput()
    : headers_(std::make_unique_for_overwrite<std::byte[]>(kHostSendHeaderBytes)) {}

HostOutput::~HostOutput() {
    BASALT_ASSERT(!is_sending_);
}

void HostOutput::abandon() {
    waiting_.clear();
    sent_.clear();
    control_bytes_ = 0;
    is_sending_ = false;
}

void HostOutput::add_piece(const void* data, size_t bytes) {
    if (piece_count_ > 0) {
        iovec& last = pieces_[piece_count_ - 1];
        if (static_cast<const std::byte*>(last.iov_base) + last.iov_len == data) {
            last.iov_len += bytes;
            return;
        }
    }
    BASALT_ASSERT(piece_count_ < pieces_.size());
    // sendmsg only reads through iov_base, which is not const for the sake of recvmsg.
    pieces_[piece_count_++] = iovec{const_cast<void*>(data), bytes};
}

template <typename Encode>
void HostOutput::add_header(Encode encode) {
    std::byte* at = headers_.get() + header_bytes_;
    const size_t bytes = encode(std::span(at, kHostSendHeaderBytes - header_bytes_));
    header_bytes_ += bytes;
    add_piece(at, bytes);
}

bool HostOutput::has_room(size_t pieces) const {
    return piece_count_ + pieces + 2 <= pieces_.size() &&
           header_bytes_ + kPduHeadBytesMax + kDigestBytes <= kHostSendHeaderBytes;
}

void HostOutput::add_data(HostCommand& command, uint32_t bytes, const PduFormat& format) {
    BASALT_ASSERT(bytes <= command.data_bytes - command.moved_bytes_);
    Crc32c crc;
    PiecePosition& position = command.position_;
    for (size_t left = bytes; left > 0;) {
        BASALT_ASSERT(position.index < command.pieces.size());
        const iovec& piece = command.pieces[position.index];
        const size_t here = std::min(left, piece.iov_len - position.offset_bytes);
        const auto* data = static_cast<const std::byte*>(piece.iov_base) + position.offset_bytes;
        if (here > 0) {
            add_piece(data, here);
        }
        if (format.data_digest) {
            crc.update({data, here});
        }
        position.offset_bytes += here;
        left -= here;
        if (position.offset_bytes == piece.iov_len) {
            position = PiecePosition{.index = position.index + 1};
        }
    }
    command.moved_bytes_ += bytes;
    if (format.data_digest) {
        add_header([&](std::span<std::byte> out) { return encode_data_digest(out, crc.value()); });
    }
    if (!command.send_link.is_linked()) {
        sent_.push_back(command);
    }
}

void HostOutput::add_capsule(HostCommand& command, const PduFormat& format) {
    const uint32_t data_bytes = command.is_in_capsule_ ? command.data_bytes : 0;
    add_header([&](std::span<std::byte> out) {
        return encode_capsule_cmd(out, command.sqe, data_bytes, format);
    });
    if (data_bytes > 0) {
        add_data(command, data_bytes, format);
    }
    command.set_state(HostCommand::State::kInFlight);
}

bool HostOutput::add_r2t_data(HostCommand& command,
                              const PduFormat& format,
                              uint32_t h2c_data_bytes_max) {
    while (command.moved_bytes_ < command.r2t_end_bytes_) {
        if (!has_room(command.pieces.size())) {
            return false;
        }
        const uint32_t left = command.r2t_end_bytes_ - command.moved_bytes_;
        const uint32_t bytes = std::min(left, h2c_data_bytes_max);
        const H2cDataFields fields{.cid = command.sqe.cid(),
                                   .tag = command.r2t_tag_,
                                   .offset = command.moved_bytes_,
                                   .length_bytes = bytes,
                                   .last = bytes == left};
        add_header([&](std::span<std::byte> out) { return encode_h2c_data(out, fields, format); });
        add_data(command, bytes, format);
    }
    command.set_state(HostCommand::State::kInFlight);
    return true;
}

std::span<const iovec> HostOutput::begin_send(const PduFormat& format,
                                              uint32_t h2c_data_bytes_max) {
    BASALT_ASSERT(has_work());
    BASALT_ASSERT(!is_sending_);
    is_sending_ = true;
    header_bytes_ = 0;
    piece_count_ = 0;
    if (control_bytes_ > 0) {
        add_header([&](std::span<std::byte> out) {
            std::memcpy(out.data(), control_.data(), control_bytes_);
            return control_bytes_;
        });
        control_bytes_ = 0;
    }
    while (HostCommand* command = waiting_.front()) {
        if (!has_room(command->is_to_controller() ? command->pieces.size() : 0)) {
            break;
        }
        if (command->state() == HostCommand::State::kSendingData) {
            if (!add_r2t_data(*command, format, h2c_data_bytes_max)) {
                break;
            }
        } else {
            BASALT_ASSERT(command->state() == HostCommand::State::kQueued);
            add_capsule(*command, format);
        }
        HostCommandList::remove(*command);
    }
    BASALT_ASSERT(piece_count_ > 0);
    return {pieces_.data(), piece_count_};
}

}  // namespace basalt::nvmf
