// What a socket has received and its user has not taken: kept, offered again, given to another
// core.
#include <cstring>
#include <utility>

#include "reactor/base/assert.h"
#include "reactor/io/uring_network.h"
#include "reactor/io/uring_socket.h"

namespace basalt {

// ---- bytes held back

void UringSocket::hold(uint32_t buffer, uint32_t offset_bytes, uint32_t length_bytes) {
    UringBuffers& buffers = network_.buffers_;
    buffers.held(buffer) = {UringBuffers::kNone, offset_bytes, length_bytes};
    if (has_held()) {
        buffers.held(held_last_).next = buffer;
    } else {
        held_first_ = buffer;
    }
    held_last_ = buffer;
    buffers.replace();
}

bool UringSocket::append_to_last_held(uint32_t buffer, uint32_t length_bytes) {
    UringBuffers& buffers = network_.buffers_;
    UringBuffers::Held& last = buffers.held(held_last_);
    const uint32_t end_bytes = last.offset_bytes + last.length_bytes;
    if (length_bytes > buffers.buffer_bytes() - end_bytes) {
        return false;
    }
    std::memcpy(buffers.data(held_last_) + end_bytes, buffers.data(buffer), length_bytes);
    last.length_bytes += length_bytes;
    return true;
}

void UringSocket::offer_unread() {
    while (has_brought() && state_ == State::kOpen) {
        const std::span<const std::byte> rest = std::span(brought_).subspan(brought_bytes_);
        const size_t taken = handler_.on_receive(rest);
        BASALT_ASSERT(taken <= rest.size());
        brought_bytes_ += taken;
        if (taken < rest.size()) {
            return;
        }
        brought_ = {};
        brought_bytes_ = 0;
    }
    offer_held();
}

void UringSocket::offer_held() {
    UringBuffers& buffers = network_.buffers_;
    while (has_held() && state_ == State::kOpen) {
        UringBuffers::Held& first = buffers.held(held_first_);
        const size_t taken = offer(held_first_, first.offset_bytes, first.length_bytes);
        if (taken < first.length_bytes) {
            first.offset_bytes += static_cast<uint32_t>(taken);
            first.length_bytes -= static_cast<uint32_t>(taken);
            return;
        }
        const uint32_t emptied = held_first_;
        held_first_ = first.next;
        buffers.release(emptied);
    }
}

void UringSocket::release_held() {
    while (has_held()) {
        const uint32_t next = network_.buffers_.held(held_first_).next;
        network_.buffers_.release(held_first_);
        held_first_ = next;
    }
}

// ---- releasing

bool UringSocket::release() {
    BASALT_ASSERT(state_ == State::kOpen);
    BASALT_ASSERT(pieces_.empty() && !send_.is_armed && !sent_link_.is_linked());
    BASALT_ASSERT(!is_direct_);
    state_ = State::kReleasing;
    if (receive_.is_armed) {
        network_.ring_.cancel(receive_.user_data());
    }
    if (rearming_link_.is_linked()) {
        network_.rearming_.remove(*this);
    }
    if (is_quiet() || follower_.is_armed) {
        queue();
    }
    return true;
}

void UringSocket::finish_release() {
    AcceptedSocket released{.ticket = fd_};
    const std::span<const std::byte> brought = std::span(brought_).subspan(brought_bytes_);
    released.unread.assign(brought.begin(), brought.end());
    for (uint32_t at = held_first_; at != UringBuffers::kNone;) {
        const UringBuffers::Held& held = network_.buffers_.held(at);
        const std::byte* data = network_.buffers_.data(at) + held.offset_bytes;
        released.unread.insert(released.unread.end(), data, data + held.length_bytes);
        at = held.next;
    }
    state_ = State::kClosed;
    release_held();
    --network_.socket_count_;
    handler_.on_released(std::move(released));  // May destroy this.
}

}  // namespace basalt
