// A target's whole way of a command, from the bytes of its capsule to the bytes of its response,
// with a null device and a socket without a network: what of an I/O is ours and not the kernel's.
#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include "bdev/core/registry.h"
#include "bdev/leaf/null_bdev.h"
#include "nvmf/target/target.h"
#include "nvmf/wire/command_build.h"
#include "nvmf/wire/nqn.h"
#include "nvmf/wire/pdu_codec.h"
#include "perf/micro/loopback.h"
#include "perf/micro/path_meter.h"
#include "reactor/io/tsc_clock.h"
#include "reactor/reactor.h"

namespace basalt::perf {
namespace {

using namespace nvmf;
using Bytes = std::vector<std::byte>;

constexpr std::string_view kNqn = "nqn.2026-11.io.basalt:bench";
constexpr std::string_view kHostNqn = "nqn.2026-11.io.basalt:host";
constexpr uint32_t kIoBytes = 4096;
constexpr uint32_t kEntries = 128;

class NoMailbox final : public Mailbox {
  public:
    bool send(CoreId /*to*/, Event& /*event*/) override { return false; }
    uint32_t receive(std::span<Event*> /*out*/) override { return 0; }
    bool prepare_sleep() override { return false; }
    void awake() override {}
};

class HeapBuffers final : public BufferMemory {
  public:
    Result<std::span<std::byte>> allocate(CoreId /*core*/, size_t bytes) override {
        memory_ = std::make_unique_for_overwrite<std::byte[]>(bytes + 4096);
        void* start = memory_.get();
        size_t space = bytes + 4096;
        return std::span(static_cast<std::byte*>(std::align(4096, bytes, start, space)), bytes);
    }

  private:
    std::unique_ptr<std::byte[]> memory_;
};

/// Who has limits, so high that nobody ever waits for them.
enum class Limits : uint8_t { kNone, kDevice, kDeviceAndHost };

qos::Policy high_limits() {
    qos::Policy policy;
    policy.rw_ios.rate = qos::kIosPerSecondMax;
    policy.rw_bytes.rate = qos::kBytesPerSecondMax;
    return policy;
}

/// One reactor that is target and control thread in one, and a connected I/O queue.
class Bench {
  public:
    Bench(bool has_digests, Limits limits) : format_{has_digests, has_digests} {
        bdev::NullOptions null;
        null.name = "Null0";
        null.block_count = BlockCount(1 << 18);
        null.block_size_bytes = kIoBytes;
        BASALT_ASSERT(registry_.add(bdev::NullBdev::make(null).value()).has_value());
        TransportOptions transport;
        transport.discovery_port = 0;
        BASALT_ASSERT(run(target_.create_transport(transport)).has_value());
        BASALT_ASSERT(
            run(target_.create_subsystem(
                    {.nqn = std::string(kNqn), .serial_number = "B1", .allow_any_host = true}))
                .has_value());
        NamespaceOptions ns;
        ns.device = registry_.find("Null0");
        ns.claim = registry_.claim(*ns.device, "a benchmark").value();
        BASALT_ASSERT(run(target_.add_namespace(std::string(kNqn), std::move(ns))).has_value());
        const SocketAddress address = SocketAddress::parse("127.0.0.1", 4420).value();
        BASALT_ASSERT(run(target_.add_listener(std::string(kNqn), address)).has_value());
        connect();
        if (limits != Limits::kNone) {
            run_void(registry_.find("Null0")->limits().set(reactor_, high_limits(), nullptr));
        }
        if (limits == Limits::kDeviceAndHost) {
            BASALT_ASSERT(
                run(target_.set_host_rate(std::string(kNqn), std::string(kHostNqn), high_limits()))
                    .has_value());
        }
    }
    ~Bench() {
        run_void(target_.shut_down());
        run_void(registry_.find("Null0")->limits().clear(reactor_));
    }

    /// Gives the target `stream` and turns the reactor until it has sent `reply_bytes`.
    void exchange(std::span<const std::byte> stream, uint64_t reply_bytes) {
        const uint64_t until = io_->sent_bytes + reply_bytes;
        io_->receive(stream);
        while (io_->sent_bytes < until) {
            reactor_.poll_once();
        }
        BASALT_ASSERT(io_->sent_bytes == until);
    }

    [[nodiscard]] const PduFormat& format() const { return format_; }

  private:
    template <typename T>
    T run(Task<T> task) {
        while (!task.is_done()) {
            reactor_.poll_once();
        }
        return task.result();
    }
    void run_void(Task<void> task) {
        while (!task.is_done()) {
            reactor_.poll_once();
        }
    }

    void connect() {
        LoopbackSocket& admin = driver_.connect_one(reactor_);
        shake_hands(admin, false);
        const uint16_t cntlid = send_connect(admin, PduFormat{}, kAdminQueueId, 0xffff);
        const Sqe enable = make_property_set(CommandId(2), NVME_REG_CC, 0x00460001);
        static_cast<void>(command(admin, PduFormat{}, enable, {}));
        io_ = &driver_.connect_one(reactor_);
        shake_hands(*io_, format_.header_digest);
        send_connect(*io_, format_, QueueId(1), cntlid);
        io_->keeps_sent = false;
    }
    void shake_hands(LoopbackSocket& socket, bool has_digests) {
        Bytes request(kPduHeadBytesMax);
        request.resize(
            encode_ic_req(request, {.header_digest = has_digests, .data_digest = has_digests}));
        socket.receive(request);
        wait_for(socket, sizeof(IcResp));
        socket.sent.clear();
    }
    uint16_t send_connect(LoopbackSocket& socket,
                          const PduFormat& format,
                          QueueId qid,
                          uint16_t cntlid) {
        nvmf_connect_data data{};
        data.cntlid = cntlid;
        write_nqn_field(data.subsysnqn, kNqn);
        write_nqn_field(data.hostnqn, kHostNqn);
        const Sqe sqe = make_connect(CommandId(1),
                                     {.qid = qid,
                                      .queue_entries = qid == kAdminQueueId ? 32 : kEntries,
                                      .disable_sq_flow_control = false});
        const Cqe cqe = command(socket, format, sqe, std::as_bytes(std::span(&data, 1)));
        return static_cast<uint16_t>(cqe.dw0.get());
    }
    Cqe command(LoopbackSocket& socket,
                const PduFormat& format,
                const Sqe& sqe,
                std::span<const std::byte> data) {
        Bytes pdu(kPduHeadBytesMax);
        pdu.resize(encode_capsule_cmd(pdu, sqe, static_cast<uint32_t>(data.size()), format));
        pdu.insert(pdu.end(), data.begin(), data.end());
        if (format.data_digest && !data.empty()) {
            std::array<std::byte, kDigestBytes> digest{};
            encode_data_digest(digest, crc32c(data));
            pdu.insert(pdu.end(), digest.begin(), digest.end());
        }
        socket.receive(pdu);
        wait_for(socket, sizeof(CapsuleResp));
        CapsuleResp resp;
        std::memcpy(&resp, socket.sent.data(), sizeof(resp));
        socket.sent.clear();
        BASALT_ASSERT(resp.cqe.status().ok());
        return resp.cqe;
    }
    void wait_for(const LoopbackSocket& socket, size_t bytes) {
        while (socket.sent.size() < bytes) {
            reactor_.poll_once();
        }
    }

    const PduFormat format_;
    TscClock clock_;
    LoopbackDriver driver_;
    NoMailbox mailbox_;
    Reactor reactor_{ReactorOptions{.core = CoreId(0)}, clock_, driver_, mailbox_};
    HeapBuffers buffers_;
    bdev::BdevRegistry registry_{std::vector{CoreId(0)}};
    Target target_{reactor_, 1, buffers_};
    LoopbackSocket* io_ = nullptr;
};

/// `count` reads or writes of 4 KiB, as the host sends them.
Bytes commands(uint8_t opcode, uint32_t count, const PduFormat& format) {
    Bytes stream;
    const Bytes payload(kIoBytes, std::byte{0x77});
    for (uint32_t i = 0; i < count; ++i) {
        Sqe sqe = make_command(opcode, CommandId(static_cast<uint16_t>(i)), Nsid(1));
        set_range(sqe, Lba(i), BlockCount(1));
        const bool is_write = opcode == nvme_cmd_write;
        if (is_write) {
            set_in_capsule_data(sqe, kIoBytes);
        } else {
            set_transport_data(sqe, kIoBytes);
        }
        Bytes head(kPduHeadBytesMax);
        head.resize(encode_capsule_cmd(head, sqe, is_write ? kIoBytes : 0, format));
        stream.insert(stream.end(), head.begin(), head.end());
        if (is_write) {
            stream.insert(stream.end(), payload.begin(), payload.end());
            if (format.data_digest) {
                std::array<std::byte, kDigestBytes> digest{};
                encode_data_digest(digest, crc32c(payload));
                stream.insert(stream.end(), digest.begin(), digest.end());
            }
        }
    }
    return stream;
}

void request_loop(benchmark::State& state, uint8_t opcode) {
    const auto depth = static_cast<uint32_t>(state.range(0));
    Bench bench(state.range(1) != 0, static_cast<Limits>(state.range(2)));
    const PduFormat& format = bench.format();
    const Bytes stream = commands(opcode, depth, format);
    const uint32_t digest = format.header_digest ? kDigestBytes : 0;
    uint64_t reply_bytes = sizeof(CapsuleResp) + digest;
    if (opcode == nvme_cmd_read) {
        reply_bytes += sizeof(C2hData) + digest + kIoBytes + digest;
    }
    bench.exchange(stream, reply_bytes * depth);  // Buffers are touched, frames are pooled.
    PathMeter meter(state);
    for ([[maybe_unused]] auto turn : state) {
        bench.exchange(stream, reply_bytes * depth);
    }
    meter.finish(depth);
}

void BM_TargetRead(benchmark::State& state) {
    request_loop(state, nvme_cmd_read);
}
BENCHMARK(BM_TargetRead)
    ->ArgNames({"depth", "digests", "limits"})
    ->Args({1, 0, 0})
    ->Args({32, 0, 0})
    ->Args({32, 0, 1})
    ->Args({32, 0, 2})
    ->Args({32, 1, 0});

void BM_TargetWrite(benchmark::State& state) {
    request_loop(state, nvme_cmd_write);
}
BENCHMARK(BM_TargetWrite)
    ->ArgNames({"depth", "digests", "limits"})
    ->Args({1, 0, 0})
    ->Args({32, 0, 0})
    ->Args({32, 0, 1})
    ->Args({32, 1, 0});

}  // namespace
}  // namespace basalt::perf
