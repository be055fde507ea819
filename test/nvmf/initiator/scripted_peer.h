#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "nvmf/wire/command.h"
#include "nvmf/wire/pdu_codec.h"
#include "nvmf/wire/pdu_receiver.h"
#include "reactor/sim/world.h"
#include "test/nvmf/wire/wire_testing.h"

namespace basalt::nvmf::testing {

/// A controller that does what a test tells it: it answers ICReq and Connect by itself and hands
/// everything else to the test. One connection.
class ScriptedPeer final : public ListenHandler, public SocketHandler, private PduHandler {
  public:
    struct Capsule {
        Sqe sqe;
        ByteVector data;
    };
    struct Data {
        uint16_t tag = 0;
        uint32_t offset = 0;
        bool is_last = false;
        ByteVector bytes{};
        DataDigest digest = DataDigest::kAbsent;
    };

    ScriptedPeer(Reactor& reactor, const SocketAddress& address)
        : reactor_(reactor), receiver_(*this, PduRules{.side = Side::kController}) {
        listener_ = reactor.network().listen(address, *this).value();
    }

    // What it does at the handshake.
    IcRespFields ic{.h2c_data_max_bytes = 8192};
    std::optional<ByteVector> raw_ic_resp;  ///< Sent instead, as it is.
    bool answers_ic = true;
    NvmeStatus connect_status = status::kSuccess;

    /// Called for each command but Connect.
    std::function<void(const Capsule&)> on_command;
    /// Called for each H2CData PDU.
    std::function<void(const Data&)> on_data;

    std::vector<Capsule> commands;
    std::vector<Data> data;
    std::optional<TermReq> term_req;
    std::optional<IcReq> ic_req;
    std::optional<Sqe> connect;
    std::optional<Violation> violation;
    bool is_closed = false;

    [[nodiscard]] const PduFormat& format() const { return format_; }

    void send(ByteVector bytes) {
        output_.push_back(std::move(bytes));
        pump();
    }
    void respond(uint16_t cid, NvmeStatus status = status::kSuccess, uint32_t dw0 = 0) {
        Cqe cqe;
        cqe.command_id.set(cid);
        cqe.dw0.set(dw0);
        cqe.set_status(status);
        send(encoded(
            [&](std::span<std::byte> out) { return encode_capsule_resp(out, cqe, format_); }));
    }
    void send_r2t(const R2tFields& fields) {
        send(encoded([&](std::span<std::byte> out) { return encode_r2t(out, fields, format_); }));
    }
    void send_data(C2hDataFields fields, std::span<const std::byte> payload) {
        fields.length_bytes = static_cast<uint32_t>(payload.size());
        ByteVector head = encoded(
            [&](std::span<std::byte> out) { return encode_c2h_data(out, fields, format_); });
        send(with_payload(std::move(head), payload, format_));
    }
    void close() {
        if (socket_) {
            socket_->close();
        }
    }

    // ListenHandler and SocketHandler.
    void on_accept(AcceptedSocket accepted) override {
        auto socket = reactor_.network().adopt(accepted, SocketOptions{}, *this);
        if (socket) {
            socket_ = std::move(*socket);
        }
    }
    size_t on_receive(std::span<const std::byte> bytes) override {
        const size_t taken = receiver_.feed(bytes);
        return receiver_.is_done() ? bytes.size() : taken;
    }
    void on_sent() override {
        is_sending_ = false;
        output_.pop_front();
        pump();
    }
    void on_closed(Error /*reason*/) override {
        is_closed = true;
        socket_.reset();
        output_.clear();
    }

  private:
    void pump() {
        if (socket_ && !is_sending_ && !output_.empty()) {
            is_sending_ = true;
            piece_ = iovec{output_.front().data(), output_.front().size()};
            socket_->send({&piece_, 1});
        }
    }

    PayloadPlan on_header(const PduHeader& header) override {
        type_ = header.type();
        payload_.assign(header.data_bytes(), std::byte{0});
        switch (type_) {
            case PduType::kIcReq: ic_req = header.ic_req(); break;
            case PduType::kH2cTermReq: term_req = header.term_req(); break;
            case PduType::kCapsuleCmd: capsule_.sqe = header.sqe(); break;
            case PduType::kH2cData:
                h2c_ = Data{.tag = header.h2c_data().transfer_tag.get(),
                            .offset = header.h2c_data().offset.get(),
                            .is_last = header.is_last()};
                break;
            case PduType::kIcResp:
            case PduType::kC2hTermReq:
            case PduType::kCapsuleResp:
            case PduType::kC2hData:
            case PduType::kR2t: BASALT_ASSERT(false);
        }
        if (payload_.empty()) {
            return PayloadPlan::discard();
        }
        payload_piece_ = iovec{payload_.data(), payload_.size()};
        return PayloadPlan::store({&payload_piece_, 1});
    }
    void on_pdu_complete(DataDigest digest) override {
        if (type_ == PduType::kIcReq) {
            answer_ic();
        } else if (type_ == PduType::kCapsuleCmd) {
            capsule_.data = payload_;
            if (capsule_.sqe.is_fabrics() && capsule_.sqe.fctype() == nvme_fabrics_type_connect) {
                connect = capsule_.sqe;
                respond(connect->command_id.get(), connect_status, 5);
                return;
            }
            commands.push_back(capsule_);
            if (on_command) {
                on_command(commands.back());
            }
        } else if (type_ == PduType::kH2cData) {
            h2c_.bytes = payload_;
            h2c_.digest = digest;
            data.push_back(h2c_);
            if (on_data) {
                on_data(data.back());
            }
        }
    }
    void on_violation(const Violation& what, std::span<const std::byte> /*header*/) override {
        violation = what;
    }

    void answer_ic() {
        if (!answers_ic) {
            return;
        }
        if (raw_ic_resp) {
            send(*raw_ic_resp);
            return;
        }
        send(encoded([&](std::span<std::byte> out) { return encode_ic_resp(out, ic); }));
        format_ = PduFormat{.header_digest = ic.header_digest, .data_digest = ic.data_digest};
        PduRules rules = receiver_.rules();
        rules.phase = ConnectionPhase::kEstablished;
        rules.header_digest = ic.header_digest;
        rules.data_digest = ic.data_digest;
        rules.data_bytes_max = ic.h2c_data_max_bytes;
        receiver_.set_rules(rules);
    }

    Reactor& reactor_;
    std::unique_ptr<Listener> listener_;
    std::unique_ptr<Socket> socket_;
    PduReceiver receiver_;
    PduFormat format_;
    std::deque<ByteVector> output_;
    iovec piece_{};
    bool is_sending_ = false;
    PduType type_ = PduType::kIcReq;
    ByteVector payload_;
    iovec payload_piece_{};
    Capsule capsule_;
    Data h2c_;
};

}  // namespace basalt::nvmf::testing
