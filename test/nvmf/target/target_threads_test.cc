// A target on threads of its own: what the simulation, which has one, can't show. Meant for the
// thread sanitizer, too.
#include <cstring>
#include <string>

#include <gtest/gtest.h>

#include "bdev/leaf/malloc_bdev.h"
#include "nvmf/initiator/host_controller.h"
#include "nvmf/wire/command_build.h"
#include "reactor/threads.h"
#include "reactor/uring_services.h"
#include "test/nvmf/target/target_world.h"
#include "test/reactor/process_memory.h"

namespace basalt::nvmf {
namespace {

constexpr uint32_t kQueues = 3;
constexpr uint32_t kWorkers = 6;
constexpr uint64_t kBlocksOfEach = 64;
constexpr uint32_t kBlockBytes = 512;
constexpr uint32_t kMoves = 60;

/// Two reactors with a target; the control thread is also the host's.
class TargetThreads : public testing::Test {
  protected:
    TargetThreads() {
        std::string problem;
        const auto topology = Topology::load(problem);
        BASALT_ASSERT(topology);
        const std::vector<Processor>& all = topology->processors();
        threads_ =
            ReactorThreads::start(
                {.processors = {all.front(), all.back()}}, process_memory(), services_, problem)
                .value();
        target_ = std::make_unique<Target>(threads_->control(), threads_->count(), buffers_);
        registry_ = std::make_unique<bdev::BdevRegistry>(std::vector{CoreId(0), CoreId(1)});
    }
    ~TargetThreads() override {
        auto ended = target_->shut_down();
        wait([&] { return ended.is_done(); });
        target_.reset();
        threads_->stop();
    }

    template <typename IsDone>
    void wait(IsDone is_done) {
        while (!is_done()) {
            threads_->control().poll_once();
        }
    }
    template <typename T>
    T run(Task<T> task) {
        wait([&] { return task.is_done(); });
        return task.result();
    }

    void serve() {
        BASALT_ASSERT(run(target_->create_transport({.discovery_port = 0})).has_value());
        BASALT_ASSERT(run(target_->create_subsystem(
                              {.nqn = nqn_, .serial_number = "T1", .allow_any_host = true}))
                          .has_value());
        bdev::MallocOptions device;
        device.name = "Malloc0";
        device.block_count = BlockCount(kQueues * kWorkers * kBlocksOfEach);
        device.block_size_bytes = kBlockBytes;
        BASALT_ASSERT(
            registry_->add(bdev::MallocBdev::make(device, device_memory_).value()).has_value());
        NamespaceOptions ns;
        ns.device = registry_->find("Malloc0");
        ns.claim = registry_->claim(*ns.device, "a test").value();
        BASALT_ASSERT(run(target_->add_namespace(nqn_, std::move(ns))).has_value());
        address_ =
            run(target_->add_listener(nqn_, SocketAddress::parse("127.0.0.1", 0).value())).value();
    }

    /// Writes and reads its own blocks, in the capsule and by R2T, until the moves are over.
    Task<void> worker(HostQueue& queue, uint64_t first) {
        uint8_t generation = 0;
        while (!is_over_) {
            ++generation;
            const uint64_t blocks = generation % 3 == 0 ? kBlocksOfEach : 8;
            std::vector<std::byte> data(blocks * kBlockBytes, std::byte{generation});
            std::vector<std::byte> found(data.size());
            for (const uint8_t opcode : {nvme_cmd_write, nvme_cmd_read}) {
                std::vector<std::byte>& memory = opcode == nvme_cmd_write ? data : found;
                const iovec piece{memory.data(), memory.size()};
                HostCommand command;
                command.sqe = make_command(opcode, CommandId(0), Nsid(1));
                command.data_bytes = static_cast<uint32_t>(memory.size());
                set_range(command.sqe, Lba(first), BlockCount(blocks));
                command.pieces = {&piece, 1};
                co_await execute(queue, command);
                failed_ += command.status.has_value() ? 0U : 1U;
            }
            wrong_ += data == found ? 0U : 1U;
            ++rounds_;
        }
    }

    Task<void> mover(ControllerId cntlid) {
        for (uint32_t i = 0; i < kMoves; ++i) {
            const QueueId qid(static_cast<uint16_t>(1 + i % kQueues));
            auto moving = target_->move_queue(nqn_, cntlid, qid, CoreId(i / kQueues % 2));
            const Status moved = co_await moving;
            moves_ += moved ? 1U : 0U;
            co_await sleep_for(threads_->control(), 2 * kNsPerMs);
        }
        is_over_ = true;
    }

    const std::string nqn_ = "nqn.2026-11.io.basalt:threads";
    UringServices services_{UringOptions{}};
    std::unique_ptr<ReactorThreads> threads_;
    HeapBuffers buffers_;
    bdev::AnonymousMemory device_memory_;
    std::unique_ptr<bdev::BdevRegistry> registry_;
    std::unique_ptr<Target> target_;
    SocketAddress address_;
    bool is_over_ = false;
    uint32_t moves_ = 0;
    uint64_t rounds_ = 0;
    uint64_t failed_ = 0;
    uint64_t wrong_ = 0;
};

TEST_F(TargetThreads, QueuesMoveFromThreadToThreadUnderLoad) {
    serve();
    Reactor& here = threads_->control();
    HostController controller(
        here,
        {.address = address_, .subsystem_nqn = nqn_, .host_nqn = "nqn.2026-11.io.basalt:host"},
        nullptr);
    ASSERT_TRUE(run(controller.connect()).has_value());
    std::vector<std::unique_ptr<HostQueue>> queues;
    for (uint16_t qid = 1; qid <= kQueues; ++qid) {
        queues.push_back(
            std::make_unique<HostQueue>(here, controller.io_queue_options(QueueId(qid), 32)));
        ASSERT_TRUE(run(queues.back()->connect()).has_value());
    }
    std::vector<Task<void>> tasks;
    for (uint32_t i = 0; i < kQueues * kWorkers; ++i) {
        tasks.push_back(worker(*queues[i / kWorkers], i * kBlocksOfEach));
    }
    tasks.push_back(mover(controller.id()));
    for (const Task<void>& task : tasks) {
        wait([&] { return task.is_done(); });
    }
    EXPECT_EQ(failed_, 0U);
    EXPECT_EQ(wrong_, 0U);
    EXPECT_GT(rounds_, 100U);
    EXPECT_GT(moves_, kMoves / 2);
    for (const auto& queue : queues) {
        run(queue->end());
    }
    run(controller.end());
}

}  // namespace
}  // namespace basalt::nvmf
