#include "nvmf/initiator/host_authenticator.h"

#include "nvmf/initiator/host_queue.h"
#include "nvmf/wire/command_build.h"
#include "reactor/base/log.h"

namespace basalt::nvmf {

namespace {

/// An attempt on its way to the authenticator's core.
struct AuthVisit {
    HostAuthenticator& authenticator;
    HostAuthAttempt& attempt;
};

Task<void> begin_there(Reactor& /*there*/, AuthVisit& request) {
    request.authenticator.begin(request.attempt);
    co_return;
}

Task<void> apply_there(Reactor& /*there*/, AuthVisit& request) {
    request.authenticator.apply(request.attempt);
    co_return;
}

void log_failure(const HostQueue& queue, const char* why) {
    BASALT_LOG(kWarn,
               "nvmf",
               "queue {} to {}: not authenticated: {}",
               queue.options().qid.raw(),
               queue.options().host.address.to_string(),
               why);
}

/// What has become of an exchange that is over, or of the command that ended it.
Error failure_of(const HostQueue& queue, const HostAuthAttempt& attempt) {
    if (!attempt.status && attempt.status.error().detail != 0) {
        log_failure(queue, "the controller refuses the message");
        return Error(Errc::kPermissionDenied);
    }
    if (!attempt.status) {
        return attempt.status.error();
    }
    log_failure(queue, describe(attempt.exchange->failure()));
    return Error(Errc::kPermissionDenied);
}

/// Sends the exchange's next message, or receives the controller's. `attempt` outlives it.
Task<void> transfer(HostQueue& queue, HostAuthAttempt& attempt, bool is_send) {
    const iovec piece{attempt.message.data(),
                      is_send ? attempt.message_bytes : attempt.message.size()};
    HostCommand command;
    command.sqe = make_auth(is_send, CommandId(0), static_cast<uint32_t>(piece.iov_len));
    command.pieces = {&piece, 1};
    command.data_bytes = static_cast<uint32_t>(piece.iov_len);
    command.may_get_less = !is_send;
    co_await execute(queue, command);
    attempt.status = command.status;
    attempt.message_bytes = command.moved_bytes();
}

}  // namespace

HostAuthenticator::HostAuthenticator(Reactor& reactor,
                                     AuthSecretSource& source,
                                     AuthRandom& random,
                                     AuthAlgorithms algorithms)
    : core_(reactor.core()), source_(source), random_(random), algorithms_(algorithms) {}

void HostAuthenticator::begin(HostAuthAttempt& attempt) {
    Result<AuthSecrets> secrets = source_.read_secrets();
    if (!secrets) {
        BASALT_LOG(kError,
                   "nvmf",
                   "a key for {} is of no use: {}",
                   attempt.names.subsystem_nqn,
                   describe(secrets.error().code));
        attempt.status = Errc::kPermissionDenied;
        return;
    }
    const bool wants_key = attempt.wish.channel != SecureChannel::kNone;
    if (!attempt.wish.is_required && !wants_key && !secrets->controller) {
        return;
    }
    if (!secrets->host) {
        BASALT_LOG(kWarn,
                   "nvmf",
                   "{} wants a proof, and there is no key for it",
                   attempt.names.subsystem_nqn);
        attempt.status = Errc::kPermissionDenied;
        return;
    }
    // Goes up from a number that nobody can foresee; never 0 (section 8.13.5.3 of the NVMe Base
    // Specification 2.0).
    while (sequence_ == 0) {
        random_.fill(std::as_writable_bytes(std::span(&sequence_, 1)));
    }
    attempt.secrets = std::move(*secrets);
    attempt.message.resize(kAuthTransferBytesMax);
    attempt.exchange.emplace(HostExchange::Options{.names = attempt.names,
                                                   .algorithms = algorithms_,
                                                   .transaction = ++transaction_,
                                                   .sequence = sequence_++,
                                                   .channel = attempt.wish.channel},
                             *attempt.secrets.host,
                             attempt.secrets.controller ? &*attempt.secrets.controller : nullptr);
}

void HostAuthenticator::apply(HostAuthAttempt& attempt) {
    attempt.exchange->apply(std::span(attempt.message).first(attempt.message_bytes), random_);
}

Task<Result<Secret>> authenticate(HostQueue& queue,
                                  HostAuthenticator& authenticator,
                                  HostAuthWish wish) {
    const HostOptions& host = queue.options().host;
    // Not in the frame: it is large, and the exchange refers to the secrets beside it.
    const std::unique_ptr<HostAuthAttempt> attempt(
        new HostAuthAttempt{.names = {host.host_nqn, host.subsystem_nqn}, .wish = wish});
    AuthVisit request{authenticator, *attempt};
    visit<AuthVisit> begun(queue.reactor(), authenticator.core(), request, &begin_there);
    co_await begun;
    if (!attempt->status) {
        co_return Result<Secret>(attempt->status.error());
    }
    if (!attempt->exchange) {
        co_return Result<Secret>(Secret());
    }
    HostExchange& exchange = *attempt->exchange;
    while (!exchange.is_done() && !exchange.has_failed()) {
        const bool is_send = exchange.wants_to_send();
        if (is_send) {
            attempt->message_bytes = exchange.send(attempt->message);
        }
        co_await transfer(queue, *attempt, is_send);
        if (!attempt->status) {
            break;
        }
        if (!is_send) {
            visit<AuthVisit> applied(queue.reactor(), authenticator.core(), request, &apply_there);
            co_await applied;
        }
    }
    if (!attempt->status || exchange.has_failed()) {
        co_return Result<Secret>(failure_of(queue, *attempt));
    }
    co_return Result<Secret>(Secret(exchange.generated_psk().bytes()));
}

}  // namespace basalt::nvmf
