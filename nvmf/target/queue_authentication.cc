#include "nvmf/target/queue_authentication.h"

#include <algorithm>

#include "nvmf/target/connection.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/poll_group.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/wire/command.h"
#include "reactor/base/log.h"

namespace basalt::nvmf {

namespace {

bool is_over(const TargetExchange& exchange) {
    return exchange.state() == TargetExchange::State::kDone ||
           exchange.state() == TargetExchange::State::kFailed;
}

/// Which key for TLS the host may ask for: one on an admin queue in clear, where TLS is possible;
/// another one where it has such a key.
SecureChannel channel_offered(Connection& connection) {
    if (!connection.is_admin_queue()) {
        return SecureChannel::kNone;
    }
    if (!connection.tls_identity().empty()) {
        return is_generated_identity(connection.tls_identity()) ? SecureChannel::kReplacePsk
                                                                : SecureChannel::kNone;
    }
    const bool is_possible =
        connection.group().tls().listener_tls(connection.listener()) != ListenerTls::kNone;
    return is_possible ? SecureChannel::kNewPsk : SecureChannel::kNone;
}

/// Now that the host is who it says it is, its queue counts as its own. False: the host has all
/// that one may have.
bool take_places(Connection& connection) {
    Admission& admission = connection.group().admission();
    const std::string_view host_nqn = connection.link.host_nqn;
    connection.place = admission.take_connection(host_nqn);
    Controller* const controller = connection.link.controller;
    if (controller == nullptr) {
        return static_cast<bool>(connection.place);
    }
    if (connection.place) {
        controller->place = admission.take_controller(host_nqn);
    }
    if (!controller->place) {
        connection.place = {};
    }
    return static_cast<bool>(controller->place);
}

}  // namespace

bool must_authenticate(const Connection& connection,
                       const SubsystemConfig& config,
                       std::string_view host_nqn) {
    return config.requires_authentication(host_nqn) &&
           !is_generated_identity(connection.tls_identity());
}

NvmeStatus QueueAuthentication::check(Request& request) {
    const AuthView command(request.sqe);
    if (!command.is_nvme_protocol() || command.length_bytes() != request.data_bytes ||
        request.data_bytes == 0 || request.data_bytes > kAuthTransferBytesMax) {
        return status::kInvalidField.with_dnr();
    }
    return status::kSuccess;
}

void QueueAuthentication::execute(Request& request) {
    // Two messages at a time are in no order.
    if (is_applying_) {
        connection_.complete(request, status::kCommandSequenceError.with_dnr());
        return;
    }
    if (exchange_ == nullptr) {
        const ControllerLink& link = connection_.link;
        const SubsystemConfig& config = link.subsystem->config();
        if (connection_.is_live() && !config.requires_authentication(link.host_nqn)) {
            // This host has no key (or no longer), and its queue is live: there is nothing to
            // prove.
            connection_.complete(request, status::kInvalidOpcode.with_dnr());
            return;
        }
        exchange_ = std::make_unique<TargetExchange>(
            AuthNames{.host_nqn = link.host_nqn, .subsystem_nqn = config.nqn},
            channel_offered(connection_));
        connection_.watch_authentication();
    }
    if (request.sqe.data_direction() == DataDirection::kHostToController) {
        send(request);
    } else {
        receive(request);
    }
}

void QueueAuthentication::send(Request& request) {
    if (is_over(*exchange_)) {
        connection_.complete(request, status::kCommandSequenceError.with_dnr());
        return;
    }
    is_applying_ = true;
    connection_.group().apply_message(request, *exchange_);
}

void QueueAuthentication::applied(Request& request) {
    is_applying_ = false;
    connection_.complete(request, status::kSuccess);
    conclude();
}

void QueueAuthentication::receive(Request& request) {
    if (is_over(*exchange_)) {
        connection_.complete(request, status::kCommandSequenceError.with_dnr());
        return;
    }
    const std::span<std::byte> payload = request.payload();
    const size_t bytes = exchange_->pending_bytes();
    if (payload.size() < bytes) {
        connection_.complete(request, status::kInvalidField.with_dnr());
        return;
    }
    exchange_->receive(payload.first(bytes));
    // What was in the buffer before is not for this host.
    std::fill(payload.begin() + static_cast<std::ptrdiff_t>(bytes), payload.end(), std::byte{0});
    connection_.complete(request, status::kSuccess);
    conclude();
}

void QueueAuthentication::conclude() {
    if (connection_.is_closing()) {
        return;
    }
    if (exchange_->state() == TargetExchange::State::kDone) {
        succeed();
    } else if (exchange_->state() == TargetExchange::State::kFailed) {
        fail();
    }
}

void QueueAuthentication::give_up() {
    if (is_applying_) {
        connection_.watch_authentication();
        return;
    }
    exchange_.reset();
}

void QueueAuthentication::succeed() {
    outcome_ = AuthOutcome{exchange_->hash(), exchange_->group()};
    exchange_.reset();
    BASALT_LOG(kInfo,
               "nvmf",
               "connection {} from {}, queue {}: {} authenticated with {}, {}",
               connection_.id(),
               connection_.peer().to_string(),
               connection_.link.qid.raw(),
               connection_.link.host_nqn,
               name_of(outcome_->hash),
               name_of(outcome_->group));
    if (connection_.is_authenticating() && !take_places(connection_)) {
        ++connection_.group().admission().stats().refused_connects;
        BASALT_LOG(kWarn,
                   "nvmf",
                   "connection {} from {}: {} has as many connections or controllers as one may",
                   connection_.id(),
                   connection_.peer().to_string(),
                   connection_.link.host_nqn);
        connection_.authentication_failed();  // The host hears the exchange's end, then it closes.
        return;
    }
    connection_.authenticated();
}

void QueueAuthentication::fail() {
    ++connection_.group().admission().stats().failed_authentications;
    BASALT_LOG(kWarn,
               "nvmf",
               "connection {} from {}, queue {}: {} did not authenticate: {}",
               connection_.id(),
               connection_.peer().to_string(),
               connection_.link.qid.raw(),
               connection_.link.host_nqn,
               describe(exchange_->failure()));
    connection_.authentication_failed();
}

}  // namespace basalt::nvmf
