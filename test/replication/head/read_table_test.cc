#include "replication/head/read_table.h"

#include <map>

#include <gtest/gtest.h>

#include "reactor/io/random.h"

namespace basalt::replication {
namespace {

TEST(ReadTable, IsAMap) {
    constexpr BlockBuffers::Counts kCounts{.small = 64, .large = 1};
    std::vector<std::byte> region(BlockBuffers::region_bytes(kCounts));
    BlockBuffers buffers(region, kCounts);
    Random random(1);
    ReadTable table(48);
    std::map<uint64_t, const std::byte*> model;
    for (uint32_t step = 0; step < 100'000; ++step) {
        const uint64_t id = 1 + random.below(80) * 0x10000 + random.below(2);
        const auto known = model.find(id);
        if (known != model.end()) {
            EXPECT_EQ(table.get(id).bytes().data(), known->second);
            if (random.chance(1, 2)) {
                EXPECT_EQ(table.take(id).bytes().data(), known->second);
                model.erase(known);
            }
        } else if (model.size() < 48) {
            EXPECT_FALSE(table.get(id).is_valid());
            EXPECT_FALSE(table.take(id).is_valid());
            BlockRef data = buffers.try_take(1);
            ASSERT_TRUE(data.is_valid());
            model[id] = data.bytes().data();
            table.put(id, std::move(data));
        }
        ASSERT_EQ(table.size(), model.size());
    }
}

}  // namespace
}  // namespace basalt::replication
