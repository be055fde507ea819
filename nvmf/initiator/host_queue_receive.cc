// The receiving half of HostQueue, and the handshake.
#include <algorithm>
#include <cstddef>
#include <utility>

#include "nvmf/initiator/host_queue.h"
#include "nvmf/wire/command_build.h"
#include "nvmf/wire/nqn.h"
#include "reactor/base/log.h"

namespace basalt::nvmf {

namespace {

// AUTHREQ of Connect's response: authentication is required, and that it gives a key for TLS, too
// (NVMe Base Specification 2.0, Connect response).
constexpr uint32_t kAuthenticationRequired = 1U << 17U;
constexpr uint32_t kConcatenationRequired = 1U << 18U;

}  // namespace

// --- The handshake ---------------------------------------------------------------------------

Result<std::unique_ptr<Socket>> HostQueue::open_socket() {
    const HostOptions& host = options_.host;
    const SocketOptions options{.user_timeout_ms = host.user_timeout_ms};
    if (host.tls.identity.empty()) {
        return reactor_.network().connect(host.address, options, *this);
    }
    BASALT_TRY(tls_context_, tls::Context::make(reactor_, tls::Role::kClient));
    tls::ClientOptions client;
    client.identity = host.tls.identity;
    client.psk = host.tls.psk;
    BASALT_TRY(
        std::unique_ptr<Socket> socket,
        tls::TlsSocket::connect(*tls_context_, host.address, options, std::move(client), *this));
    return socket;
}

Status HostQueue::open() {
    BASALT_ASSERT(phase_ == Phase::kNew);
    auto socket = open_socket();
    if (!socket) {
        phase_ = Phase::kClosed;
        close_reason_ = socket.error();
        return socket.error();
    }
    socket_ = std::move(*socket);
    phase_ = Phase::kConnecting;
    reactor_.start_timer(phase_timer_, kHandshakeTimeoutNs);
    return kOk;
}

void HostQueue::on_connected() {
    if (phase_ != Phase::kConnecting) {
        return;
    }
    phase_ = Phase::kAwaitingIc;
    output_.queue_control([&](std::span<std::byte> out) {
        return encode_ic_req(out,
                             {.header_digest = options_.host.header_digest,
                              .data_digest = options_.host.data_digest,
                              .r2t_max = kHostR2tMax});
    });
    flush_later();
}

PayloadPlan HostQueue::on_ic_resp(const IcResp& resp) {
    format_.header_digest = (resp.digests & kDigestHeader) != 0;
    format_.data_digest = (resp.digests & kDigestData) != 0;
    const HostOptions& host = options_.host;
    if ((format_.header_digest && !host.header_digest) ||
        (format_.data_digest && !host.data_digest)) {
        return PayloadPlan::reject(Fes::kUnsupportedParameter, offsetof(IcResp, digests));
    }
    format_.data_align_bytes = static_cast<uint8_t>((resp.data_align + 1) * 4);
    h2c_data_bytes_max_ = resp.h2c_data_max_bytes.get();
    receiving_ = Receiving::kIcResp;
    return PayloadPlan::discard();
}

void HostQueue::handshake_done() {
    const HostOptions& host = options_.host;
    if (format_.header_digest != host.header_digest || format_.data_digest != host.data_digest) {
        // Whoever asks for digests wants to be told that there are none.
        close(Error(Errc::kNotSupported));
        return;
    }
    PduRules rules = receiver_.rules();
    rules.phase = ConnectionPhase::kEstablished;
    rules.header_digest = format_.header_digest;
    rules.data_digest = format_.data_digest;
    receiver_.set_rules(rules);
    reactor_.stop_timer(phase_timer_);
    phase_ = Phase::kLive;
    if (awaiter_) {
        reactor_.defer(wake_event_);
    }
}

Task<Result<ControllerId>> HostQueue::connect() {
    const Status opened = open();
    if (!opened) {
        co_return opened.error();
    }
    co_await PhaseWait(*this, false);
    if (!is_live()) {
        co_await PhaseWait(*this, true);
        co_return close_reason_;
    }
    const HostOptions& host = options_.host;
    nvmf_connect_data data{};
    std::copy(host.host_id.begin(), host.host_id.end(), std::begin(data.hostid));
    data.cntlid = options_.cntlid.raw();
    write_nqn_field(data.subsysnqn, host.subsystem_nqn);
    write_nqn_field(data.hostnqn, host.host_nqn);
    const iovec piece{&data, sizeof(data)};

    const bool is_admin = options_.qid == kAdminQueueId;
    HostCommand command;
    command.sqe = make_connect(CommandId(0),
                               {.qid = options_.qid,
                                .queue_entries = options_.entries,
                                .disable_sq_flow_control = host.disable_sq_flow_control,
                                .keep_alive_ms = is_admin ? host.keep_alive_ms : 0});
    command.pieces = {&piece, 1};
    command.data_bytes = sizeof(data);
    co_await execute(*this, command);
    Status status = command.status;
    const uint32_t result = command.cqe.dw0.get();
    if (status) {
        status = co_await authenticate_new(result);
    }
    if (!status) {
        close(status.error());
        co_await PhaseWait(*this, true);
        co_return status.error();
    }
    is_connected_ = true;
    co_return ControllerId(static_cast<uint16_t>(result));
}

// --- Authentication --------------------------------------------------------------------------

Task<Status> HostQueue::authenticate_new(uint32_t result) {
    const HostOptions& host = options_.host;
    const bool wants_key =
        host.concatenates && host.tls.identity.empty() && options_.qid == kAdminQueueId;
    const HostAuthWish wish{
        .is_required = (result & (kAuthenticationRequired | kConcatenationRequired)) != 0,
        .channel = wants_key ? SecureChannel::kNewPsk : SecureChannel::kNone};
    if ((result & kConcatenationRequired) != 0 && !wants_key) {
        BASALT_LOG(kWarn,
                   "nvmf",
                   "queue {} to {}: the controller wants secure channel concatenation",
                   options_.qid.raw(),
                   host.address.to_string());
        co_return Errc::kPermissionDenied;
    }
    if (host.authenticator == nullptr) {
        if (wish.is_required || wants_key) {
            BASALT_LOG(kWarn,
                       "nvmf",
                       "queue {} to {}: it takes a key to authenticate, and there is none",
                       options_.qid.raw(),
                       host.address.to_string());
            co_return Errc::kPermissionDenied;
        }
        co_return kOk;
    }
    co_return co_await run_authentication(wish);
}

Task<Status> HostQueue::authenticate_again() {
    if (!is_live() || options_.host.authenticator == nullptr) {
        co_return is_live() ? Errc::kPermissionDenied : Errc::kConnectionClosed;
    }
    const HostAuthWish wish;
    const Status status = co_await run_authentication(wish);
    if (!status) {
        close(status.error());
    }
    co_return status;
}

/// All messages together have a time limit, whatever a command may take.
Task<Status> HostQueue::run_authentication(HostAuthWish wish) {
    reactor_.start_timer(phase_timer_, kHostAuthenticationTimeoutNs);
    const Result<Secret> psk = co_await authenticate(*this, *options_.host.authenticator, wish);
    if (!is_live()) {
        co_return psk ? close_reason_ : psk.error();
    }
    reactor_.stop_timer(phase_timer_);
    if (!psk) {
        co_return psk.error();
    }
    if (wish.channel != SecureChannel::kNone) {
        const HostOptions& host = options_.host;
        Result<TlsCredential> made =
            derive_generated_credential(psk->bytes(), {host.host_nqn, host.subsystem_nqn});
        if (!made) {
            co_return made.error();
        }
        generated_ = std::move(*made);
    }
    co_return kOk;
}

// --- Receiving -------------------------------------------------------------------------------

size_t HostQueue::on_receive(std::span<const std::byte> data) {
    if (phase_ >= Phase::kTerminating) {
        return data.size();
    }
    const size_t taken = receiver_.feed(data);
    return receiver_.is_done() ? data.size() : taken;
}

PayloadPlan HostQueue::on_header(const PduHeader& header) {
    switch (header.type()) {
        case PduType::kIcResp: return on_ic_resp(header.ic_resp());
        case PduType::kCapsuleResp: return on_response(header.cqe());
        case PduType::kC2hData: return on_c2h_data(header);
        case PduType::kR2t: return on_r2t(header.r2t());
        case PduType::kC2hTermReq: {
            const TermReq& term = header.term_req();
            BASALT_LOG(
                kWarn,
                "nvmf",
                "queue {} to {}: the controller ended it with fatal error {:#x}, field {:#x}",
                options_.qid.raw(),
                options_.host.address.to_string(),
                term.fes.get(),
                term.fei.get());
            close(Error(Errc::kProtocol));
            return PayloadPlan::discard();
        }
        case PduType::kIcReq:
        case PduType::kH2cTermReq:
        case PduType::kCapsuleCmd:
        case PduType::kH2cData: break;
    }
    assertion_failed("the receiver lets only PDUs for hosts pass", __FILE__, __LINE__);
}

PayloadPlan HostQueue::on_response(const Cqe& cqe) {
    receiving_command_ = find(cqe.cid());
    if (receiving_command_ == nullptr) {
        return PayloadPlan::reject(Fes::kInvalidHeaderField,
                                   offsetof(CapsuleResp, cqe) + offsetof(Cqe, command_id));
    }
    if (is_connected_ && cqe.status().is(status::kAuthenticationRequired)) {
        // It no longer takes us for who we are. A new connection authenticates.
        BASALT_LOG(kWarn,
                   "nvmf",
                   "queue {} to {}: the controller wants another authentication",
                   options_.qid.raw(),
                   options_.host.address.to_string());
        receiving_command_ = nullptr;
        close(Error(Errc::kConnectionClosed));
        return PayloadPlan::discard();
    }
    received_cqe_ = cqe;
    receiving_ = Receiving::kResponse;
    return PayloadPlan::discard();
}

PayloadPlan HostQueue::on_c2h_data(const PduHeader& header) {
    const C2hData& data = header.c2h_data();
    HostCommand* command = find(CommandId(data.command_id.get()));
    if (command == nullptr || !command->is_to_host()) {
        return PayloadPlan::reject(Fes::kInvalidHeaderField, offsetof(C2hData, command_id));
    }
    const uint32_t bytes = header.data_bytes();
    if (uint64_t{data.offset.get()} + bytes > command->data_bytes) {
        return PayloadPlan::reject(Fes::kDataTransferOutOfRange);
    }
    // Each PDU goes on where the last one ended, as every controller does and SPDK's host demands.
    if (data.offset.get() != command->moved_bytes_) {
        return PayloadPlan::reject(Fes::kInvalidHeaderField, offsetof(C2hData, offset));
    }
    receiving_ = Receiving::kData;
    receiving_command_ = command;
    is_last_data_ = header.is_success();
    return PayloadPlan::store(receive_pieces(*command, bytes));
}

/// Where the next `bytes` of the command's data go; moves its position on.
std::span<const iovec> HostQueue::receive_pieces(HostCommand& command, uint32_t bytes) {
    PiecePosition& position = command.position_;
    size_t count = 0;
    for (size_t left = bytes; left > 0;) {
        BASALT_ASSERT(position.index < command.pieces.size());
        const iovec& piece = command.pieces[position.index];
        const size_t here = std::min(left, piece.iov_len - position.offset_bytes);
        receive_pieces_[count++] =
            iovec{static_cast<std::byte*>(piece.iov_base) + position.offset_bytes, here};
        position.offset_bytes += here;
        left -= here;
        if (position.offset_bytes == piece.iov_len) {
            position = PiecePosition{.index = position.index + 1};
        }
    }
    command.moved_bytes_ += bytes;
    return {receive_pieces_.data(), count};
}

PayloadPlan HostQueue::on_r2t(const R2t& r2t) {
    HostCommand* command = find(CommandId(r2t.command_id.get()));
    if (command == nullptr || !command->is_to_controller() || command->is_in_capsule_) {
        return PayloadPlan::reject(Fes::kInvalidHeaderField, offsetof(R2t, command_id));
    }
    if (command->state() == HostCommand::State::kSendingData) {
        return PayloadPlan::reject(Fes::kLimitExceeded);
    }
    const uint32_t bytes = r2t.length_bytes.get();
    if (uint64_t{r2t.offset.get()} + bytes > command->data_bytes) {
        return PayloadPlan::reject(Fes::kDataTransferOutOfRange);
    }
    if (r2t.offset.get() != command->moved_bytes_) {
        return PayloadPlan::reject(Fes::kInvalidHeaderField, offsetof(R2t, offset));
    }
    command->r2t_tag_ = TransferTag(r2t.transfer_tag.get());
    command->r2t_end_bytes_ = command->moved_bytes_ + bytes;
    command->set_state(HostCommand::State::kSendingData);
    output_.queue(*command);
    flush_later();
    return PayloadPlan::discard();
}

void HostQueue::on_pdu_complete(DataDigest digest) {
    HostCommand* command = std::exchange(receiving_command_, nullptr);
    switch (std::exchange(receiving_, Receiving::kNothing)) {
        case Receiving::kNothing: break;
        case Receiving::kIcResp: handshake_done(); break;
        case Receiving::kResponse: answered(*command, &received_cqe_); break;
        case Receiving::kData:
            if (digest == DataDigest::kMismatch) {
                BASALT_LOG(kWarn,
                           "nvmf",
                           "queue {} to {}: wrong data digest, command {:#x}",
                           options_.qid.raw(),
                           options_.host.address.to_string(),
                           command->sqe.cid().raw());
                command->has_digest_error_ = true;
            }
            if (is_last_data_) {
                answered(*command, nullptr);
            }
            break;
    }
}

void HostQueue::on_violation(const Violation& violation, std::span<const std::byte> header) {
    BASALT_LOG(kWarn,
               "nvmf",
               "queue {} to {}: protocol violation, fatal error status {:#x}, information {:#x}",
               options_.qid.raw(),
               options_.host.address.to_string(),
               static_cast<uint16_t>(violation.fes),
               violation.fei);
    if (violation.close_silently) {
        close(Error(Errc::kProtocol));
        return;
    }
    close_reason_ = Error(Errc::kProtocol);
    phase_ = Phase::kTerminating;
    reactor_.stop_timer(phase_timer_);
    reactor_.stop_timer(age_timer_);
    reactor_.start_timer(phase_timer_, kHostTerminateTimeoutNs);
    output_.drop_waiting();
    output_.queue_control([&](std::span<std::byte> out) {
        return encode_term_req(out, Side::kHost, violation, header);
    });
    flush_later();
}

}  // namespace basalt::nvmf
