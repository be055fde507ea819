#include "test/control/metadata/etcd_process.h"

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/control/free_port.h"

namespace basalt::metadata {
namespace fs = std::filesystem;

TestFolder::TestFolder() {
    const fs::path memory = "/dev/shm";
    const bool has_memory = access(memory.c_str(), W_OK) == 0;
    const fs::path parent = has_memory ? memory : fs::temp_directory_path();
    std::string name = (parent / "metadata.XXXXXX").string();
    path_ = mkdtemp(name.data());
}

TestFolder::~TestFolder() {
    fs::remove_all(path_);
}

EtcdCluster::EtcdCluster(const EtcdClusterOptions& options)
    : options_(options), members_(options.members) {
    for (Member& one : members_) {
        one.client_port = control::find_free_port();
        one.peer_port = control::find_free_port();
    }
    if (options_.has_tls) {
        make_certificates();
    }
    for (size_t i = 0; i < members_.size(); ++i) {
        start(i);
    }
}

EtcdCluster::~EtcdCluster() {
    for (size_t i = 0; i < members_.size(); ++i) {
        kill(i);
    }
}

std::vector<std::string> EtcdCluster::endpoints() const {
    std::vector<std::string> endpoints;
    for (const Member& one : members_) {
        endpoints.push_back("127.0.0.1:" + std::to_string(one.client_port));
    }
    return endpoints;
}

std::string EtcdCluster::content(const std::string& name) const {
    std::ostringstream content;
    content << std::ifstream(path(name)).rdbuf();
    return content.str();
}

std::vector<std::string> EtcdCluster::arguments(size_t member) const {
    const auto name = [](size_t i) { return "m" + std::to_string(i); };
    const auto peer = [this](size_t i) {
        return "http://127.0.0.1:" + std::to_string(members_[i].peer_port);
    };
    std::string all;
    for (size_t i = 0; i < members_.size(); ++i) {
        all += (i == 0 ? "" : ",") + name(i) + "=" + peer(i);
    }
    const std::string client = (options_.has_tls ? "https://127.0.0.1:" : "http://127.0.0.1:") +
                               std::to_string(members_[member].client_port);
    std::vector<std::string> arguments{
        "etcd",
        "--name=" + name(member),
        "--data-dir=" + path(name(member)).string(),
        "--listen-client-urls=" + client,
        "--advertise-client-urls=" + client,
        "--listen-peer-urls=" + peer(member),
        "--initial-advertise-peer-urls=" + peer(member),
        "--initial-cluster=" + all,
        "--heartbeat-interval=" + std::to_string(options_.election_timeout_ms / 10),
        "--election-timeout=" + std::to_string(options_.election_timeout_ms),
        "--logger=zap"};
    if (options_.quota_bytes != 0) {
        arguments.push_back("--quota-backend-bytes=" + std::to_string(options_.quota_bytes));
    }
    if (options_.has_tls) {
        arguments.push_back("--client-cert-auth");
        arguments.push_back("--trusted-ca-file=" + path("authority.pem").string());
        arguments.push_back("--cert-file=" + path("server.pem").string());
        arguments.push_back("--key-file=" + path("server.key").string());
    }
    return arguments;
}

void EtcdCluster::start(size_t member) {
    std::vector<std::string> texts = arguments(member);
    std::vector<char*> pointers;
    pointers.reserve(texts.size() + 1);
    for (std::string& one : texts) {
        pointers.push_back(one.data());
    }
    pointers.push_back(nullptr);
    const std::string log = path("log" + std::to_string(member));
    const pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);  // A test that aborts leaves nothing behind.
        const int fd = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
        execvp(pointers[0], pointers.data());
        _exit(127);
    }
    ASSERT_GT(pid, 0);
    members_[member].pid = pid;
}

void EtcdCluster::kill(size_t member) {
    if (members_[member].pid > 0) {
        ::kill(members_[member].pid, SIGKILL);
        waitpid(members_[member].pid, nullptr, 0);
        members_[member].pid = -1;
    }
}

/// An authority, what it signs for the server and for a client, and a stranger to it.
void EtcdCluster::make_certificates() const {
    const std::string script =
        "cd " + path("").string() +
        " && exec 2>certificates.log && set -e\n"
        "key() { openssl ecparam -genkey -name prime256v1 -noout -out $1.key; }\n"
        "authority() { key $1; openssl req -x509 -new -key $1.key -subj /CN=$1 -days 2 "
        "-out $1.pem; }\n"
        "signed() { key $1; openssl req -new -key $1.key -subj /CN=$1 -out $1.csr\n"
        "  printf 'subjectAltName=IP:127.0.0.1' > $1.ext\n"
        "  openssl x509 -req -in $1.csr -CA authority.pem -CAkey authority.key -CAcreateserial "
        "-days 2 -extfile $1.ext -out $1.pem; }\n"
        "authority authority; authority stranger; signed server; signed client\n";
    // NOLINTNEXTLINE(cert-env33-c): a test's own script.
    ASSERT_EQ(std::system(script.c_str()), 0) << content("certificates.log");
}

}  // namespace basalt::metadata
