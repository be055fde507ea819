#include "reactor/tls/tls_socket.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "reactor/base/assert.h"
#include "reactor/base/log.h"
#include "reactor/tls/tls_callbacks.h"

namespace basalt::tls {

namespace {

// The content type of a record that begins a handshake (RFC 8446, section 5.1).
constexpr std::byte kHandshakeRecord{22};

/// What the last error of OpenSSL means for the one who has to act on it.
Error to_error(unsigned long code) {
    switch (ERR_GET_REASON(code)) {
        case SSL_R_BINDER_DOES_NOT_VERIFY:
        case SSL_R_CALLBACK_FAILED:  // Our client_hello: no identity is known.
        case SSL_R_BAD_PSK:
        case SSL_R_CERTIFICATE_VERIFY_FAILED:  // The server has not proved that it has the key.
        case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
        case SSL_R_SSLV3_ALERT_ILLEGAL_PARAMETER:
        case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
        case SSL_R_TLSV1_ALERT_DECRYPT_ERROR:
        case SSL_AD_REASON_OFFSET + SSL_AD_UNKNOWN_PSK_IDENTITY:
            return Error(Errc::kPermissionDenied);
        default: return Error(Errc::kProtocol);
    }
}

}  // namespace

TlsSocket::TlsSocket(Context& context, SocketHandler& handler, PskSource* keys, uint64_t timeout_ns)
    : context_(context),
      handler_(handler),
      keys_(keys),
      state_(keys == nullptr ? State::kConnecting : State::kDetecting),
      handshake_timeout_ns_(timeout_ns) {
    timer_.set(&TlsSocket::on_timer, this);
}

TlsSocket::~TlsSocket() {
    BASALT_ASSERT(state_ == State::kClosed || context_.reactor().is_abandoned());
    if (timer_.is_running()) {
        context_.reactor().stop_timer(timer_);
    }
    SSL_free(ssl_);
}

Status TlsSocket::make_session() {
    ssl_ = SSL_new(context_.native());
    BIO* bio = BIO_new(context_.bio_method());
    if (ssl_ == nullptr || bio == nullptr) {
        BIO_free(bio);
        ERR_clear_error();
        return Errc::kNoMemory;
    }
    BIO_set_data(bio, this);
    SSL_set_bio(ssl_, bio, bio);
    SSL_set_app_data(ssl_, this);
    if (keys_ != nullptr) {
        SSL_set_accept_state(ssl_);
        return kOk;
    }
    SSL_set_connect_state(ssl_);
    return offer_suite(ssl_, psk_.suite()) ? Status(kOk) : Status(Errc::kNoMemory);
}

Result<std::unique_ptr<TlsSocket>> TlsSocket::adopt(Context& context,
                                                    AcceptedSocket accepted,
                                                    const SocketOptions& options,
                                                    const ServerOptions& server,
                                                    PskSource& keys,
                                                    SocketHandler& handler) {
    BASALT_ASSERT(context.role() == Role::kServer);
    std::unique_ptr<TlsSocket> made(
        new TlsSocket(context, handler, &keys, server.handshake_timeout_ns));
    made->allows_clear_ = server.allows_clear;
    auto below = context.reactor().network().adopt(std::move(accepted), options, *made);
    if (!below) {
        made->state_ = State::kClosed;
        return below.error();
    }
    made->below_ = std::move(*below);
    made->local_ = made->below_->local_address();
    made->peer_ = made->below_->peer_address();
    context.reactor().start_timer(made->timer_, server.handshake_timeout_ns);
    return made;
}

Result<std::unique_ptr<TlsSocket>> TlsSocket::connect(Context& context,
                                                      const SocketAddress& address,
                                                      const SocketOptions& options,
                                                      ClientOptions client,
                                                      SocketHandler& handler) {
    BASALT_ASSERT(context.role() == Role::kClient);
    if (client.identity.empty() || client.identity.size() > kIdentityBytesMax ||
        client.psk.is_empty()) {
        return Errc::kInvalidArgument;
    }
    std::unique_ptr<TlsSocket> made(
        new TlsSocket(context, handler, nullptr, client.handshake_timeout_ns));
    made->identity_ = std::move(client.identity);
    made->psk_ = client.psk;
    Status status = made->make_session();
    if (status) {
        auto below = context.reactor().network().connect(address, options, *made);
        if (below) {
            made->below_ = std::move(*below);
            made->peer_ = address;
            context.reactor().start_timer(made->timer_, client.handshake_timeout_ns);
            return made;
        }
        status = below.error();
    }
    made->state_ = State::kClosed;
    return status.error();
}

// --- The beginning ---------------------------------------------------------------------------

void TlsSocket::on_connected() {
    if (state_ != State::kConnecting) {
        return;
    }
    local_ = below_->local_address();
    state_ = State::kHandshaking;
    shake_hands();
    flush();
}

size_t TlsSocket::detect(std::span<const std::byte> data) {
    if (data.empty()) {
        return 0;
    }
    if (data[0] == kHandshakeRecord) {
        if (const Status status = make_session(); !status) {
            begin_close(status.error());
            return data.size();
        }
        state_ = State::kHandshaking;
        return on_ciphertext(data);
    }
    if (!allows_clear_) {
        BASALT_LOG(kWarn, "tls", "{} does not speak TLS where it has to", peer_.to_string());
        begin_close(Error(Errc::kProtocol));
        return data.size();
    }
    context_.reactor().stop_timer(timer_);
    state_ = State::kClear;
    pump();
    return handler_.on_receive(data);
}

void TlsSocket::shake_hands() {
    ERR_clear_error();
    const int outcome = SSL_do_handshake(ssl_);
    if (outcome != 1) {
        const int error = SSL_get_error(ssl_, outcome);
        if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
            fail();
        }
        return;
    }
    // OpenSSL would go on without the key if it had a certificate to show or to check.
    if (SSL_session_reused(ssl_) != 1) {
        begin_close(Error(Errc::kPermissionDenied));
        return;
    }
    context_.reactor().stop_timer(timer_);
    state_ = State::kOpen;
    has_shaken_hands_ = true;
    if (keys_ == nullptr) {
        handler_.on_connected();
    }
    pump();
}

// --- Receiving -------------------------------------------------------------------------------

size_t TlsSocket::on_receive(std::span<const std::byte> data) {
    switch (state_) {
        case State::kDetecting: return detect(data);
        case State::kHandshaking:
        case State::kOpen: return on_ciphertext(data);
        case State::kClear: return handler_.on_receive(data);
        case State::kConnecting:
        case State::kClosing:
        case State::kEnding:
        case State::kDraining:
        case State::kClosed: break;
    }
    return data.size();  // Nobody wants it any more.
}

size_t TlsSocket::on_ciphertext(std::span<const std::byte> data) {
    if (has_held()) {
        return 0;
    }
    in_ = data;
    is_read_blocked_ = false;
    if (state_ == State::kHandshaking) {
        shake_hands();
    }
    if (state_ == State::kOpen) {
        read_records();
    }
    const size_t taken = is_open() ? data.size() - in_.size() : data.size();
    in_ = {};
    flush();
    return taken;
}

void TlsSocket::read_records() {
    ERR_clear_error();
    const std::span<std::byte> plain = context_.scratch();
    while (state_ == State::kOpen && !has_held()) {
        size_t bytes = 0;
        const int outcome = SSL_read_ex(ssl_, plain.data(), plain.size(), &bytes);
        if (outcome == 1) {
            deliver(plain.first(bytes));
            continue;
        }
        switch (SSL_get_error(ssl_, outcome)) {
            case SSL_ERROR_WANT_READ: return;
            case SSL_ERROR_WANT_WRITE: is_read_blocked_ = true; return;
            case SSL_ERROR_ZERO_RETURN: begin_close(Error(Errc::kConnectionClosed)); return;
            default: fail(); return;
        }
    }
}

void TlsSocket::deliver(std::span<const std::byte> plain) {
    const size_t taken = handler_.on_receive(plain);
    BASALT_ASSERT(taken <= plain.size());
    if (taken == plain.size() || state_ != State::kOpen) {
        return;
    }
    const std::span<const std::byte> rest = plain.subspan(taken);
    held_ = context_.take_buffer();
    std::memcpy(held_->data(), rest.data(), rest.size());
    held_rest_ = {held_->data(), rest.size()};
}

void TlsSocket::resume_receive() {
    if (state_ == State::kClear) {
        below_->resume_receive();
    } else if ((state_ == State::kOpen || state_ == State::kDraining) &&
               !resume_event_.is_waiting()) {
        context_.reactor().defer(resume_event_);
    }
}

void TlsSocket::resume() {
    if (state_ == State::kEnding) {
        finish(close_reason_);  // Closed while draining.
        return;
    }
    if (state_ != State::kOpen && state_ != State::kDraining) {
        return;
    }
    if (has_held()) {
        const size_t taken = handler_.on_receive(held_rest_);
        if (!has_held()) {
            return;  // The user has closed.
        }
        BASALT_ASSERT(taken <= held_rest_.size());
        held_rest_ = held_rest_.subspan(taken);
        if (!held_rest_.empty()) {
            return;
        }
        release_held();
    }
    if (state_ == State::kDraining) {
        finish(close_reason_);
    } else if (state_ == State::kOpen) {
        below_->resume_receive();
    }
}

void TlsSocket::release_held() {
    if (held_ != nullptr) {
        context_.give_back(std::move(held_));
        held_rest_ = {};
    }
}

// --- Sending ---------------------------------------------------------------------------------

void TlsSocket::send(std::span<const iovec> pieces) {
    BASALT_ASSERT(state_ != State::kConnecting);
    BASALT_ASSERT(!pieces.empty() && pieces.size() <= kSendPiecesMax);
    if (state_ >= State::kClosing) {
        return;  // The user does not know yet; on_closed() tells.
    }
    BASALT_ASSERT(!is_user_sending_);
    is_user_sending_ = true;
    pieces_ = pieces;
    piece_offset_bytes_ = 0;
    pump();
}

// In clear nothing is lost by standing in between.
void TlsSocket::send_at_once(std::span<const iovec> pieces) {
    if (state_ != State::kClear) {
        send(pieces);
        return;
    }
    BASALT_ASSERT(!is_user_sending_);
    is_user_sending_ = true;
    below_->send_at_once(pieces);
}

std::optional<KeptMemory> TlsSocket::keep_received() {
    return state_ == State::kClear ? below_->keep_received() : std::nullopt;
}

std::span<std::byte> TlsSocket::receive_memory() {
    return state_ == State::kClear ? handler_.receive_memory() : std::span<std::byte>();
}

void TlsSocket::on_received(size_t size_bytes) {
    BASALT_ASSERT(state_ == State::kClear);  // Only then is there memory.
    handler_.on_received(size_bytes);
}

void TlsSocket::pump() {
    if (state_ == State::kClear) {
        if (!pieces_.empty()) {
            below_->send(std::exchange(pieces_, {}));
        }
        return;
    }
    if (state_ != State::kOpen) {
        return;
    }
    ERR_clear_error();
    while (!pieces_.empty() && out_room() >= kRecordRoomBytes) {
        const std::span<const std::byte> plain = gather();
        if (plain.empty()) {
            break;  // Pieces without a byte in them.
        }
        size_t written = 0;
        if (SSL_write_ex(ssl_, plain.data(), plain.size(), &written) != 1) {
            fail();
            break;
        }
        BASALT_ASSERT(written == plain.size());
    }
    flush();
}

/// The next record's plaintext, which is then behind us: bytes of one large piece as they lie, or
/// of several side by side.
std::span<const std::byte> TlsSocket::gather() {
    const iovec& first = pieces_.front();
    if (first.iov_len - piece_offset_bytes_ >= kRecordPlainBytes) {
        const auto* bytes = static_cast<const std::byte*>(first.iov_base) + piece_offset_bytes_;
        advance(kRecordPlainBytes);
        return {bytes, kRecordPlainBytes};
    }
    const std::span<std::byte> plain = context_.scratch();
    size_t filled = 0;
    while (!pieces_.empty() && filled < plain.size()) {
        const iovec& piece = pieces_.front();
        const size_t count = std::min(piece.iov_len - piece_offset_bytes_, plain.size() - filled);
        std::memcpy(plain.data() + filled,
                    static_cast<const std::byte*>(piece.iov_base) + piece_offset_bytes_,
                    count);
        filled += count;
        advance(count);
    }
    return plain.first(filled);
}

/// Moves on within the first piece, by no more than is left of it.
void TlsSocket::advance(size_t bytes) {
    piece_offset_bytes_ += bytes;
    if (piece_offset_bytes_ == pieces_.front().iov_len) {
        pieces_ = pieces_.subspan(1);
        piece_offset_bytes_ = 0;
    }
}

void TlsSocket::flush() {
    if (state_ != State::kHandshaking && state_ != State::kOpen && state_ != State::kClosing) {
        return;
    }
    if (out_sending_ == 0 && out_end_ > 0) {
        out_sending_ = out_end_;
        out_piece_ = iovec{out_->data(), out_end_};
        below_->send({&out_piece_, 1});
    } else if (state_ == State::kClosing && out_end_ == 0) {
        end_below();
    }
}

void TlsSocket::on_sent() {
    if (state_ == State::kClear) {
        is_user_sending_ = false;
        handler_.on_sent();
        return;
    }
    BASALT_ASSERT(out_sending_ > 0);
    // What was added meanwhile moves to the front: little, or as much as did not fit before.
    out_end_ -= out_sending_;
    std::memmove(out_->data(), out_->data() + out_sending_, out_end_);
    out_sending_ = 0;
    pump();
    flush();
    if (out_end_ == 0) {
        context_.give_back(std::move(out_));
    }
    if (is_read_blocked_ && is_open()) {
        below_->resume_receive();
    }
    if (state_ == State::kOpen && is_user_sending_ && pieces_.empty() && out_end_ == 0) {
        is_user_sending_ = false;
        handler_.on_sent();
    }
}

// --- The end ---------------------------------------------------------------------------------

/// OpenSSL gives up on the connection; the alert that it made is sent.
void TlsSocket::fail() {
    const unsigned long code = ERR_peek_last_error();
    const Error error = to_error(code);
    const char* reason = ERR_reason_error_string(code);
    BASALT_LOG(kWarn,
               "tls",
               "{}: {}: {}",
               peer_.to_string(),
               state_ == State::kHandshaking ? "handshake failed" : "connection failed",
               reason == nullptr ? "no reason given" : reason);
    ERR_clear_error();
    begin_close(error);
}

void TlsSocket::close() {
    if (state_ == State::kDraining) {
        release_held();
        close_reason_ = Error(Errc::kCancelled);
        state_ = State::kEnding;
        if (!resume_event_.is_waiting()) {
            context_.reactor().defer(resume_event_);
        }
    } else if (state_ < State::kClosing) {
        begin_close(Error(Errc::kCancelled));
    }
}

void TlsSocket::begin_close(Error reason) {
    close_reason_ = reason;
    release_held();
    pieces_ = {};
    const bool was_open = state_ == State::kOpen;
    if (!is_open()) {
        end_below();
        return;
    }
    state_ = State::kClosing;
    context_.reactor().stop_timer(timer_);
    context_.reactor().start_timer(timer_, kCloseTimeoutNs);
    if (was_open) {
        // Refused if OpenSSL has failed, and then its alert is in the output already.
        static_cast<void>(SSL_shutdown(ssl_));
        ERR_clear_error();
    }
    flush();
}

void TlsSocket::end_below() {
    context_.reactor().stop_timer(timer_);
    state_ = State::kEnding;
    below_->close();
}

void TlsSocket::on_closed(Error reason) {
    below_.reset();
    context_.reactor().stop_timer(timer_);
    if (state_ == State::kClosing || state_ == State::kEnding) {
        finish(close_reason_);
        return;
    }
    if (state_ == State::kOpen && has_held()) {
        close_reason_ = reason;
        state_ = State::kDraining;
        return;
    }
    finish(reason);
}

void TlsSocket::finish(Error reason) {
    state_ = State::kClosed;
    release_held();
    if (out_ != nullptr) {
        context_.give_back(std::move(out_));
    }
    handler_.on_closed(reason);  // May destroy this.
}

void TlsSocket::on_timer(Timer& /*timer*/, void* self) {
    auto& socket = *static_cast<TlsSocket*>(self);
    if (socket.state_ == State::kClosing) {
        socket.end_below();
    } else {
        BASALT_LOG(kWarn, "tls", "{}: no handshake in time", socket.peer_.to_string());
        socket.begin_close(Error(Errc::kTimedOut));
    }
}

}  // namespace basalt::tls
