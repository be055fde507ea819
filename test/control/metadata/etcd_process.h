#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <sys/types.h>

namespace basalt::metadata {

/// A folder of its own in memory or, where that can't be had, on disk; removed at the end.
class TestFolder {
  public:
    TestFolder();
    TestFolder(const TestFolder&) = delete;
    TestFolder& operator=(const TestFolder&) = delete;
    ~TestFolder();

    [[nodiscard]] std::filesystem::path operator/(const std::string& name) const {
        return path_ / name;
    }

  private:
    std::filesystem::path path_;
};

/// How an EtcdCluster's members are started. A value.
struct EtcdClusterOptions {
    size_t members = 1;
    /// Short, so that leases may be: etcd gives none of less than 1.5 times this, in whole seconds.
    uint32_t election_timeout_ms = 200;
    uint64_t quota_bytes = 0;  ///< 0: etcd's.
    bool has_tls = false;      ///< With certificates on both sides, of make_certificates().
};

/// The members of an etcd of Debian's package etcd-server, as processes on loopback.
class EtcdCluster {
  public:
    explicit EtcdCluster(const EtcdClusterOptions& options = {});
    EtcdCluster(const EtcdCluster&) = delete;
    EtcdCluster& operator=(const EtcdCluster&) = delete;
    ~EtcdCluster();

    [[nodiscard]] std::vector<std::string> endpoints() const;
    [[nodiscard]] std::filesystem::path path(const std::string& name) const {
        return folder_ / name;
    }
    /// What a file of the folder holds.
    [[nodiscard]] std::string content(const std::string& name) const;

    void start(size_t member);
    /// At once, with SIGKILL.
    void kill(size_t member);

  private:
    struct Member {
        uint16_t client_port = 0;
        uint16_t peer_port = 0;
        pid_t pid = -1;
    };

    [[nodiscard]] std::vector<std::string> arguments(size_t member) const;
    void make_certificates() const;

    const EtcdClusterOptions options_;
    TestFolder folder_;
    std::vector<Member> members_;
};

}  // namespace basalt::metadata
