#include "nvmf/auth/host_exchange.h"

#include <algorithm>

#include "reactor/base/assert.h"

namespace basalt::nvmf {

HostExchange::HostExchange(Options options,
                           const DhchapSecret& host,
                           const DhchapSecret* controller)
    : options_(std::move(options)), host_secret_(host), controller_secret_(controller) {
    BASALT_ASSERT(options_.sequence != 0);
}

constexpr bool HostExchange::is_valid_transition(State from, State to) {
    switch (from) {
        case State::kNegotiate: return to == State::kAwaitingChallenge;
        case State::kAwaitingChallenge:
            return to == State::kReply || to == State::kFailure2 || to == State::kFailed;
        case State::kReply: return to == State::kAwaitingSuccess1;
        case State::kAwaitingSuccess1:
            return to == State::kSuccess2 || to == State::kDone || to == State::kFailure2 ||
                   to == State::kFailed;
        case State::kSuccess2: return to == State::kDone;
        case State::kFailure2: return to == State::kFailed;
        case State::kDone:
        case State::kFailed: return false;
    }
    return false;
}

void HostExchange::set_state(State to) {
    BASALT_ASSERT(is_valid_transition(state_, to));
    state_ = to;
}

void HostExchange::fail(AuthFailure failure) {
    failure_ = failure;
    set_state(State::kFailure2);
}

size_t HostExchange::send(std::span<std::byte> out) {
    BASALT_ASSERT(wants_to_send());
    const uint16_t transaction = options_.transaction;
    if (state_ == State::kNegotiate) {
        set_state(State::kAwaitingChallenge);
        return encode_negotiate(transaction, algorithms(), out, options_.channel);
    }
    if (state_ == State::kReply) {
        std::copy_n(reply_.begin(), reply_bytes_, out.begin());
        set_state(State::kAwaitingSuccess1);
        return reply_bytes_;
    }
    if (state_ == State::kSuccess2) {
        set_state(State::kDone);
        return encode_success2(transaction, out);
    }
    set_state(State::kFailed);
    return encode_failure(
        AuthMessage::kFailure2, {.transaction = transaction, .failure = failure_}, out);
}

void HostExchange::apply(ByteView message, AuthRandom& random) {
    BASALT_ASSERT(wants_to_receive());
    const Result<AuthHeader> header = decode_header(message);
    if (!header) {
        fail(AuthFailure::kIncorrectMessage);
        return;
    }
    if (header->message == AuthMessage::kFailure1) {
        const Result<FailureFields> fields = decode_failure(message);
        failure_ = fields ? fields->failure : AuthFailure::kFailed;
        set_state(State::kFailed);
        return;
    }
    const AuthMessage awaited =
        state_ == State::kAwaitingChallenge ? AuthMessage::kChallenge : AuthMessage::kSuccess1;
    if (header->message != awaited || header->transaction != options_.transaction) {
        fail(AuthFailure::kIncorrectMessage);
    } else if (awaited == AuthMessage::kChallenge) {
        apply_challenge(message, random);
    } else {
        apply_success1(message);
    }
}

void HostExchange::apply_challenge(ByteView message, AuthRandom& random) {
    const Result<ChallengeFields> fields = decode_challenge(message);
    if (!fields) {
        fail(fields.error().code == Errc::kNotSupported
                 ? static_cast<AuthFailure>(fields.error().detail)
                 : AuthFailure::kIncorrectPayload);
        return;
    }
    // A controller that picks what was not offered would weaken the exchange.
    if (!algorithms().has(fields->hash)) {
        fail(AuthFailure::kHashUnusable);
    } else if (!algorithms().has(fields->group)) {
        fail(AuthFailure::kGroupUnusable);
    } else if (!answer(*fields, random)) {
        fail(AuthFailure::kFailed);
    }
}

// Makes the reply, and with it what the controller must answer. False: it can't be made.
bool HostExchange::answer(const ChallengeFields& fields, AuthRandom& random) {
    hash_ = fields.hash;
    group_ = fields.group;
    std::array<std::byte, kDhBytesMax> dh_value{};
    const std::span<std::byte> value = std::span(dh_value).first(dh_bytes(group_));
    Secret shared;
    if (group_ != DhGroup::kNull) {
        const Result<DhKey> key = DhKey::generate(group_);
        if (!key || !key->write_public(value)) {
            return false;
        }
        Result<Secret> derived = key->derive(fields.dh_value);
        if (!derived) {
            return false;
        }
        shared = std::move(*derived);
    }
    AuthChallenge challenge{.hash = hash_,
                            .sequence = fields.sequence,
                            .transaction = options_.transaction,
                            .value = fields.challenge,
                            .shared = group_ == DhGroup::kNull ? nullptr : &shared,
                            .channel = options_.channel};
    const Result<Secret> response =
        auth_response(AuthRole::kHost, host_secret_, options_.names, challenge);
    if (!response) {
        return false;
    }
    ReplyFields reply{.transaction = options_.transaction,
                      .has_challenge = controller_secret_ != nullptr || wants_psk(),
                      .sequence = 0,
                      .response = response->bytes(),
                      .challenge = {},
                      .dh_value = value};
    if (reply.has_challenge) {
        random.fill(std::span(own_challenge_).first(hash_bytes(hash_)));
        if (!challenge_back(reply, challenge)) {
            return false;
        }
    }
    reply_bytes_ = encode_reply(reply, reply_);
    set_state(State::kReply);
    return true;
}

// Adds our challenge to the reply: what the controller has to answer, and half of a key. Of
// `challenge`, the controller's, what stays the same is used.
bool HostExchange::challenge_back(ReplyFields& reply, AuthChallenge& challenge) {
    const ByteView own = std::span(own_challenge_).first(hash_bytes(hash_));
    reply.challenge = own;
    if (wants_psk()) {
        BASALT_ASSERT(challenge.shared != nullptr);  // algorithms() have no null group then.
        Result<Secret> psk = generate_psk(hash_, *challenge.shared, challenge.value, own);
        if (!psk) {
            return false;
        }
        generated_psk_ = std::move(*psk);
    }
    if (controller_secret_ == nullptr) {
        return true;  // The sequence number 0 says that no answer is wanted.
    }
    reply.sequence = options_.sequence;
    challenge.sequence = options_.sequence;
    challenge.value = own;
    Result<Secret> expected =
        auth_response(AuthRole::kController, *controller_secret_, options_.names, challenge);
    if (!expected) {
        return false;
    }
    expected_ = std::move(*expected);
    return true;
}

void HostExchange::apply_success1(ByteView message) {
    const Result<Success1Fields> fields = decode_success1(message, hash_);
    if (!fields) {
        fail(AuthFailure::kIncorrectPayload);
        return;
    }
    if (controller_secret_ == nullptr) {
        set_state(State::kDone);
        return;
    }
    // A controller that says it has no proof has not given one.
    if (!fields->has_response || !is_equal(expected_.bytes(), fields->response)) {
        fail(AuthFailure::kFailed);
        return;
    }
    set_state(State::kSuccess2);
}

}  // namespace basalt::nvmf
