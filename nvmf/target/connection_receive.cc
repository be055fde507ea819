#include "nvmf/target/connection.h"
#include "nvmf/target/io_commands.h"
#include "nvmf/target/poll_group.h"
#include "nvmf/wire/sgl.h"
#include "reactor/base/log.h"

// The receiving half of a connection: what its PDUs are, and where their data goes.

namespace basalt::nvmf {

size_t Connection::on_receive(std::span<const std::byte> data) {
    if (is_closing()) {
        return data.size();
    }
    const size_t taken = receiver_.feed(data);
    return receiver_.is_done() ? data.size() : taken;
}

std::span<std::byte> Connection::receive_memory() {
    return is_closing() ? std::span<std::byte>() : receiver_.wanted_data();
}

void Connection::on_received(size_t size_bytes) {
    if (!is_closing()) {
        receiver_.data_stored(size_bytes);
    }
}

void Connection::resume_later() {
    if (!is_closing() && !resume_event_.is_waiting()) {
        group_->reactor().defer(resume_event_);
    }
}

void Connection::resume() {
    if (is_closing()) {
        return;
    }
    begin_set_aside();
    // The header that waits is in the receiver; the bytes behind it are in the socket.
    static_cast<void>(receiver_.feed({}));
    if (!receiver_.is_waiting() && !is_closing()) {
        socket_->resume_receive();
    }
}

PayloadPlan Connection::on_header(const PduHeader& header) {
    switch (header.type()) {
        case PduType::kIcReq: on_ic_req(header.ic_req()); return PayloadPlan::discard();
        case PduType::kCapsuleCmd: return on_capsule(header);
        case PduType::kH2cData: return on_h2c_data(header.h2c_data());
        case PduType::kH2cTermReq: {
            const TermReq& term = header.term_req();
            BASALT_LOG(
                kWarn,
                "nvmf",
                "connection {} from {}: the host ended it with fatal error {:#x}, field {:#x}",
                id_,
                peer_.to_string(),
                term.fes.get(),
                term.fei.get());
            close("terminate request from the host");
            return PayloadPlan::discard();
        }
        case PduType::kIcResp:
        case PduType::kC2hTermReq:
        case PduType::kCapsuleResp:
        case PduType::kC2hData:
        case PduType::kR2t: break;
    }
    assertion_failed("the receiver lets only PDUs for controllers pass", __FILE__, __LINE__);
}

void Connection::on_ic_req(const IcReq& req) {
    BASALT_ASSERT(phase_ == Phase::kAwaitingIc);
    phase_ = Phase::kAwaitingConnect;
    is_receiving_ic_ = true;
    format_.header_digest = (req.digests & kDigestHeader) != 0;
    format_.data_digest = (req.digests & kDigestData) != 0;
    format_.data_align_bytes = static_cast<uint8_t>((req.data_align + 1) * 4);
    output_.queue_control([&](std::span<std::byte> out) {
        return encode_ic_resp(out,
                              {.header_digest = format_.header_digest,
                               .data_digest = format_.data_digest,
                               .h2c_data_max_bytes = group_->options().io_bytes_max});
    });
    flush_later();
}

PayloadPlan Connection::on_capsule(const PduHeader& header) {
    const uint32_t capsule_bytes = header.data_bytes();
    if (holds_stream()) [[unlikely]] {
        return PayloadPlan::later();
    }
    if (!requests_.has_room()) {
        // More commands than the queue is deep: backpressure, no disconnect.
        requests_.wait_for_room();
        return PayloadPlan::later();
    }
    const Sqe& sqe = header.sqe();
    if (half_pair != nullptr && sqe.fuse() != Fuse::kSecond) [[unlikely]] {
        half_pair->partner_missing();
    }
    if (link.lane != nullptr && capsule_bytes > 0 && !rate_.pay_capsule(sqe, capsule_bytes))
        [[unlikely]] {
        return PayloadPlan::later();
    }
    if (begins_pair(sqe) && !find_capsule_memory(sqe, capsule_bytes)) [[unlikely]] {
        return PayloadPlan::later();  // First: those who wait for a pair claim nothing.
    }
    const bool may_wait = capsule_bytes == 0 && sqe.fuse() == Fuse::kNone;
    Request* request = claim_request(may_wait);
    if (request == nullptr) [[unlikely]] {
        return may_wait && requests_.can_set_aside() ? set_capsule_aside(sqe)
                                                     : PayloadPlan::later();
    }
    std::optional<KeptMemory> kept;
    if (capsule_bytes > 0) {
        kept = keep_payload(header);
        if (!kept && !find_capsule_memory(sqe, capsule_bytes)) {
            return PayloadPlan::later();
        }
    }
    requests_.use_claimed();
    advance_sq_head();
    receiving_ = request;
    is_data_for_request_ = false;
    const Result<DataPointer> pointer = adopt(*request, sqe, capsule_bytes);
    request->is_paid = rate_.take_payment();
    std::byte* memory = nullptr;
    if (half_pair != nullptr || begins_pair(sqe)) [[unlikely]] {
        FusedPair& pair =
            half_pair != nullptr ? *half_pair : group_->fused().pair_of(capsule_buffer_);
        memory = pair.memory(sqe.fuse());
        pair.add(*request);
    } else if (capsule_bytes > 0 && !kept) {
        request->buffer = capsule_buffer_;
        request->source = capsule_buffer_source_;
        memory = request->buffer.data;
    }
    capsule_buffer_ = {};
    if (capsule_bytes == 0) {
        return PayloadPlan::discard();
    }
    if (pointer && !request->is_data_in_capsule) {
        request->early_status = status::kSglTypeInvalid.with_dnr();  // Nobody wants the data.
    }
    const uint32_t offset = pointer ? pointer->offset : 0;
    if (kept) {
        request->kept = kept;
        // Only read from: it is a write's data.
        auto* data = const_cast<std::byte*>(receiver_.data_at_hand().data());
        request->piece = iovec{data + offset, request->data_bytes};
        return PayloadPlan::discard();
    }
    request->piece = iovec{memory + offset, request->data_bytes};
    request->destination = {memory, capsule_bytes};
    return PayloadPlan::store({&request->destination, 1});
}

Request* Connection::claim_request(bool may_wait) {
    const bool can_set_aside = may_wait && requests_.can_set_aside();
    if (can_set_aside && requests_.has_backlog()) {
        return nullptr;  // Behind those that came before.
    }
    using Kind = ConnectionRequests::Kind;
    Request* request = requests_.claim(may_wait ? Kind::kGeneral : Kind::kCapsule);
    if (request == nullptr && !can_set_aside) {
        requests_.wait_for_claim();
    }
    return request;
}

PayloadPlan Connection::set_capsule_aside(const Sqe& sqe) {
    BASALT_ASSERT(receiving_ == nullptr);
    advance_sq_head();
    requests_.set_aside({.sqe = sqe, .is_paid = false, .is_abort_wanted = false});
    begin_set_aside();
    return PayloadPlan::discard();
}

void Connection::advance_sq_head() {
    if (++sq_head_ >= queue_entries_) {
        sq_head_ = 0;
    }
}

Result<DataPointer> Connection::adopt(Request& request, const Sqe& sqe, uint32_t capsule_bytes) {
    request.set_state(Request::State::kReceiving);
    request.reset(sqe);
    const Result<DataPointer> pointer = decode_data_pointer(request.sqe, capsule_bytes);
    if (!pointer) {
        request.early_status = to_nvme_status(pointer.error());
    } else {
        request.data_bytes = pointer->length_bytes;
        request.is_data_in_capsule = pointer->place == DataPointer::Place::kInCapsule;
    }
    return pointer;
}

std::optional<KeptMemory> Connection::keep_payload(const PduHeader& header) {
    if (receiver_.data_at_hand().empty() || capsule_buffer_.is_valid() || half_pair != nullptr ||
        !is_live() || is_admin_queue() || header.sqe().fuse() != Fuse::kNone ||
        !may_write_in_place(*link.subsystem, header.sqe())) {
        return std::nullopt;
    }
    return socket_->keep_received();
}

bool Connection::begins_pair(const Sqe& sqe) const {
    return sqe.fuse() == Fuse::kFirst && sqe.opcode == nvme_cmd_compare && is_live() &&
           !is_admin_queue();
}

bool Connection::find_capsule_memory(const Sqe& sqe, uint32_t bytes) {
    uint32_t wanted_bytes = bytes;
    BufferSource source = capsule_source_;
    if (begins_pair(sqe)) [[unlikely]] {
        wanted_bytes = FusedPairs::kBufferBytes;
        source = {&group_->fused().pool(), &link.host->pairs};
    }
    if (wanted_bytes == 0 || half_pair != nullptr || capsule_buffer_.is_valid()) {
        return true;
    }
    if (capsule_waiter_.is_waiting()) {
        return false;
    }
    capsule_buffer_source_ = source;
    capsule_buffer_ = source.try_acquire(wanted_bytes);
    if (!capsule_buffer_.is_valid()) {
        source.wait(capsule_waiter_, wanted_bytes);
        return false;
    }
    return true;
}

PayloadPlan Connection::on_h2c_data(const H2cData& data) {
    // The tag alone finds the request: the command id in the PDU is the host's claim, and trusting
    // it has crashed a target before.
    Request* found = requests_.find(data.transfer_tag.get());
    if (found == nullptr || found->state() != Request::State::kAwaitingData ||
        found->link.is_linked()) {
        // A request that is linked has its R2T in the output still: the host guesses tags.
        return PayloadPlan::reject(Fes::kInvalidHeaderField, offsetof(H2cData, transfer_tag));
    }
    Request& request = *found;
    if (data.command_id.get() != request.sqe.command_id.get()) {
        return PayloadPlan::reject(Fes::kInvalidHeaderField, offsetof(H2cData, command_id));
    }
    const uint32_t bytes = data.length_bytes.get();
    if (data.offset.get() != request.received_bytes) {
        return PayloadPlan::reject(Fes::kDataTransferOutOfRange);
    }
    if (bytes == 0 || bytes > request.data_bytes - request.received_bytes) {
        return PayloadPlan::reject(Fes::kDataTransferOutOfRange);
    }
    // An R2T asks for all of a command's data, so the last PDU brings its end. One that calls
    // itself the last before would leave the command waiting for what will not come. The flag
    // missing at the end is let pass, as SPDK's and Linux's targets do.
    const bool is_last = (data.common.flags & kFlagLastPdu) != 0;
    if (is_last && bytes != request.data_bytes - request.received_bytes) {
        return PayloadPlan::reject(Fes::kInvalidHeaderField, offsetof(CommonHeader, flags));
    }
    receiving_ = &request;
    is_data_for_request_ = true;
    h2c_bytes_ = bytes;
    request.asked_ns = rate_.receiving_ns();
    request.destination = {static_cast<std::byte*>(request.piece.iov_base) + request.received_bytes,
                           bytes};
    return PayloadPlan::store({&request.destination, 1});
}

void Connection::on_pdu_complete(DataDigest digest) {
    if (is_receiving_ic_) {
        is_receiving_ic_ = false;
        PduRules rules = receiver_.rules();
        rules.phase = ConnectionPhase::kEstablished;
        rules.header_digest = format_.header_digest;
        rules.data_digest = format_.data_digest;
        receiver_.set_rules(rules);
        return;
    }
    if (receiving_ == nullptr) {
        return;  // A terminate request.
    }
    Request& request = *receiving_;
    receiving_ = nullptr;
    if (digest == DataDigest::kMismatch) {
        request.has_digest_error = true;
    }
    if (!is_data_for_request_) {
        begin(request);
        return;
    }
    request.received_bytes += h2c_bytes_;
    if (request.received_bytes < request.data_bytes) {
        return;
    }
    if (request.fused != nullptr) [[unlikely]] {
        request.fused->data_received(request);
        return;
    }
    if (request.is_abort_wanted) {
        finish_abort(request);
        return;
    }
    if (request.has_digest_error) {
        complete(request, status::kTransientTransportError);
        return;
    }
    execute(request);
}

void Connection::on_violation(const Violation& violation, std::span<const std::byte> header) {
    BASALT_LOG(kWarn,
               "nvmf",
               "connection {} from {}, queue {}: protocol violation, fatal error status {:#x}, "
               "information {:#x}",
               id_,
               peer_.to_string(),
               link.qid.raw(),
               static_cast<uint16_t>(violation.fes),
               violation.fei);
    if (violation.close_silently) {
        close("protocol violation");
        return;
    }
    phase_ = Phase::kTerminating;
    group_->reactor().stop_timer(move_.patience);
    receiving_ = nullptr;
    stop_waiting();
    restart_timer(kTerminateTimeoutNs);
    output_.queue_control([&](std::span<std::byte> out) {
        return encode_term_req(out, Side::kController, violation, header);
    });
    flush_later();
}

}  // namespace basalt::nvmf
