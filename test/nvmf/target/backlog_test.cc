#include "nvmf/target/backlog.h"

#include <vector>

#include <gtest/gtest.h>

#include "nvmf/wire/command_build.h"

namespace basalt::nvmf {
namespace {

WaitingCommand command(uint16_t id) {
    return {.sqe = make_command(nvme_cmd_read, CommandId(id), Nsid(1)),
            .is_paid = id % 2 == 0,
            .is_abort_wanted = false};
}

std::vector<uint16_t> pop_all(Backlog& backlog) {
    std::vector<uint16_t> ids;
    while (!backlog.is_empty()) {
        const WaitingCommand oldest = backlog.pop();
        ids.push_back(oldest.sqe.cid().raw());
        EXPECT_EQ(oldest.is_paid, oldest.sqe.cid().raw() % 2 == 0);
    }
    return ids;
}

TEST(Backlog, KeepsTheOrderAcrossItsEnd) {
    Backlog backlog;
    backlog.reserve(4);
    for (uint16_t round = 0; round < 10; ++round) {
        backlog.push(command(1));
        backlog.push(command(2));
        backlog.push(command(3));
        EXPECT_EQ(backlog.pop().sqe.cid(), CommandId(1));
        backlog.push(command(4));
        backlog.push(command(5));
        EXPECT_EQ(backlog.count(), 4U);
        EXPECT_EQ(pop_all(backlog), (std::vector<uint16_t>{2, 3, 4, 5}));
    }
}

TEST(Backlog, MakesTheMarkedOneTheOldest) {
    Backlog backlog;
    backlog.reserve(4);
    backlog.push(command(9));
    static_cast<void>(backlog.pop());
    for (uint16_t id = 1; id <= 4; ++id) {
        backlog.push(command(id));
    }
    EXPECT_FALSE(backlog.is_oldest_marked());
    EXPECT_FALSE(backlog.mark(CommandId(7)));
    EXPECT_TRUE(backlog.mark(CommandId(3)));
    EXPECT_TRUE(backlog.is_oldest_marked());
    backlog.unmark(CommandId(7));
    EXPECT_TRUE(backlog.is_oldest_marked());
    backlog.unmark(CommandId(3));
    EXPECT_FALSE(backlog.is_oldest_marked());
    EXPECT_EQ(pop_all(backlog), (std::vector<uint16_t>{3, 1, 2, 4}));
    EXPECT_FALSE(backlog.is_oldest_marked());
}

TEST(Backlog, ForgetsAll) {
    Backlog backlog;
    backlog.reserve(2);
    backlog.push(command(1));
    backlog.clear();
    EXPECT_TRUE(backlog.is_empty());
    EXPECT_FALSE(backlog.mark(CommandId(1)));
    backlog.push(command(2));
    backlog.push(command(3));
    EXPECT_EQ(pop_all(backlog), (std::vector<uint16_t>{2, 3}));
}

TEST(BacklogDeathTest, TakesNoMoreThanItHasRoomFor) {
    Backlog backlog;
    backlog.reserve(1);
    backlog.push(command(1));
    EXPECT_DEATH(backlog.push(command(2)), "count_ < capacity_");
}

}  // namespace
}  // namespace basalt::nvmf
