#pragma once

#include <array>
#include <optional>

#include "nvmf/auth/messages.h"
#include "nvmf/auth/response.h"

namespace basalt::nvmf {

/// The host's half of one authentication, for one queue: it says whether it wants to send or to
/// receive next. No I/O, no clock; but apply() of a Challenge may take tens of milliseconds with a
/// large group.
///
///   kNegotiate -> kAwaitingChallenge -> kReply -> kAwaitingSuccess1 -> kDone
///                                                     +-> kSuccess2 -> kDone
///   kAwaitingChallenge, kAwaitingSuccess1 -> kFailure2 -> kFailed
///   kAwaitingChallenge, kAwaitingSuccess1 -> kFailed (Failure1)
///
/// Owner: who connects the queue. Core: whoever has it at the time, one after the other.
class HostExchange {
  public:
    /// Each comment names who moves the exchange out of the state.
    enum class State : uint8_t {
        kNegotiate,          ///< The owner, by sending.
        kAwaitingChallenge,  ///< The controller.
        kReply,              ///< The owner, by sending.
        kAwaitingSuccess1,   ///< The controller.
        kSuccess2,           ///< The owner, by sending.
        kFailure2,           ///< The owner, by sending.
        kDone,               ///< Nobody: both have proved what was asked of them.
        kFailed,             ///< Nobody: the connection is of no use.
    };
    static constexpr uint32_t kStateCount = 8;

    /// With what this side proves itself, and whether it wants a proof of the other.
    struct Options {
        AuthNames names;
        AuthAlgorithms algorithms;
        uint16_t transaction = 0;  ///< Tells the exchanges of a host from each other.
        uint32_t sequence = 1;     ///< Of the challenge to the controller; not 0.
        SecureChannel channel = SecureChannel::kNone;  ///< Whether to make a key for TLS.
    };

    /// `host` and `controller` outlive the exchange; without `controller` the controller need not
    /// prove itself.
    HostExchange(Options options, const DhchapSecret& host, const DhchapSecret* controller);
    HostExchange(const HostExchange&) = delete;
    HostExchange& operator=(const HostExchange&) = delete;

    [[nodiscard]] State state() const { return state_; }
    [[nodiscard]] bool wants_to_send() const {
        return state_ == State::kNegotiate || state_ == State::kReply ||
               state_ == State::kSuccess2 || state_ == State::kFailure2;
    }
    [[nodiscard]] bool wants_to_receive() const {
        return state_ == State::kAwaitingChallenge || state_ == State::kAwaitingSuccess1;
    }
    [[nodiscard]] bool is_done() const { return state_ == State::kDone; }
    [[nodiscard]] bool has_failed() const { return state_ == State::kFailed; }
    /// Why it fails or failed.
    [[nodiscard]] AuthFailure failure() const { return failure_; }
    /// What the controller has chosen; after its Challenge.
    [[nodiscard]] AuthHash hash() const { return hash_; }
    [[nodiscard]] DhGroup group() const { return group_; }
    /// The key for TLS, if one was asked for and is_done(): 32 or 48 bytes.
    [[nodiscard]] const Secret& generated_psk() const { return generated_psk_; }

    /// Writes the next message to the beginning of `out`, of at least kAuthMessageBytesMax, and
    /// returns its length. wants_to_send().
    [[nodiscard]] size_t send(std::span<std::byte> out);

    /// What the controller has answered, as much as the buffer holds. wants_to_receive().
    void apply(ByteView message, AuthRandom& random);

  private:
    [[nodiscard]] static constexpr bool is_valid_transition(State from, State to);
    void set_state(State to);
    void fail(AuthFailure failure);
    /// A key for TLS is wanted.
    [[nodiscard]] bool wants_psk() const { return options_.channel != SecureChannel::kNone; }
    [[nodiscard]] AuthAlgorithms algorithms() const {
        return wants_psk() ? algorithms_for_psk(options_.algorithms) : options_.algorithms;
    }
    void apply_challenge(ByteView message, AuthRandom& random);
    [[nodiscard]] bool answer(const ChallengeFields& fields, AuthRandom& random);
    [[nodiscard]] bool challenge_back(ReplyFields& reply, AuthChallenge& challenge);
    void apply_success1(ByteView message);

    const Options options_;
    const DhchapSecret& host_secret_;
    const DhchapSecret* const controller_secret_;
    State state_ = State::kNegotiate;
    AuthFailure failure_ = AuthFailure::kNone;
    AuthHash hash_ = AuthHash::kSha256;
    DhGroup group_ = DhGroup::kNull;
    Secret expected_;  // The controller's response.
    Secret generated_psk_;
    std::array<std::byte, kHashBytesMax> own_challenge_{};
    std::array<std::byte, kAuthMessageBytesMax> reply_{};
    size_t reply_bytes_ = 0;
};

}  // namespace basalt::nvmf
