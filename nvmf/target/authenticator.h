#pragma once

#include <string>
#include <string_view>

#include "nvmf/auth/target_exchange.h"
#include "nvmf/target/options.h"
#include "reactor/reactor.h"
#include "reactor/task.h"

namespace basalt::nvmf {

/// Where the secrets of hosts are. Core: the control thread.
class HostSecrets {
  public:
    virtual ~HostSecrets() = default;
    /// What is configured for the host at this moment; empty for what is not, or can't be read.
    [[nodiscard]] virtual TargetSecrets secrets_of(SubsystemId subsystem,
                                                   std::string_view host_nqn) = 0;
    /// Makes a key for TLS that an authentication has given known to all reactors.
    [[nodiscard]] virtual Task<void> publish_psk(SubsystemId subsystem,
                                                 std::string host_nqn,
                                                 Secret psk) = 0;
};

/// A message of a host, on its way to the control thread and back. Owner: who sends it; a poll
/// group allocates one for each message, which is rare.
struct AuthJob : Event {
    TargetExchange* exchange = nullptr;  ///< The job has it alone until it is home.
    SubsystemId subsystem;
    ByteView message;          ///< In the request's buffer, which stays.
    Run return_run = nullptr;  ///< What runs at home.
    CoreId home;
};

/// Does the expensive part of authentications, on the control thread so that no reactor stands
/// still meanwhile: up to 50 ms for each of a host's two messages. One job a turn, in the order in
/// which they come, so that calls of the API are not shut out by a crowd of hosts.
///
/// Owner: Target. Core: the control thread's.
class Authenticator {
  public:
    /// All outlive the authenticator, which has no job left when it ends.
    Authenticator(Reactor& control, HostSecrets& secrets, AuthRandom& random);
    Authenticator(const Authenticator&) = delete;
    Authenticator& operator=(const Authenticator&) = delete;
    ~Authenticator();

    [[nodiscard]] AuthAlgorithms algorithms() const { return algorithms_; }
    /// Which algorithms hosts may use from now on.
    void allow(AuthAlgorithms algorithms) { algorithms_ = algorithms; }
    [[nodiscard]] CoreId core() const { return control_.core(); }

    /// Takes a job that has come here; posts it home when it is done.
    void add(AuthJob& job);

  private:
    void work();
    void send_home(AuthJob& job);
    [[nodiscard]] Task<void> publish(AuthJob& job, Secret psk);
    [[nodiscard]] uint32_t next_sequence();

    Reactor& control_;
    HostSecrets& secrets_;
    AuthRandom& random_;
    AuthAlgorithms algorithms_;
    EventList jobs_;
    Timer timer_;  // Runs while there are jobs.
    uint32_t sequence_ = 0;
};

}  // namespace basalt::nvmf
