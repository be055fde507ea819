// A target on a real io_uring and a real file: what the simulation can't show.
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

#include <gtest/gtest.h>

#include "bdev/leaf/file_bdev.h"
#include "nvmf/wire/command_build.h"
#include "nvmf/wire/nqn.h"
#include "reactor/io/posix_file_system.h"
#include "reactor/io/tsc_clock.h"
#include "reactor/io/uring_driver.h"
#include "test/nvmf/target/target_world.h"

namespace basalt::nvmf {
namespace {

using Bytes = std::vector<std::byte>;

constexpr uint32_t kBlockBytes = 4096;
constexpr std::string_view kNqn = "nqn.2026-11.io.basalt:uring";

class NoMailbox final : public Mailbox {
  public:
    bool send(CoreId, Event&) override { return false; }
    uint32_t receive(std::span<Event*>) override { return 0; }
    bool prepare_sleep() override { return false; }
    void awake() override {}
};

/// A host's end of a connection, on the target's own reactor.
class Host final : public SocketHandler {
  public:
    Host(Reactor& reactor, const SocketAddress& address) : reactor_(reactor) {
        socket_ = reactor.network().connect(address, SocketOptions{}, *this).value();
        wait([this] { return is_connected_; });
        Bytes request(kPduHeadBytesMax);
        request.resize(encode_ic_req(request, {}));
        send(request);
        static_cast<void>(next<IcResp>());
    }
    ~Host() override {
        socket_->close();
        wait([this] { return socket_ == nullptr; });
    }

    Cqe connect(QueueId qid, uint16_t cntlid) {
        nvmf_connect_data data{};
        data.cntlid = cntlid;
        write_nqn_field(data.subsysnqn, kNqn);
        write_nqn_field(data.hostnqn, "nqn.2026-11.io.basalt:host");
        send_command(
            make_connect(CommandId(1),
                         {.qid = qid, .queue_entries = 32, .disable_sq_flow_control = false}),
            std::as_bytes(std::span(&data, 1)));
        return next<CapsuleResp>().cqe;
    }
    void send_command(const Sqe& sqe, std::span<const std::byte> data = {}) {
        Bytes pdu(kPduHeadBytesMax);
        pdu.resize(encode_capsule_cmd(pdu, sqe, static_cast<uint32_t>(data.size()), {}));
        pdu.insert(pdu.end(), data.begin(), data.end());
        send(std::move(pdu));
    }
    void send_data(const R2t& r2t, std::span<const std::byte> data) {
        Bytes pdu(kPduHeadBytesMax);
        pdu.resize(encode_h2c_data(pdu,
                                   {.cid = CommandId(r2t.command_id.get()),
                                    .tag = TransferTag(r2t.transfer_tag.get()),
                                    .offset = 0,
                                    .length_bytes = static_cast<uint32_t>(data.size()),
                                    .last = true},
                                   {}));
        pdu.insert(pdu.end(), data.begin(), data.end());
        send(std::move(pdu));
    }
    /// The next PDU's header; what follows it goes to `payload`.
    template <typename Header>
    Header next(Bytes* payload = nullptr) {
        wait([this] { return whole_pdu() > 0; });
        Header header;
        std::memcpy(&header, inbox_.data(), sizeof(header));
        const auto end = inbox_.begin() + static_cast<std::ptrdiff_t>(whole_pdu());
        if (payload != nullptr) {
            payload->assign(inbox_.begin() + static_cast<std::ptrdiff_t>(sizeof(header)), end);
        }
        inbox_.erase(inbox_.begin(), end);
        return header;
    }

  private:
    template <typename IsDone>
    void wait(IsDone is_done) {
        while (!is_done()) {
            reactor_.poll_once();
        }
    }
    [[nodiscard]] size_t whole_pdu() const {
        CommonHeader header;
        if (inbox_.size() < sizeof(header)) {
            return 0;
        }
        std::memcpy(&header, inbox_.data(), sizeof(header));
        return inbox_.size() >= header.pdu_bytes.get() ? header.pdu_bytes.get() : 0;
    }
    void send(Bytes bytes) {
        sending_ = std::move(bytes);
        piece_ = iovec{sending_.data(), sending_.size()};
        is_sending_ = true;
        socket_->send({&piece_, 1});
        wait([this] { return !is_sending_; });
    }
    void on_connected() override { is_connected_ = true; }
    size_t on_receive(std::span<const std::byte> data) override {
        inbox_.insert(inbox_.end(), data.begin(), data.end());
        return data.size();
    }
    void on_sent() override { is_sending_ = false; }
    void on_closed(Error) override { socket_.reset(); }

    Reactor& reactor_;
    std::unique_ptr<Socket> socket_;
    Bytes sending_;
    Bytes inbox_;
    iovec piece_{};
    bool is_connected_ = false;
    bool is_sending_ = false;
};

/// Target, control and host on one reactor; a file as namespace 1.
class TargetUring : public testing::Test {
  protected:
    TargetUring() {
        char directory[] = "/var/tmp/basalt-test-XXXXXX";
        directory_ = mkdtemp(directory);
        bdev::FileOptions file;
        file.name = "File0";
        file.path = directory_ + "/volume";
        file.create_size_bytes = 16 << 20U;
        BASALT_ASSERT(registry_.add(bdev::FileBdev::open(file, file_system_).value()).has_value());
        target_ = std::make_unique<Target>(reactor_, 1, buffers_);
        TransportOptions transport;
        transport.discovery_port = 0;
        expect_ok(target_->create_transport(transport));
        expect_ok(target_->create_subsystem(
            {.nqn = std::string(kNqn), .serial_number = "U1", .allow_any_host = true}));
        NamespaceOptions ns;
        ns.device = registry_.find("File0");
        ns.claim = registry_.claim(*ns.device, "a test").value();
        BASALT_ASSERT(run(target_->add_namespace(std::string(kNqn), std::move(ns))).has_value());
        address_ = run(target_->add_listener(std::string(kNqn),
                                             SocketAddress::parse("127.0.0.1", 0).value()))
                       .value();
    }
    ~TargetUring() override {
        auto ended = target_->shut_down();
        while (!ended.is_done()) {
            reactor_.poll_once();
        }
        target_.reset();
        std::filesystem::remove_all(directory_);
    }
    template <typename T>
    T run(Task<T> task) {
        while (!task.is_done()) {
            reactor_.poll_once();
        }
        return task.result();
    }
    void expect_ok(Task<Status> task) { BASALT_ASSERT(run(std::move(task)).has_value()); }

    [[nodiscard]] UringStorage& storage() { return static_cast<UringStorage&>(driver_->storage()); }
    static Sqe transfer(uint8_t opcode, uint16_t cid, uint32_t bytes) {
        Sqe sqe = make_command(opcode, CommandId(cid), Nsid(1));
        set_range(sqe, Lba(8), BlockCount(bytes / kBlockBytes));
        set_transport_data(sqe, bytes);
        return sqe;
    }

    std::string directory_;
    TscClock clock_;
    UringFeatures features_ = UringFeatures::probe().value();
    std::unique_ptr<UringDriver> driver_ = UringDriver::create(clock_, {}, features_).value();
    NoMailbox mailbox_;
    Reactor reactor_{ReactorOptions{.core = CoreId(0)}, clock_, *driver_, mailbox_};
    PosixFileSystem file_system_;
    HeapBuffers buffers_;
    bdev::BdevRegistry registry_{std::vector{CoreId(0)}};
    std::unique_ptr<Target> target_;
    SocketAddress address_;
};

TEST_F(TargetUring, MovesDataBetweenSocketAndFileThroughRegisteredMemoryAndFiles) {
    Host admin(reactor_, address_);
    const auto cntlid = static_cast<uint16_t>(admin.connect(kAdminQueueId, 0xffff).dw0.get());
    admin.send_command(make_property_set(CommandId(2), NVME_REG_CC, 0x00460001));
    ASSERT_TRUE(admin.next<CapsuleResp>().cqe.status().ok());
    Host io(reactor_, address_);
    ASSERT_TRUE(io.connect(QueueId(1), cntlid).status().ok());

    uint64_t transfers = 0;
    for (const uint32_t bytes : {4096U, 32768U, 131072U}) {
        Bytes data(bytes);
        for (uint32_t i = 0; i < bytes; ++i) {
            data[i] = static_cast<std::byte>((i + bytes) * 7 >> 3U);
        }
        const bool is_in_capsule = bytes == 4096;
        Sqe write = transfer(nvme_cmd_write, 3, bytes);
        if (is_in_capsule) {
            set_in_capsule_data(write, bytes);
            io.send_command(write, data);
        } else {
            io.send_command(write);
            io.send_data(io.next<R2t>(), data);
        }
        ASSERT_TRUE(io.next<CapsuleResp>().cqe.status().ok());
        io.send_command(transfer(nvme_cmd_read, 4, bytes));
        Bytes found;
        ASSERT_EQ(io.next<C2hData>(&found).length_bytes.get(), bytes);
        EXPECT_EQ(found, data);
        ASSERT_TRUE(io.next<CapsuleResp>().cqe.status().ok());
        transfers += 2;
        EXPECT_EQ(storage().fixed_transfers(), features_.registered_memory ? transfers : 0U)
            << bytes;
        EXPECT_EQ(storage().fixed_file_requests(), features_.registered_files ? transfers : 0U)
            << bytes;
    }
}

}  // namespace
}  // namespace basalt::nvmf
