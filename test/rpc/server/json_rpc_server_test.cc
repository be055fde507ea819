#include "rpc/server/json_rpc_server.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "rpc/limits.h"
#include "rpc/proto/bdev.pb.h"
#include "rpc/proto/nvmf.pb.h"
#include "test/reactor/log_capture.h"

namespace basalt::rpc {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kPatience = std::chrono::seconds(20);

// Answers deletes at once, keeps lists until the test answers them.
class Handlers {
  public:
    explicit Handlers(MethodTable& table) {
        table.add("bdev_malloc_delete", *this, &Handlers::bdev_malloc_delete);
        table.add("bdev_get_bdevs", *this, &Handlers::bdev_get_bdevs);
        table.add("nvmf_subsystem_add_ns", *this, &Handlers::nvmf_subsystem_add_ns);
    }
    void bdev_malloc_delete(const v1::BdevMallocDeleteRequest& request, Reply<v1::Done> reply) {
        deleted.push_back(request.name());
        reply.send();
    }
    void bdev_get_bdevs(const v1::BdevGetBdevsRequest&, Reply<v1::BdevGetBdevsResponse> reply) {
        waiting.push_back(std::move(reply));
    }
    void nvmf_subsystem_add_ns(const v1::NvmfSubsystemAddNsRequest& request,
                               Reply<v1::NvmfSubsystemAddNsResponse> reply) {
        reply.result().set_nsid(request.namespace_().nsid());
        reply.send();
    }
    std::vector<std::string> deleted;
    std::vector<Reply<v1::BdevGetBdevsResponse>> waiting;
};

// A blocking-free client; the test turns server and client by hand in one thread.
class Client {
  public:
    explicit Client(int fd) : fd_(fd) {}
    Client(Client&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;
    ~Client() {
        if (fd_ >= 0) {
            ::close(fd_);
        }
    }
    // Sends as much as the socket takes; returns how much that was.
    size_t send_some(std::string_view bytes) const {
        const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        return sent < 0 ? 0 : static_cast<size_t>(sent);
    }
    // Appends what has arrived to `text`; true at the end of the stream.
    bool receive(std::string& text) const {
        char bytes[65536];
        const ssize_t count = ::recv(fd_, bytes, sizeof(bytes), MSG_DONTWAIT);
        if (count > 0) {
            text.append(bytes, static_cast<size_t>(count));
        }
        return count == 0 || (count < 0 && errno != EAGAIN);
    }
    void end_sending() const { ::shutdown(fd_, SHUT_WR); }

  private:
    int fd_;
};

class JsonRpcServerTest : public testing::Test {
  protected:
    JsonRpcServerTest() {
        char name[] = "/tmp/basalt-rpc-XXXXXX";
        directory_ = ::mkdtemp(name);
        path_ = directory_ + "/rpc.sock";
        server_ = JsonRpcServer::create(table_).value().release();
        EXPECT_TRUE(server_->listen_unix(path_));
    }
    ~JsonRpcServerTest() override {
        delete server_;
        std::filesystem::remove_all(directory_);
    }

    Client connect() const {
        const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path_.copy(address.sun_path, sizeof(address.sun_path) - 1);
        EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
        return Client(fd);
    }

    // Runs the server until `done` or the end of patience.
    template <typename Done>
    bool run_until(const Done& done) {
        const auto deadline = Clock::now() + kPatience;
        while (!done()) {
            if (Clock::now() > deadline) {
                return false;
            }
            pollfd ready{server_->poll_fd(), POLLIN, 0};
            if (::poll(&ready, 1, 1) > 0) {
                server_->process_ready();
            }
        }
        return true;
    }

    void run_rounds(int rounds) {
        run_until([&] { return rounds-- == 0; });
    }

    // Sends `request` and returns the first line of the answer.
    std::string ask(const Client& client, std::string_view request) {
        std::string answer;
        const bool is_answered = run_until([&] {
            request.remove_prefix(client.send_some(request));
            client.receive(answer);
            return answer.find('\n') != std::string::npos;
        });
        EXPECT_TRUE(is_answered) << answer;
        return answer.substr(0, answer.find('\n'));
    }

    static std::string deletion(const std::string& id, const std::string& name) {
        return R"({"jsonrpc":"2.0","method":"bdev_malloc_delete","id":)" + id +
               R"(,"params":{"name":")" + name + "\"}}";
    }

    std::string directory_;
    std::string path_;
    MethodTable table_;
    Handlers handlers_{table_};
    JsonRpcServer* server_ = nullptr;
};

constexpr const char* kList = R"({"jsonrpc":"2.0","method":"bdev_get_bdevs","id":"l"})";

TEST_F(JsonRpcServerTest, AnswersARequestWithItsId) {
    const Client client = connect();
    EXPECT_EQ(ask(client, deletion("1", "a")), R"({"jsonrpc":"2.0","id":1,"result":true})");
    EXPECT_EQ(ask(client, deletion("\"x\"", "a")), R"({"jsonrpc":"2.0","id":"x","result":true})");
    EXPECT_EQ(ask(client, deletion("null", "a")), R"({"jsonrpc":"2.0","id":null,"result":true})");
    EXPECT_EQ(ask(client,
                  R"({"jsonrpc":"2.0","id":5,"method":"nvmf_subsystem_add_ns",)"
                  R"("params":{"nqn":"n","namespace":{"bdev_name":"b","nsid":4}}})"),
              R"({"jsonrpc":"2.0","id":5,"result":4})");
}

TEST_F(JsonRpcServerTest, AnswersConcatenatedRequestsSplitAtEveryByte) {
    const std::string stream = deletion("1", "a") + deletion("2", "b") + "\n " + deletion("3", "c");
    for (size_t cut = 1; cut < stream.size(); ++cut) {
        const Client client = connect();
        std::string answer;
        ASSERT_EQ(client.send_some(stream.substr(0, cut)), cut);
        run_rounds(3);
        ASSERT_EQ(client.send_some(stream.substr(cut)), stream.size() - cut);
        ASSERT_TRUE(run_until([&] {
            client.receive(answer);
            return std::count(answer.begin(), answer.end(), '\n') == 3;
        })) << cut;
    }
    EXPECT_EQ(handlers_.deleted.size(), 3 * (stream.size() - 1));
}

TEST_F(JsonRpcServerTest, SaysWhatIsWrongWithARequest) {
    const Client client = connect();
    EXPECT_NE(ask(client, R"({"jsonrpc":"2.0","method":"nope","id":1})").find("-32601"),
              std::string::npos);
    EXPECT_NE(ask(client, R"({"jsonrpc":"2.0","method":7,"id":1})").find("-32600"),
              std::string::npos);
    EXPECT_NE(ask(client, R"({"method":"bdev_get_bdevs","id":1})").find("-32600"),
              std::string::npos);
    EXPECT_NE(ask(client, R"({"jsonrpc":"2.0","method":"bdev_get_bdevs","id":[]})").find("-32600"),
              std::string::npos);
    EXPECT_NE(ask(client, R"({"jsonrpc":"2.0","method":"bdev_get_bdevs","id":1,"params":{"x":1}})")
                  .find("parameter 'x' is unknown"),
              std::string::npos);
    // None of that spoils the connection.
    EXPECT_EQ(ask(client, deletion("9", "a")), R"({"jsonrpc":"2.0","id":9,"result":true})");
}

TEST_F(JsonRpcServerTest, AnswersABatchInOneArrayAndNotificationsNotAtAll) {
    const Client client = connect();
    EXPECT_EQ(ask(client,
                  "[" + deletion("1", "a") + R"(,{"jsonrpc":"2.0",)" +
                      R"("method":"bdev_malloc_delete","params":{"name":"quiet"}},1,)" +
                      deletion("2", "b") + "]"),
              R"([{"jsonrpc":"2.0","id":1,"result":true},)"
              R"({"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":)"
              R"("a request must be an object"}},{"jsonrpc":"2.0","id":2,"result":true}])");
    EXPECT_EQ(handlers_.deleted, (std::vector<std::string>{"a", "quiet", "b"}));
    EXPECT_NE(ask(client, "[]").find("an empty batch"), std::string::npos);
    std::string many = "[0";
    for (size_t i = 0; i < kBatchMax; ++i) {
        many += ",0";
    }
    EXPECT_NE(ask(client, many + "]").find("at most 1024"), std::string::npos);
    // A batch of notifications only, then a request: the request's answer is the first.
    EXPECT_EQ(ask(client, R"([{"jsonrpc":"2.0","method":"nope"}])" + deletion("3", "c")),
              R"({"jsonrpc":"2.0","id":3,"result":true})");
}

TEST_F(JsonRpcServerTest, AnswersABatchWhenItsSlowestCallIsDone) {
    const Client client = connect();
    const std::string batch = std::string("[") + kList + "," + deletion("1", "a") + "]";
    ASSERT_EQ(client.send_some(batch), batch.size());
    ASSERT_TRUE(run_until([&] { return handlers_.waiting.size() == 1; }));
    handlers_.waiting[0].fail(Error(Errc::kBusy), "list");
    EXPECT_EQ(ask(client, ""),
              R"([{"jsonrpc":"2.0","id":1,"result":true},{"jsonrpc":"2.0","id":"l",)"
              R"("error":{"code":-16,"message":"list: )" +
                  std::string(describe(Errc::kBusy)) + "\"}}]");
}

TEST_F(JsonRpcServerTest, AnswersLaterWithoutHoldingUpOtherClients) {
    const Client slow = connect();
    ASSERT_GT(slow.send_some(kList), 0U);
    ASSERT_TRUE(run_until([&] { return handlers_.waiting.size() == 1; }));
    EXPECT_FALSE(server_->is_idle());
    EXPECT_EQ(ask(connect(), deletion("1", "a")), R"({"jsonrpc":"2.0","id":1,"result":true})");
    handlers_.waiting[0].result().add_bdevs()->set_name("b");
    handlers_.waiting[0].send();
    EXPECT_NE(ask(slow, "").find(R"("id":"l","result":[{"name":"b")"), std::string::npos);
    EXPECT_TRUE(server_->is_idle());
}

TEST_F(JsonRpcServerTest, SurvivesAClientThatLeavesBeforeTheAnswer) {
    {
        const Client client = connect();
        ASSERT_GT(client.send_some(kList), 0U);
        ASSERT_TRUE(run_until([&] { return handlers_.waiting.size() == 1; }));
    }
    ASSERT_TRUE(run_until([&] { return server_->connection_count() == 0; }));
    handlers_.waiting[0].send();
    EXPECT_EQ(ask(connect(), deletion("1", "a")), R"({"jsonrpc":"2.0","id":1,"result":true})");
}

TEST_F(JsonRpcServerTest, AnswersAClientThatHasClosedItsSendingSide) {
    const Client client = connect();
    const std::string request = kList + deletion("1", "a");
    ASSERT_EQ(client.send_some(request), request.size());
    client.end_sending();
    ASSERT_TRUE(run_until([&] { return handlers_.waiting.size() == 1; }));
    handlers_.waiting[0].send();
    std::string answer;
    ASSERT_TRUE(run_until([&] { return client.receive(answer); }));
    EXPECT_EQ(std::count(answer.begin(), answer.end(), '\n'), 2);
    EXPECT_EQ(server_->connection_count(), 0U);
}

TEST_F(JsonRpcServerTest, DoesWhatAClientAskedThatLeftAtOnce) {
    { ASSERT_GT(connect().send_some(deletion("1", "gone")), 0U); }
    ASSERT_TRUE(run_until([&] { return handlers_.deleted.size() == 1; }));
    ASSERT_TRUE(run_until([&] { return server_->connection_count() == 0; }));
}

TEST_F(JsonRpcServerTest, AnswersGarbageWithAParseErrorAndCloses) {
    for (const char* garbage : {"GET / HTTP/1.1\r\n\r\n",
                                "{\"a\":}",
                                "{\"a\" 1}",
                                "[1,]",
                                "{]",
                                "{\"a\":\"\xff\xfe\"}",
                                "{\"a\":1e999}",
                                "\x16\x03\x01"}) {
        const Client client = connect();
        ASSERT_GT(client.send_some(garbage), 0U);
        std::string answer;
        ASSERT_TRUE(run_until([&] { return client.receive(answer); })) << garbage;
        EXPECT_NE(answer.find(R"("id":null,"error":{"code":-32700)"), std::string::npos) << garbage;
    }
}

TEST_F(JsonRpcServerTest, RefusesDeepNestingWithAParseError) {
    const Client client = connect();
    std::string deep = R"({"jsonrpc":"2.0","id":1,"method":"load_config","params":)";
    deep += std::string(100000, '[');
    std::string_view rest = deep;
    std::string answer;
    ASSERT_TRUE(run_until([&] {
        rest.remove_prefix(client.send_some(rest));
        return client.receive(answer);
    }));
    EXPECT_NE(answer.find("-32700"), std::string::npos);
    EXPECT_NE(answer.find("nest"), std::string::npos);
}

TEST_F(JsonRpcServerTest, RefusesAHundredMegabytesAndStillDeliversTheError) {
    const LogCapture log;
    const Client client = connect();
    const std::string block(1 << 20, 'x');
    std::string_view head = R"({"jsonrpc":"2.0","id":1,"method":")";
    size_t left = 100;
    std::string_view rest = block;
    std::string answer;
    // The client reads nothing until it has sent everything.
    ASSERT_TRUE(run_until([&] {
        if (!head.empty()) {
            head.remove_prefix(client.send_some(head));
        } else if (!rest.empty()) {
            rest.remove_prefix(client.send_some(rest));
        } else if (--left > 0) {
            rest = block;
        }
        return left == 0;
    }));
    ASSERT_TRUE(run_until([&] { return client.receive(answer); }));
    EXPECT_NE(answer.find(R"("code":-32600)"), std::string::npos) << answer;
    EXPECT_EQ(log.count(LogLevel::kWarn, "rpc", {"connection 1000: closing", "at most", "bytes"}),
              1U)
        << log;
    EXPECT_EQ(ask(connect(), deletion("1", "a")), R"({"jsonrpc":"2.0","id":1,"result":true})");
}

TEST_F(JsonRpcServerTest, LogsWhatItRefusesWithIds) {
    const LogCapture log;
    const Client client = connect();
    ask(client, R"({"jsonrpc":"2.0","method":"no\npe","id":"x1"})");
    EXPECT_EQ(log.count(LogLevel::kInfo,
                        "rpc",
                        {"connection 1000, request \"x1\": no?pe refused: ", "(-32601)"}),
              1U)
        << log;
    ask(client, R"({"jsonrpc":"2.0","method":"bdev_get_bdevs","id":7,"params":{"x":1}})");
    EXPECT_EQ(log.count(LogLevel::kInfo,
                        "rpc",
                        {"connection 1000, request 7: bdev_get_bdevs refused: ", "'x'"}),
              1U)
        << log;
    ask(client, R"({"jsonrpc":"1.0","id":8})");
    EXPECT_EQ(log.count(LogLevel::kInfo, "rpc", {"connection 1000, ", "(-32600)"}), 1U) << log;
    ASSERT_GT(client.send_some(kList), 0U);
    ASSERT_TRUE(run_until([&] { return handlers_.waiting.size() == 1; }));
    handlers_.waiting[0].fail(Error(Errc::kBusy), "list");
    ask(client, "");
    EXPECT_EQ(log.count(LogLevel::kInfo,
                        "rpc",
                        {"connection 1000, request \"l\": bdev_get_bdevs refused: list"}),
              1U)
        << log;
    const Client other = connect();
    ask(other, "no JSON");
    EXPECT_EQ(log.count(LogLevel::kWarn, "rpc", {"connection 1001: closing: ", "not JSON-RPC"}), 1U)
        << log;
}

TEST_F(JsonRpcServerTest, StopsReadingFromAClientThatOwesItTooManyAnswers) {
    const Client client = connect();
    std::string requests;
    for (size_t i = 0; i < 2 * kOutstandingPerConnectionMax; ++i) {
        requests += kList;
    }
    ASSERT_EQ(client.send_some(requests), requests.size());
    run_rounds(50);
    EXPECT_EQ(handlers_.waiting.size(), kOutstandingPerConnectionMax);
    handlers_.waiting[0].send();
    ASSERT_TRUE(
        run_until([&] { return handlers_.waiting.size() == kOutstandingPerConnectionMax + 1; }));
    for (size_t i = 1; i < handlers_.waiting.size(); ++i) {
        handlers_.waiting[i].send();
    }
    ASSERT_TRUE(
        run_until([&] { return handlers_.waiting.size() == 2 * kOutstandingPerConnectionMax; }));
}

TEST_F(JsonRpcServerTest, HoldsAnswersBackFromAClientThatDoesNotRead) {
    const Client client = connect();
    std::string requests;
    for (size_t i = 0; i < 8; ++i) {
        requests += kList;
    }
    ASSERT_EQ(client.send_some(requests), requests.size());
    ASSERT_TRUE(run_until([&] { return handlers_.waiting.size() == 8; }));
    for (auto& reply : handlers_.waiting) {
        reply.result().add_bdevs()->set_name(std::string(kOutputBytesMax / 4, 'n'));
        reply.send();
    }
    EXPECT_EQ(ask(connect(), deletion("1", "a")), R"({"jsonrpc":"2.0","id":1,"result":true})");
    // Counted piece by piece: the whole is long.
    size_t bytes = 0;
    ptrdiff_t lines = 0;
    ASSERT_TRUE(run_until([&] {
        std::string piece;
        client.receive(piece);
        bytes += piece.size();
        lines += std::count(piece.begin(), piece.end(), '\n');
        return lines == 8;
    }));
    EXPECT_GT(bytes, 8 * kOutputBytesMax / 4);
}

TEST_F(JsonRpcServerTest, MakesRoomForANewClientByClosingTheLeastActive) {
    std::vector<Client> idle;
    for (size_t i = 0; i < kConnectionsMax; ++i) {
        idle.push_back(connect());
        ASSERT_GT(idle.back().send_some("{\"half\":"), 0U);
        ASSERT_TRUE(run_until([&] { return server_->connection_count() == i + 1; }));
    }
    ASSERT_EQ(ask(connect(), deletion("1", "a")), R"({"jsonrpc":"2.0","id":1,"result":true})");
    std::string ignored;
    EXPECT_TRUE(run_until([&] { return idle.front().receive(ignored); }));
    EXPECT_FALSE(idle.back().receive(ignored));
}

TEST_F(JsonRpcServerTest, LetsANewClientWaitWhileAllOthersAreOwedAnswers) {
    std::vector<Client> busy;
    for (size_t i = 0; i < kConnectionsMax; ++i) {
        busy.push_back(connect());
        ASSERT_GT(busy.back().send_some(kList), 0U);
        ASSERT_TRUE(run_until([&] { return handlers_.waiting.size() == i + 1; }));
    }
    const Client late = connect();
    const std::string request = deletion("1", "late");
    ASSERT_EQ(late.send_some(request), request.size());
    run_rounds(50);
    EXPECT_TRUE(handlers_.deleted.empty());
    handlers_.waiting[3].send();
    EXPECT_EQ(ask(late, ""), R"({"jsonrpc":"2.0","id":1,"result":true})");
}

TEST_F(JsonRpcServerTest, GivesTheSocketFileToItsOwnerOnly) {
    struct stat info {};
    ASSERT_EQ(::stat(path_.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600U);
}

TEST_F(JsonRpcServerTest, RefusesAPathOnWhichAnotherListens) {
    auto other = JsonRpcServer::create(table_);
    EXPECT_EQ((*other)->listen_unix(path_), Status(Errc::kAddressInUse));
    // Also if the other does not know our lock file.
    std::filesystem::remove(path_ + ".lock");
    EXPECT_EQ((*other)->listen_unix(path_), Status(Errc::kAddressInUse));
    EXPECT_EQ(ask(connect(), deletion("1", "a")), R"({"jsonrpc":"2.0","id":1,"result":true})");
}

TEST_F(JsonRpcServerTest, ReplacesAStaleSocketButNoOtherFile) {
    const std::string stale = directory_ + "/stale.sock";
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    stale.copy(address.sun_path, sizeof(address.sun_path) - 1);
    ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    ::close(fd);
    EXPECT_TRUE(server_->listen_unix(stale));
    const std::string file = directory_ + "/file";
    std::ofstream(file) << "precious";
    EXPECT_EQ(server_->listen_unix(file), Status(Errc::kExists));
    EXPECT_TRUE(std::filesystem::is_regular_file(file));
    EXPECT_EQ(server_->listen_unix(std::string(200, 'x')), Status(Errc::kInvalidArgument));
}

TEST_F(JsonRpcServerTest, RemovesTheSocketFileAtTheEnd) {
    server_->stop_listening();
    EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(JsonRpcServerTest, ServesLoopbackTcpAndRefusesOtherAddresses) {
    ASSERT_TRUE(server_->listen_tcp("127.0.0.1", 0));
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(server_->tcp_port());
    ASSERT_EQ(::inet_pton(AF_INET, "127.0.0.1", &address.sin_addr), 1);
    ASSERT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(ask(Client(fd), deletion("1", "a")), R"({"jsonrpc":"2.0","id":1,"result":true})");
    for (const char* open : {"0.0.0.0", "10.0.0.1", "::", "fe80::1", "128.0.0.1"}) {
        EXPECT_EQ(server_->listen_tcp(open, 0), Status(Errc::kPermissionDenied)) << open;
    }
    EXPECT_EQ(server_->listen_tcp("localhost", 0), Status(Errc::kInvalidArgument));
}

}  // namespace
}  // namespace basalt::rpc
