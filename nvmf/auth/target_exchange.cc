#include "nvmf/auth/target_exchange.h"

#include <algorithm>

#include "reactor/base/assert.h"

namespace basalt::nvmf {

constexpr bool TargetExchange::is_valid_transition(State from, State to) {
    switch (from) {
        case State::kAwaitingNegotiate: return to == State::kChallenge || to == State::kFailure1;
        case State::kChallenge: return to == State::kAwaitingReply || to == State::kFailure1;
        case State::kAwaitingReply:
            return to == State::kSuccess1 || to == State::kFailure1 || to == State::kFailed;
        case State::kSuccess1:
            return to == State::kAwaitingSuccess2 || to == State::kDone || to == State::kFailure1;
        case State::kAwaitingSuccess2:
            return to == State::kDone || to == State::kFailure1 || to == State::kFailed;
        case State::kFailure1: return to == State::kFailed;
        case State::kDone:
        case State::kFailed: return false;
    }
    return false;
}

void TargetExchange::set_state(State to) {
    BASALT_ASSERT(is_valid_transition(state_, to));
    state_ = to;
}

void TargetExchange::fail(AuthFailure failure) {
    failure_ = failure;
    dh_key_.reset();
    pending_bytes_ = encode_failure(
        AuthMessage::kFailure1, {.transaction = transaction_, .failure = failure}, pending_);
    set_state(State::kFailure1);
}

void TargetExchange::apply(ByteView message, const TargetMeans& means) {
    if (state_ == State::kFailure1) {
        return;  // It has failed, and will hear so.
    }
    BASALT_ASSERT(state_ != State::kDone && state_ != State::kFailed);
    const Result<AuthHeader> header = decode_header(message);
    if (!header) {
        fail(message.size() < kAuthHeaderBytes ? AuthFailure::kIncorrectPayload
                                               : AuthFailure::kIncorrectMessage);
        return;
    }
    const bool is_first = state_ == State::kAwaitingNegotiate;
    if (is_first) {
        transaction_ = header->transaction;
    }
    if (header->transaction != transaction_) {
        fail(AuthFailure::kIncorrectPayload);
        return;
    }
    if (is_first && header->message == AuthMessage::kNegotiate) {
        apply_negotiate(message, means);
    } else if (state_ == State::kAwaitingReply && header->message == AuthMessage::kReply) {
        apply_reply(message, means.secrets);
    } else if (state_ == State::kAwaitingSuccess2 && header->message == AuthMessage::kSuccess2) {
        if (!check_success2(message)) {
            fail(AuthFailure::kIncorrectPayload);
            return;
        }
        set_state(State::kDone);
    } else if (header->message == AuthMessage::kFailure2 &&
               (state_ == State::kAwaitingReply || state_ == State::kAwaitingSuccess2)) {
        // The host does not like our challenge or our proof. There is no answer to that.
        const Result<FailureFields> fields = decode_failure(message);
        failure_ = fields ? fields->failure : AuthFailure::kFailed;
        set_state(State::kFailed);
    } else {
        fail(AuthFailure::kIncorrectMessage);
    }
}

void TargetExchange::apply_negotiate(ByteView message, const TargetMeans& means) {
    const Result<NegotiateFields> fields = decode_negotiate(message);
    AuthAlgorithms common = means.algorithms;
    if (fields) {
        common.hashes &= fields->algorithms.hashes;
        common.groups &= fields->algorithms.groups;
        if (fields->secure_channel != static_cast<uint8_t>(SecureChannel::kNone)) {
            channel_ = channel_offered_;
            common = algorithms_for_psk(common);
        }
    }
    if (!fields) {
        fail(AuthFailure::kIncorrectPayload);
    } else if (fields->secure_channel != static_cast<uint8_t>(channel_)) {
        fail(AuthFailure::kConcatenationMismatch);
    } else if (!fields->has_dhchap) {
        fail(AuthFailure::kProtocolUnusable);
    } else if (common.hashes == 0) {
        fail(AuthFailure::kHashUnusable);
    } else if (common.groups == 0) {
        fail(AuthFailure::kGroupUnusable);
    } else {
        choose(common);
        make_challenge(means);
    }
}

// The strongest that both have, as SPDK's target chooses.
void TargetExchange::choose(AuthAlgorithms common) {
    hash_ = *std::find_if(
        kAuthHashes.begin(), kAuthHashes.end(), [&](AuthHash each) { return common.has(each); });
    group_ = *std::find_if(
        kDhGroups.begin(), kDhGroups.end(), [&](DhGroup each) { return common.has(each); });
}

void TargetExchange::make_challenge(const TargetMeans& means) {
    BASALT_ASSERT(means.sequence != 0);
    sequence_ = means.sequence;
    const std::span<std::byte> challenge = std::span(challenge_).first(hash_bytes(hash_));
    means.random.fill(challenge);
    std::array<std::byte, kDhBytesMax> dh_value{};
    const std::span<std::byte> value = std::span(dh_value).first(dh_bytes(group_));
    if (group_ != DhGroup::kNull) {
        Result<DhKey> key = DhKey::generate(group_);
        if (!key || !key->write_public(value)) {
            fail(AuthFailure::kFailed);
            return;
        }
        dh_key_.emplace(std::move(*key));
    }
    pending_bytes_ = encode_challenge({.transaction = transaction_,
                                       .hash = hash_,
                                       .group = group_,
                                       .sequence = sequence_,
                                       .challenge = challenge,
                                       .dh_value = value},
                                      pending_);
    set_state(State::kChallenge);
}

void TargetExchange::apply_reply(ByteView message, const TargetSecrets& secrets) {
    const Result<ReplyFields> reply = decode_reply(message, hash_, group_);
    // A challenge of number 0 wants no answer: it is for a key alone.
    if (!reply ||
        (reply->has_challenge && reply->sequence == 0 && channel_ == SecureChannel::kNone)) {
        fail(AuthFailure::kIncorrectPayload);
        return;
    }
    if (!prove(*reply, secrets)) {
        fail(AuthFailure::kFailed);
    }
    dh_key_.reset();
}

std::optional<Secret> TargetExchange::share(const ReplyFields& reply) {
    if (group_ == DhGroup::kNull) {
        return Secret();
    }
    Result<Secret> shared = dh_key_->derive(reply.dh_value);
    if (!shared) {
        return std::nullopt;
    }
    return std::move(*shared);
}

// Checks the host's response and, if it asked for that, makes ours. False: no success.
bool TargetExchange::prove(const ReplyFields& reply, const TargetSecrets& secrets) {
    const bool wants_proof = reply.has_challenge && reply.sequence != 0;
    if (!secrets.host || (wants_proof && !secrets.controller)) {
        return false;
    }
    const std::optional<Secret> shared = share(reply);
    if (!shared) {
        return false;
    }
    AuthChallenge challenge{.hash = hash_,
                            .sequence = sequence_,
                            .transaction = transaction_,
                            .value = std::span(challenge_).first(hash_bytes(hash_)),
                            .shared = group_ == DhGroup::kNull ? nullptr : &*shared,
                            .channel = channel_};
    const Result<Secret> expected =
        auth_response(AuthRole::kHost, *secrets.host, names_, challenge);
    if (!expected || !is_equal(expected->bytes(), reply.response)) {
        return false;
    }
    if (channel_ != SecureChannel::kNone && !make_psk(reply, *shared)) {
        return false;
    }
    Success1Fields success{.transaction = transaction_, .has_response = false, .response = {}};
    Secret ours;
    if (wants_proof) {
        challenge.sequence = reply.sequence;
        challenge.value = reply.challenge;
        Result<Secret> response =
            auth_response(AuthRole::kController, *secrets.controller, names_, challenge);
        if (!response) {
            return false;
        }
        ours = std::move(*response);
        success.has_response = true;
        success.response = ours.bytes();
    }
    proves_itself_ = wants_proof;
    pending_bytes_ = encode_success1(success, hash_, pending_);
    set_state(State::kSuccess1);
    return true;
}

bool TargetExchange::make_psk(const ReplyFields& reply, const Secret& shared) {
    if (!reply.has_challenge) {
        return false;
    }
    const ByteView own = std::span(challenge_).first(hash_bytes(hash_));
    Result<Secret> psk = generate_psk(hash_, shared, own, reply.challenge);
    if (psk) {
        generated_psk_ = std::move(*psk);
    }
    return psk.has_value();
}

size_t TargetExchange::pending_bytes() {
    switch (state_) {
        case State::kChallenge:
        case State::kSuccess1:
        case State::kFailure1: break;
        case State::kAwaitingNegotiate:
        case State::kAwaitingReply:
        case State::kAwaitingSuccess2: fail(AuthFailure::kIncorrectMessage); break;
        case State::kDone:
        case State::kFailed: BASALT_ASSERT(false);
    }
    return pending_bytes_;
}

void TargetExchange::receive(std::span<std::byte> out) {
    BASALT_ASSERT(out.size() == pending_bytes());
    std::copy_n(pending_.begin(), pending_bytes_, out.begin());
    switch (state_) {
        case State::kChallenge: set_state(State::kAwaitingReply); break;
        case State::kSuccess1:
            set_state(proves_itself_ ? State::kAwaitingSuccess2 : State::kDone);
            break;
        case State::kFailure1: set_state(State::kFailed); break;
        case State::kAwaitingNegotiate:
        case State::kAwaitingReply:
        case State::kAwaitingSuccess2:
        case State::kDone:
        case State::kFailed: BASALT_ASSERT(false);
    }
}

}  // namespace basalt::nvmf
