#pragma once

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "test/nvmf/target/scripted_host.h"

namespace basalt::nvmf {

/// A host on one simulated connection that waits for nothing: what it says goes out when it can,
/// what comes is kept for whoever looks. For tests that say the wrong thing, or break off anywhere;
/// ScriptedHost is for those that talk in turn.
///
/// It holds the target to the rule that a command is answered once: an answer to a command that
/// expect() has not announced, or to one answered before, is counted as `strays`.
class RawHost final : public SocketHandler {
  public:
    RawHost(TargetWorld& target_world, const SocketAddress& address)
        : world_(target_world.world),
          socket_(target_world.host->network().connect(address, SocketOptions{}, *this).value()) {}
    explicit RawHost(TargetWorld& target_world) : RawHost(target_world, target_world.address) {}
    RawHost(const RawHost&) = delete;
    RawHost& operator=(const RawHost&) = delete;
    ~RawHost() override {
        vanish();
        BASALT_ASSERT(world_.run_until([&] { return is_closed; }, 60 * kNsPerSecond));
    }

    /// Says `bytes` after all that was said before. Nothing happens once the connection is closed.
    void push(Bytes bytes) {
        bytes.resize(std::min(bytes.size(), push_limit_ - pushed_bytes_));
        if (socket_ != nullptr && !bytes.empty()) {
            pushed_bytes_ += bytes.size();
            outbox_.push_back(std::move(bytes));
            pump();
        }
    }
    /// A whole command capsule in the format agreed on.
    void push_capsule(const Sqe& sqe, std::span<const std::byte> payload = {}) {
        Bytes out;
        ScriptedHost::append(
            out,
            [&](std::span<std::byte> to) {
                return encode_capsule_cmd(to, sqe, static_cast<uint32_t>(payload.size()), format);
            },
            payload,
            format.data_digest);
        push(std::move(out));
    }
    void push_h2c_data(const H2cDataFields& fields, std::span<const std::byte> payload) {
        Bytes out;
        ScriptedHost::append(
            out,
            [&](std::span<std::byte> to) { return encode_h2c_data(to, fields, format); },
            payload,
            format.data_digest);
        push(std::move(out));
    }
    void push_ic_req(bool header_digest, bool data_digest) {
        std::array<std::byte, kPduHeadBytesMax> head{};
        const size_t bytes =
            encode_ic_req(head, {.header_digest = header_digest, .data_digest = data_digest});
        push(Bytes(head.begin(), head.begin() + static_cast<std::ptrdiff_t>(bytes)));
        format.header_digest = header_digest;
        format.data_digest = data_digest;
    }
    /// Connect, with command identifier 0, as ScriptedHost::kHostNqn with `host_number`.
    void push_connect(QueueId qid,
                      ControllerId cntlid,
                      bool disable_sq_flow_control = false,
                      uint32_t queue_entries = 32) {
        nvmf_connect_data data{};
        std::memset(&data, 0, sizeof(data));
        data.cntlid = cntlid.raw();
        data.hostid[0] = host_number;
        write_nqn_field(data.subsysnqn, TargetWorld::kNqn);
        write_nqn_field(data.hostnqn, ScriptedHost::kHostNqn);
        expect(CommandId(0));
        push_capsule(make_connect(CommandId(0),
                                  {.qid = qid,
                                   .queue_entries = queue_entries,
                                   .disable_sq_flow_control = disable_sq_flow_control,
                                   .keep_alive_ms = 0}),
                     std::as_bytes(std::span(&data, 1)));
    }

    /// A command with that identifier is under way: it may be answered, once.
    void expect(CommandId cid) { expected_.insert(cid.raw()); }
    [[nodiscard]] size_t outstanding() const { return expected_.size(); }
    [[nodiscard]] const std::multiset<uint16_t>& expected() const { return expected_; }

    /// Stops or goes on taking what the target sends.
    void set_reading(bool reads) {
        if (std::exchange(reads_, reads) != reads && reads && socket_ != nullptr) {
            socket_->resume_receive();
        }
    }
    /// Ends the connection wherever it stands.
    void vanish() {
        if (socket_ != nullptr) {
            socket_->close();
        }
    }
    /// Ends it once so many more bytes have come, the last of them included; takes no more.
    void vanish_after_receiving(size_t bytes) { receive_limit_ = received_bytes_ + bytes; }
    /// Ends it once so many more bytes have gone out; says no more.
    void vanish_after_pushing(size_t bytes) { push_limit_ = pushed_bytes_ + bytes; }

    [[nodiscard]] std::optional<Cqe> answer(CommandId cid) const {
        for (const Cqe& cqe : answers) {
            if (cqe.cid() == cid) {
                return cqe;
            }
        }
        return std::nullopt;
    }

    PduFormat format;
    uint8_t host_number = 7;  ///< The first byte of the host identifier, the only one not zero.
    std::vector<Cqe> answers;
    std::map<uint16_t, Bytes> received;  ///< Data of commands, until somebody takes it out.
    std::deque<R2t> r2ts;                ///< Not yet answered by whoever looks.
    uint64_t strays = 0;                 ///< Answers that nobody waited for.
    bool has_ic_resp = false;
    bool has_term_req = false;
    bool is_connected = false;
    bool is_closed = false;

    [[nodiscard]] size_t received_bytes() const { return received_bytes_; }
    [[nodiscard]] size_t pushed_bytes() const { return pushed_bytes_; }

  private:
    void pump() {
        if (is_connected && !is_sending_ && !outbox_.empty() && socket_ != nullptr) {
            is_sending_ = true;
            piece_ = iovec{outbox_.front().data(), outbox_.front().size()};
            socket_->send({&piece_, 1});
        }
    }
    void on_connected() override {
        is_connected = true;
        pump();
    }
    size_t on_receive(std::span<const std::byte> data) override {
        if (!reads_) {
            return 0;
        }
        const auto taken = data.first(std::min(data.size(), receive_limit_ - received_bytes_));
        inbox_.insert(inbox_.end(), taken.begin(), taken.end());
        received_bytes_ += taken.size();
        while (take_pdu()) {
        }
        if (received_bytes_ == receive_limit_) {
            vanish();
        }
        return data.size();
    }
    void on_sent() override {
        is_sending_ = false;
        outbox_.pop_front();
        pump();
        if (outbox_.empty() && pushed_bytes_ == push_limit_) {
            vanish();
        }
    }
    void on_closed(Error) override {
        is_closed = true;
        is_sending_ = false;
        socket_.reset();
        outbox_.clear();
    }

    bool take_pdu() {
        CommonHeader header;
        if (inbox_.size() < sizeof(header)) {
            return false;
        }
        std::memcpy(&header, inbox_.data(), sizeof(header));
        const size_t bytes = header.pdu_bytes.get();
        BASALT_ASSERT(bytes >= sizeof(header));
        if (inbox_.size() < bytes) {
            return false;
        }
        handle(Bytes(inbox_.begin(), inbox_.begin() + static_cast<std::ptrdiff_t>(bytes)));
        inbox_.erase(inbox_.begin(), inbox_.begin() + static_cast<std::ptrdiff_t>(bytes));
        return true;
    }
    void handle(const Bytes& pdu) {
        const PduType type = ScriptedHost::type_of(pdu);
        if (type == PduType::kIcResp) {
            has_ic_resp = true;
        } else if (type == PduType::kC2hTermReq) {
            has_term_req = true;
        } else if (type == PduType::kR2t) {
            r2ts.push_back(ScriptedHost::as<R2t>(pdu));
        } else if (type == PduType::kCapsuleResp) {
            answered(ScriptedHost::as<CapsuleResp>(pdu).cqe);
        } else {
            BASALT_ASSERT(type == PduType::kC2hData);
            const auto data = ScriptedHost::as<C2hData>(pdu);
            const size_t end = data.offset.get() + size_t{data.length_bytes.get()};
            const auto begin = pdu.begin() + data.common.data_offset;
            Bytes& place = received[data.command_id.get()];
            place.resize(std::max(place.size(), end));
            std::copy_n(begin,
                        data.length_bytes.get(),
                        place.begin() + static_cast<std::ptrdiff_t>(data.offset.get()));
            if ((data.common.flags & kFlagSuccess) != 0) {
                Cqe cqe;
                cqe.command_id = data.command_id;
                answered(cqe);
            }
        }
    }
    void answered(const Cqe& cqe) {
        answers.push_back(cqe);
        const auto found = expected_.find(cqe.cid().raw());
        if (found == expected_.end()) {
            ++strays;
        } else {
            expected_.erase(found);
        }
    }

    sim::World& world_;
    std::unique_ptr<Socket> socket_;
    std::deque<Bytes> outbox_;
    Bytes inbox_;
    std::multiset<uint16_t> expected_;
    iovec piece_{};
    size_t received_bytes_ = 0;
    size_t receive_limit_ = SIZE_MAX;
    size_t pushed_bytes_ = 0;
    size_t push_limit_ = SIZE_MAX;
    bool is_sending_ = false;
    bool reads_ = true;
};

}  // namespace basalt::nvmf
