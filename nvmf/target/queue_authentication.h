#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "nvmf/auth/target_exchange.h"
#include "nvmf/target/request.h"
#include "nvmf/wire/status.h"

namespace basalt::nvmf {

class Connection;
struct AuthJob;
struct SubsystemConfig;

/// What a queue that has authenticated has used, for listings.
struct AuthOutcome {
    AuthHash hash = AuthHash::kSha256;
    DhGroup group = DhGroup::kNull;
};

/// Whether a queue by which this host connects has to authenticate before anything else. Who has a
/// key for TLS that an authentication has made has done so.
[[nodiscard]] bool must_authenticate(const Connection& connection,
                                     const SubsystemConfig& config,
                                     std::string_view host_nqn);

/// The authentication of one queue: Authentication Send and Receive, and the exchange that they
/// carry. A queue whose host has a key begins with one, and executes nothing else before it has
/// succeeded; a live one may begin another at any time. A failure is told and ends the connection.
///
/// Owner: its Connection. Core: the connection's; the exchange is the control thread's while it
/// applies a message.
class QueueAuthentication {
  public:
    explicit QueueAuthentication(Connection& connection) : connection_(connection) {}
    QueueAuthentication(const QueueAuthentication&) = delete;
    QueueAuthentication& operator=(const QueueAuthentication&) = delete;

    /// Whether a command may be executed now, by what it says; sets how much data it has.
    [[nodiscard]] NvmeStatus check(Request& request);
    void execute(Request& request);
    /// The control thread has applied the message of `request`.
    void applied(Request& request);

    /// A live queue's host has begun to authenticate again and did not go on: forgets it.
    void give_up();
    [[nodiscard]] bool has_failed() const {
        return exchange_ != nullptr && exchange_->state() == TargetExchange::State::kFailed;
    }
    /// No exchange is under way.
    [[nodiscard]] bool is_idle() const { return exchange_ == nullptr && !is_applying_; }
    /// The last exchange that succeeded.
    [[nodiscard]] const std::optional<AuthOutcome>& outcome() const { return outcome_; }

  private:
    void send(Request& request);
    void receive(Request& request);
    void conclude();
    void succeed();
    void fail();

    Connection& connection_;
    std::unique_ptr<TargetExchange> exchange_;  // Null: none under way.
    bool is_applying_ = false;
    std::optional<AuthOutcome> outcome_;
};

}  // namespace basalt::nvmf
