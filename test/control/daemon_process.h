#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <sys/types.h>

namespace basalt::control {

/// A basaltd under test: a process of its own with a directory of its own, killed and removed at
/// the end.
class DaemonProcess {
  public:
    DaemonProcess();
    DaemonProcess(const DaemonProcess&) = delete;
    DaemonProcess& operator=(const DaemonProcess&) = delete;
    ~DaemonProcess();

    /// A path in the directory.
    [[nodiscard]] std::string path(const std::string& name) const {
        return directory_ + "/" + name;
    }
    [[nodiscard]] std::string socket_path() const { return path("rpc.sock"); }

    /// Writes a file into the directory; returns its path.
    std::string write_file(const std::string& name, const std::string& text) const;

    /// Starts the program on socket_path() with these arguments besides.
    void start(std::vector<std::string> arguments);

    /// Waits until the API answers, or the process has ended (then false).
    [[nodiscard]] bool wait_until_ready();

    void signal(int number) const;

    /// Waits for the end; the exit status, or 128 + the number of the signal that killed it.
    [[nodiscard]] int wait();

    /// start() and wait().
    [[nodiscard]] int run(std::vector<std::string> arguments);

    /// The same on another daemon's socket.
    [[nodiscard]] int run_on(const std::string& socket_path);

    /// What it wrote to standard output and standard error so far.
    [[nodiscard]] std::string output() const;

    /// Makes one call; the whole response.
    [[nodiscard]] nlohmann::json call(const std::string& method,
                                      const nlohmann::json& params = nlohmann::json()) const;

    /// The result of a call; records a test failure and returns null if it failed.
    [[nodiscard]] nlohmann::json result(const std::string& method,
                                        const nlohmann::json& params = nlohmann::json()) const;

    /// The message of a call's error; empty if it succeeded.
    [[nodiscard]] std::string error(const std::string& method,
                                    const nlohmann::json& params = nlohmann::json()) const;

  private:
    void start_on(const std::string& socket_path, std::vector<std::string> arguments);

    std::string directory_;
    pid_t pid_ = -1;
};

}  // namespace basalt::control
