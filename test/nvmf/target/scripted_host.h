#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "nvmf/wire/command.h"
#include "nvmf/wire/command_build.h"
#include "nvmf/wire/digest.h"
#include "nvmf/wire/nqn.h"
#include "nvmf/wire/pdu_codec.h"
#include "test/nvmf/target/rightful_dnr.h"
#include "test/nvmf/target/target_world.h"

namespace basalt::nvmf {

using Bytes = std::vector<std::byte>;

/// A host that says exactly what a test tells it to, right or wrong, over one simulated connection.
class ScriptedHost : public SocketHandler {
  public:
    static constexpr std::string_view kHostNqn =
        "nqn.2014-08.org.nvmexpress:uuid:"
        "11111111-2222-3333-4444-555555555555";

    ScriptedHost(TargetWorld& target_world, const SocketAddress& address)
        : world_(target_world.world) {
        socket_ = target_world.host->network().connect(address, SocketOptions{}, *this).value();
        BASALT_ASSERT(world_.run_until([&] { return is_connected || is_closed; }, kPatienceNs));
    }
    explicit ScriptedHost(TargetWorld& target_world)
        : ScriptedHost(target_world, target_world.address) {}
    ~ScriptedHost() override {
        if (socket_ != nullptr) {
            socket_->close();
            world_.run_until([&] { return is_closed; }, kPatienceNs);
        }
    }

    // --- Bytes and PDUs.

    void send(Bytes bytes) {
        BASALT_ASSERT(socket_ != nullptr);
        sending_ = std::move(bytes);
        piece_ = iovec{sending_.data(), sending_.size()};
        is_sending_ = true;
        socket_->send({&piece_, 1});
        world_.run_until([&] { return !is_sending_ || is_closed; }, kPatienceNs);
    }

    /// Appends what `encode` writes, then `payload` and its digest.
    template <typename Encode>
    static void append(Bytes& out, Encode encode, std::span<const std::byte> payload, bool digest) {
        std::array<std::byte, kPduHeadBytesMax> head{};
        const size_t bytes = encode(std::span<std::byte>(head));
        out.insert(out.end(), head.begin(), head.begin() + static_cast<std::ptrdiff_t>(bytes));
        out.insert(out.end(), payload.begin(), payload.end());
        if (digest && !payload.empty()) {
            std::array<std::byte, kDigestBytes> tail{};
            encode_data_digest(tail, crc32c(payload));
            out.insert(out.end(), tail.begin(), tail.end());
        }
    }
    Bytes capsule(const Sqe& sqe, std::span<const std::byte> payload = {}) const {
        Bytes out;
        append(
            out,
            [&](std::span<std::byte> to) {
                return encode_capsule_cmd(to, sqe, static_cast<uint32_t>(payload.size()), format);
            },
            payload,
            format.data_digest);
        return out;
    }
    Bytes h2c_data(const R2t& r2t, uint32_t offset, std::span<const std::byte> payload, bool last) {
        Bytes out;
        const H2cDataFields fields{.cid = CommandId(r2t.command_id.get()),
                                   .tag = TransferTag(r2t.transfer_tag.get()),
                                   .offset = offset,
                                   .length_bytes = static_cast<uint32_t>(payload.size()),
                                   .last = last};
        append(
            out,
            [&](std::span<std::byte> to) { return encode_h2c_data(to, fields, format); },
            payload,
            format.data_digest);
        return out;
    }

    /// The next PDU as it came, or empty if the target closed instead (or says nothing for long).
    Bytes next_pdu(uint64_t patience_ns = kPatienceNs) {
        world_.run_until([&] { return whole_pdu() > 0 || is_closed; }, patience_ns);
        const size_t bytes = whole_pdu();
        Bytes pdu(inbox_.begin(), inbox_.begin() + static_cast<std::ptrdiff_t>(bytes));
        inbox_.erase(inbox_.begin(), inbox_.begin() + static_cast<std::ptrdiff_t>(bytes));
        return pdu;
    }
    template <typename T>
    static T as(const Bytes& pdu) {
        T out{};
        BASALT_ASSERT(pdu.size() >= sizeof(T));
        std::memcpy(&out, pdu.data(), sizeof(T));
        return out;
    }
    static PduType type_of(const Bytes& pdu) {
        return static_cast<PduType>(as<CommonHeader>(pdu).type);
    }
    /// The payload of a data PDU, its digest checked.
    Bytes payload_of(const Bytes& pdu) const {
        const auto header = as<CommonHeader>(pdu);
        const size_t tail = format.data_digest ? kDigestBytes : 0;
        Bytes payload(pdu.begin() + header.data_offset,
                      pdu.end() - static_cast<std::ptrdiff_t>(tail));
        if (format.data_digest) {
            std::array<std::byte, kDigestBytes> wanted{};
            encode_data_digest(wanted, crc32c(payload));
            BASALT_ASSERT(std::memcmp(wanted.data(), pdu.data() + pdu.size() - tail, tail) == 0);
        }
        return payload;
    }

    // --- What a well-behaved host says.

    bool handshake(bool header_digest = false, bool data_digest = false) {
        Bytes out;
        append(
            out,
            [&](std::span<std::byte> to) {
                return encode_ic_req(to,
                                     {.header_digest = header_digest, .data_digest = data_digest});
            },
            {},
            false);
        send(out);
        const Bytes pdu = next_pdu();
        if (pdu.empty() || type_of(pdu) != PduType::kIcResp) {
            return false;
        }
        format.header_digest = header_digest;
        format.data_digest = data_digest;
        return true;
    }

    /// Sends a command and waits for its completion; `data` receives C2HData.
    Cqe command(const Sqe& sqe,
                std::span<const std::byte> capsule_data = {},
                Bytes* data = nullptr) {
        send(capsule(sqe, capsule_data));
        return completion(data);
    }
    Cqe completion(Bytes* data = nullptr) {
        while (true) {
            const Bytes pdu = next_pdu();
            BASALT_ASSERT(!pdu.empty());
            if (type_of(pdu) == PduType::kCapsuleResp) {
                const Cqe cqe = as<CapsuleResp>(pdu).cqe;
                check_dnr(cqe.status());
                return cqe;
            }
            BASALT_ASSERT(type_of(pdu) == PduType::kC2hData);
            if (data != nullptr) {
                *data = payload_of(pdu);
            }
        }
    }

    Cqe connect(QueueId qid,
                ControllerId cntlid,
                std::string_view nqn = TargetWorld::kNqn,
                std::string_view host_nqn = kHostNqn,
                uint32_t queue_entries = 32,
                uint32_t keep_alive_ms = 0) {
        nvmf_connect_data data{};
        std::memset(&data, 0, sizeof(data));
        data.cntlid = cntlid.raw();
        data.hostid[0] = host_number;
        write_nqn_field(data.subsysnqn, nqn);
        write_nqn_field(data.hostnqn, host_nqn);
        const Sqe sqe = make_connect(CommandId(1),
                                     {.qid = qid,
                                      .queue_entries = queue_entries,
                                      .disable_sq_flow_control = false,
                                      .keep_alive_ms = keep_alive_ms});
        return command(sqe, std::as_bytes(std::span(&data, 1)));
    }

    /// ICReq, Connect on the admin queue, and enable.
    ControllerId become_admin(std::string_view nqn = TargetWorld::kNqn,
                              uint32_t keep_alive_ms = 0,
                              std::string_view host_nqn = kHostNqn) {
        BASALT_ASSERT(handshake());
        const Cqe connected =
            connect(kAdminQueueId, kControllerIdAny, nqn, host_nqn, 32, keep_alive_ms);
        BASALT_ASSERT(connected.status().ok());
        constexpr uint32_t kEnable = 1U | (6U << 16U) | (4U << 20U);
        BASALT_ASSERT(command(make_property_set(CommandId(2), NVME_REG_CC, kEnable)).status().ok());
        return ControllerId(static_cast<uint16_t>(connected.dw0.get()));
    }

    /// Takes no more of what the target sends, until it takes it all.
    void stop_reading() { is_reading_ = false; }
    void go_on_reading() {
        is_reading_ = true;
        socket_->resume_receive();
    }

    /// Ends the connection wherever it stands.
    void vanish() { socket_->close(); }

    [[nodiscard]] bool wait_closed(uint64_t patience_ns = kPatienceNs) {
        return world_.run_until([&] { return is_closed; }, patience_ns);
    }

    PduFormat format;
    uint8_t host_number = 7;  ///< The first byte of the host identifier, the only one not zero.
    bool is_connected = false;
    bool is_closed = false;

  private:
    static constexpr uint64_t kPatienceNs = 20 * kNsPerSecond;

    [[nodiscard]] size_t whole_pdu() const {
        if (inbox_.size() < kCommonHeaderBytes) {
            return 0;
        }
        CommonHeader header;
        std::memcpy(&header, inbox_.data(), sizeof(header));
        return inbox_.size() >= header.pdu_bytes.get() ? header.pdu_bytes.get() : 0;
    }

    void on_connected() override { is_connected = true; }
    size_t on_receive(std::span<const std::byte> data) override {
        if (!is_reading_) {
            return 0;
        }
        inbox_.insert(inbox_.end(), data.begin(), data.end());
        return data.size();
    }
    void on_sent() override { is_sending_ = false; }
    void on_closed(Error) override {
        is_closed = true;
        is_sending_ = false;
        socket_.reset();
    }

    sim::World& world_;
    std::unique_ptr<Socket> socket_;
    Bytes sending_;
    Bytes inbox_;
    iovec piece_{};
    bool is_sending_ = false;
    bool is_reading_ = true;
};

}  // namespace basalt::nvmf
