// Snapshots from one daemon's pool into another one's, through files and pipes.
#include <array>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "bdev/store/checksum.h"
#include "bdev/store/stream/stream_reader.h"
#include "bdev/store/stream/stream_writer.h"
#include "test/control/daemon_process.h"

namespace basalt::control {
namespace {

using namespace bdev::store;
using Json = nlohmann::json;

/// A daemon with a pool "p" on a file of 64 MiB.
struct Machine {
    Machine() {
        image = daemon.write_file("disk.img", "");
        std::filesystem::resize_file(image, uint64_t{64} << 20U);
        boot();
        EXPECT_TRUE(
            daemon.result("bdev_lvol_create_lvstore", {{"bdev_name", "disk"}, {"lvs_name", "p"}})
                .is_string());
    }
    void boot() {
        daemon.start({});
        ASSERT_TRUE(daemon.wait_until_ready());
        EXPECT_EQ(daemon.result("bdev_uring_create", {{"filename", image}, {"name", "disk"}}),
                  "disk");
    }
    void restart() {
        daemon.signal(SIGTERM);
        EXPECT_EQ(daemon.wait(), 0) << daemon.output();
        boot();
    }
    /// Waits for the end of a transfer.
    [[nodiscard]] Json finish(const Json& id) const {
        for (int i = 0; i < 2000; ++i) {
            const Json transfers = daemon.result("bdev_store_get_transfers", {{"id", id}});
            if (transfers[0]["state"] != "running") {
                return transfers[0];
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
        ADD_FAILURE() << "transfer " << id << " does not end";
        return {};
    }
    [[nodiscard]] Json lvol(const std::string& name) const {
        for (const Json& one : daemon.result("bdev_lvol_get_lvols")) {
            if (one["name"] == name) {
                return one;
            }
        }
        return {};
    }

    DaemonProcess daemon;
    std::string image;
};

constexpr uint64_t kSizeBlocks = 4096;

bdev::Uuid uuid_of(uint8_t number) {
    bdev::Uuid uuid;
    uuid.bytes.fill(number);
    return uuid;
}

/// A stream of the snapshot `number` that tells to the one before that `count` blocks from `first`
/// on hold `value`.
std::string stream_of(uint8_t number, uint64_t first, uint32_t count, char value) {
    StreamBegin begin;
    begin.volume_uuid = uuid_of(9);
    begin.snapshot_uuid = uuid_of(number);
    begin.base_uuid = number == 1 ? bdev::Uuid{} : uuid_of(static_cast<uint8_t>(number - 1));
    begin.snapshot_name = "s" + std::to_string(number);
    begin.size_blocks = kSizeBlocks;
    begin.created_ns = 1'700'000'000'000'000'000;
    StreamWriter writer;
    std::string stream;
    const auto head = [&stream](const auto& put) {
        std::array<std::byte, kBlockBytes> block{};
        put(block);
        stream.append(reinterpret_cast<const char*>(block.data()), block.size());
    };
    head([&](std::span<std::byte> out) { writer.put_begin(begin, out); });
    const std::string content(kBlockBytes, value);
    for (const uint64_t end = first + count; first < end;) {
        const uint64_t now = std::min<uint64_t>(end - first, 256);
        const std::vector<uint32_t> crcs(now, crc32c(std::as_bytes(std::span(content))));
        const std::vector<ChangedRange> ranges{{first, now, false}};
        first += now;
        head([&](std::span<std::byte> out) { writer.put_changes(ranges, crcs, first, out); });
        for (uint64_t i = 0; i < now; ++i) {
            stream += content;
        }
    }
    head([&](std::span<std::byte> out) { writer.put_end(out); });
    return stream;
}

std::string text_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// What a stream says, but for who sends it and how it is cut into records.
struct Contents {
    std::string uuid;
    std::string base;
    uint64_t created_ns = 0;
    std::map<uint64_t, uint32_t> blocks;  ///< And their checksums.

    bool operator==(const Contents&) const = default;
};

Contents contents_of(const std::string& stream) {
    const auto bytes = std::as_bytes(std::span(stream));
    StreamReader reader;
    Contents contents;
    size_t at = 0;
    do {
        if (at + kBlockBytes > bytes.size() || !reader.take_head(bytes.subspan(at, kBlockBytes))) {
            ADD_FAILURE() << "cut off, or " << reader.problem();
            return contents;
        }
        at += kBlockBytes;
        const size_t data_bytes = size_t{reader.block_count()} * kBlockBytes;
        EXPECT_TRUE(reader.take_data(bytes.subspan(at, data_bytes)));
        at += data_bytes;
        size_t done = 0;
        for (const ChangedRange& range : reader.ranges()) {
            for (uint64_t block = range.first; block < range.end(); ++block) {
                contents.blocks[block] = range.is_hole ? 0 : reader.crcs()[done++];
            }
        }
    } while (reader.kind() != StreamKind::kEnd);
    EXPECT_EQ(at, bytes.size());
    contents.uuid = reader.begin().snapshot_uuid.to_string();
    contents.base = reader.begin().base_uuid.to_string();
    contents.created_ns = reader.begin().created_ns;
    return contents;
}

/// The first machine has a chain of two snapshots, which has come by streams of our own.
class TransferCalls : public testing::Test {
  protected:
    void SetUp() override {
        put("one", stream_of(1, 10, 600, 'a'));
        put("two", stream_of(2, 300, 500, 'b'));
    }
    void put(const std::string& name, const std::string& stream) const {
        const std::string path = from_.daemon.write_file(name, stream);
        const Json id =
            from_.daemon.result("bdev_lvol_receive", {{"path", path}, {"lvs_name", "p"}});
        const Json report = from_.finish(id);
        EXPECT_EQ(report["state"], "done") << report;
    }
    [[nodiscard]] Json send(const std::string& path, const Json& more) const {
        Json params{{"path", path}};
        params.update(more);
        return from_.daemon.result("bdev_lvol_send", params);
    }
    [[nodiscard]] Json receive(const std::string& path) const {
        return to_.daemon.result("bdev_lvol_receive", {{"path", path}, {"lvs_name", "p"}});
    }

    Machine from_;
    Machine to_;
};

TEST_F(TransferCalls, ThroughFilesAndAfterABreak) {
    const std::string one = from_.daemon.path("s1.stream");
    const std::string two = from_.daemon.path("s2.stream");
    EXPECT_EQ(from_.finish(send(one, {{"name", "p/s1"}}))["state"], "done");
    EXPECT_EQ(from_.finish(send(two, {{"name", "p/s2"}, {"since", "p/s1"}}))["state"], "done");
    EXPECT_EQ(contents_of(text_of(one)), contents_of(stream_of(1, 10, 600, 'a')));
    EXPECT_EQ(contents_of(text_of(two)), contents_of(stream_of(2, 300, 500, 'b')));
    EXPECT_EQ(to_.finish(receive(one))["state"], "done");
    const std::string cut = to_.daemon.write_file("cut", text_of(two).substr(0, 400 * kBlockBytes));
    const Json broken = to_.finish(receive(cut));
    EXPECT_EQ(broken["state"], "failed");
    EXPECT_EQ(broken["problem"], "the stream is cut off");
    to_.restart();
    const std::string token = to_.lvol("s2")["resume_token"];
    EXPECT_NE(token.substr(token.rfind('/')), "/0");
    EXPECT_EQ(to_.daemon.call("bdev_get_bdevs", {{"name", "p/s2"}})["error"]["code"], -19);
    const std::string rest = from_.daemon.path("rest");
    EXPECT_EQ(
        from_.finish(send(rest, {{"name", "p/s2"}, {"since", "p/s1"}, {"resume", token}}))["state"],
        "done");
    EXPECT_LT(std::filesystem::file_size(rest), std::filesystem::file_size(two));
    const Json last = to_.finish(receive(rest));
    EXPECT_EQ(last["state"], "done") << last;
    EXPECT_EQ(to_.lvol("s2")["uuid"], from_.lvol("s2")["uuid"]);
    EXPECT_EQ(to_.lvol("s2")["is_snapshot"], true);
    const std::string back = to_.daemon.path("back");
    const Json again = to_.daemon.result("bdev_lvol_send", {{"name", "p/s2"}, {"path", back}});
    EXPECT_EQ(to_.finish(again)["state"], "done");
    const std::string all = from_.daemon.path("all");
    EXPECT_EQ(from_.finish(send(all, {{"name", "p/s2"}}))["state"], "done");
    EXPECT_EQ(contents_of(text_of(back)), contents_of(text_of(all)));
    EXPECT_EQ(to_.daemon.result("bdev_store_check", {{"lvs_name", "p"}})["clean"], true);
    // A file that is there is not written over.
    const Json report = from_.finish(send(all, {{"name", "p/s1"}}));
    EXPECT_EQ(report["state"], "failed");
    EXPECT_NE(report["problem"].get<std::string>().find("the stream can't be opened"),
              std::string::npos);
}

TEST_F(TransferCalls, ThroughAPipeWhicheverSideIsFirst) {
    const std::string pipe = from_.daemon.path("pipe");
    ASSERT_EQ(mkfifo(pipe.c_str(), S_IRUSR | S_IWUSR), 0);
    const Json sending = send(pipe, {{"name", "p/s1"}});
    EXPECT_EQ(to_.finish(receive(pipe))["state"], "done");
    EXPECT_EQ(from_.finish(sending)["state"], "done");
    const Json receiving = receive(pipe);
    EXPECT_EQ(from_.finish(send(pipe, {{"name", "p/s2"}, {"since", "p/s1"}}))["state"], "done");
    EXPECT_EQ(to_.finish(receiving)["state"], "done");
    const std::string back = to_.daemon.path("back");
    const Json again =
        to_.daemon.result("bdev_lvol_send", {{"name", "p/s2"}, {"since", "p/s1"}, {"path", back}});
    EXPECT_EQ(to_.finish(again)["state"], "done");
    EXPECT_EQ(contents_of(text_of(back)), contents_of(stream_of(2, 300, 500, 'b')));
    // One that waits for ever is stopped, by hand or by the daemon's end.
    const Json waiting = receive(pipe);
    EXPECT_EQ(to_.daemon.call("bdev_store_close", {{"lvs_name", "p"}})["error"]["code"], -16);
    EXPECT_EQ(to_.daemon.result("bdev_store_stop_transfer", {{"id", waiting}}), true);
    EXPECT_EQ(to_.finish(waiting)["state"], "stopped");
    EXPECT_EQ(to_.daemon.call("bdev_store_stop_transfer", {{"id", waiting}})["error"]["code"], -19);
    EXPECT_TRUE(receive(pipe).is_number());
    to_.restart();
}

TEST_F(TransferCalls, BadParametersAreRefusedWithWords) {
    const auto code = [this](const std::string& method, const Json& params) {
        return from_.daemon.call(method, params)["error"]["code"].get<int64_t>();
    };
    const std::string path = from_.daemon.path("x");
    EXPECT_EQ(code("bdev_lvol_send", {{"name", "p/none"}, {"path", path}}), -19);
    EXPECT_EQ(code("bdev_lvol_send", {{"name", "p/s1"}, {"path", path}, {"since", "p/s2"}}),
              -32602);
    EXPECT_EQ(code("bdev_lvol_send", {{"name", "p/s1"}, {"path", path}, {"resume", "x"}}), -32602);
    EXPECT_EQ(code("bdev_lvol_receive", {{"path", path}, {"lvs_name", "q"}}), -19);
    EXPECT_EQ(code("bdev_lvol_stop_inflate", {{"name", "p/s1"}}), -19);
    EXPECT_FALSE(std::filesystem::exists(path));
    const Json missing =
        from_.finish(from_.daemon.result("bdev_lvol_receive", {{"path", path}, {"lvs_name", "p"}}));
    EXPECT_EQ(missing["problem"], "the stream can't be opened: no such object");
}

}  // namespace
}  // namespace basalt::control
