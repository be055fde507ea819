#include "test/control/daemon_process.h"

#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

namespace basalt::control {

namespace {

// Connected to the daemon, or -1.
int connect_to(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, static_cast<sockaddr*>(static_cast<void*>(&address)), sizeof(address)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

}  // namespace

DaemonProcess::DaemonProcess() {
    directory_ = "/tmp/basaltd-test-XXXXXX";
    EXPECT_NE(mkdtemp(directory_.data()), nullptr);
}

DaemonProcess::~DaemonProcess() {
    if (pid_ > 0) {
        kill(pid_, SIGKILL);
        static_cast<void>(wait());
    }
    if (testing::Test::HasFailure()) {
        std::fputs(output().c_str(), stderr);
    }
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
}

std::string DaemonProcess::write_file(const std::string& name, const std::string& text) const {
    std::ofstream(path(name)) << text;
    return path(name);
}

void DaemonProcess::start(std::vector<std::string> arguments) {
    start_on(socket_path(), std::move(arguments));
}

void DaemonProcess::start_on(const std::string& socket_path, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {BASALTD_PATH, "-r", socket_path});
    std::vector<char*> pointers;
    pointers.reserve(arguments.size() + 1);
    for (std::string& argument : arguments) {
        pointers.push_back(argument.data());
    }
    pointers.push_back(nullptr);
    const std::string log = path("log");
    std::filesystem::remove(log);  // What an earlier life said must not be taken for this one's.
    pid_ = fork();
    if (pid_ == 0) {
        const int fd = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
        execv(pointers[0], pointers.data());
        _exit(127);
    }
    ASSERT_GT(pid_, 0);
}

bool DaemonProcess::wait_until_ready() {
    // Sanitizer builds on a busy machine take seconds to start.
    for (int i = 0; i < 6000; ++i) {
        if (output().find("is ready") != std::string::npos) {
            return true;
        }
        siginfo_t info{};
        if (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            info.si_pid != 0) {
            return false;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
}

void DaemonProcess::signal(int number) const {
    kill(pid_, number);
}

int DaemonProcess::wait() {
    int status = 0;
    EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int DaemonProcess::run(std::vector<std::string> arguments) {
    start(std::move(arguments));
    return wait();
}

int DaemonProcess::run_on(const std::string& socket_path) {
    start_on(socket_path, {});
    return wait();
}

std::string DaemonProcess::output() const {
    std::ostringstream text;
    text << std::ifstream(path("log")).rdbuf();
    return text.str();
}

nlohmann::json DaemonProcess::call(const std::string& method, const nlohmann::json& params) const {
    nlohmann::json request{{"jsonrpc", "2.0"}, {"id", 1}, {"method", method}};
    if (!params.is_null()) {
        request["params"] = params;
    }
    const int fd = connect_to(socket_path());
    if (fd < 0) {
        return {{"error", {{"message", "nobody listens"}}}};
    }
    const std::string text = request.dump();
    EXPECT_EQ(send(fd, text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
    std::string answer;
    std::array<char, 65536> chunk{};
    while (!nlohmann::json::accept(answer)) {
        const ssize_t size = recv(fd, chunk.data(), chunk.size(), 0);
        if (size <= 0) {
            answer = R"({"error": {"message": "connection closed"}})";
            break;
        }
        answer.append(chunk.data(), static_cast<size_t>(size));
    }
    close(fd);
    return nlohmann::json::parse(answer);
}

nlohmann::json DaemonProcess::result(const std::string& method,
                                     const nlohmann::json& params) const {
    const nlohmann::json response = call(method, params);
    if (!response.contains("result")) {
        ADD_FAILURE() << method << ": " << response.dump();
        return {};
    }
    return response["result"];
}

std::string DaemonProcess::error(const std::string& method, const nlohmann::json& params) const {
    const nlohmann::json response = call(method, params);
    return response.contains("error") ? response["error"]["message"].get<std::string>() : "";
}

}  // namespace basalt::control
