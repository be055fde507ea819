#pragma once

#include <array>
#include <optional>
#include <utility>

#include "nvmf/auth/messages.h"
#include "nvmf/auth/response.h"

namespace basalt::nvmf {

/// The secrets of one host and of the controller towards it, as they are at this moment.
struct TargetSecrets {
    std::optional<DhchapSecret> host;        ///< None: nobody can authenticate.
    std::optional<DhchapSecret> controller;  ///< None: the controller can't prove itself.
};

/// What applying a message takes, as it is at this moment.
struct TargetMeans {
    AuthAlgorithms algorithms;     ///< That the target allows.
    const TargetSecrets& secrets;  ///< Looked at if needs_secrets().
    uint32_t sequence = 0;         ///< Numbers the exchange's challenge; not 0.
    AuthRandom& random;
};

/// The controller's half of one authentication, for one queue. What the host sends is applied; what
/// it shall receive next lies ready. No I/O, no clock; but apply() of a Negotiate or a Reply may
/// take tens of milliseconds with a large group.
///
///   kAwaitingNegotiate -> kChallenge -> kAwaitingReply -> kSuccess1 -> kDone
///                                                             +-> kAwaitingSuccess2 -> kDone
///   any but kDone and kFailed -> kFailure1 -> kFailed
///   kAwaitingReply, kAwaitingSuccess2 -> kFailed (Failure2)
///
/// Owner: the connection. Core: whoever has it at the time, one after the other.
class TargetExchange {
  public:
    /// Each comment names who moves the exchange out of the state.
    enum class State : uint8_t {
        kAwaitingNegotiate,  ///< The host, by sending.
        kChallenge,          ///< The host, by receiving.
        kAwaitingReply,      ///< The host, by sending.
        kSuccess1,           ///< The host, by receiving.
        kAwaitingSuccess2,   ///< The host, by sending.
        kFailure1,           ///< The host, by receiving.
        kDone,               ///< Nobody: the host has proved itself, and was answered if it asked.
        kFailed,             ///< Nobody: the connection is to be closed.
    };
    static constexpr uint32_t kStateCount = 8;

    /// `channel` is the kind of key for TLS that the host may ask for.
    explicit TargetExchange(AuthNames names, SecureChannel channel = SecureChannel::kNone)
        : names_(std::move(names)), channel_offered_(channel) {}
    TargetExchange(const TargetExchange&) = delete;
    TargetExchange& operator=(const TargetExchange&) = delete;

    [[nodiscard]] State state() const { return state_; }
    [[nodiscard]] const AuthNames& names() const { return names_; }
    /// True if apply() of this message will look at the secrets.
    [[nodiscard]] bool needs_secrets() const { return state_ == State::kAwaitingReply; }
    /// Why it fails or failed.
    [[nodiscard]] AuthFailure failure() const { return failure_; }
    /// What was chosen; after a Negotiate.
    [[nodiscard]] AuthHash hash() const { return hash_; }
    [[nodiscard]] DhGroup group() const { return group_; }
    /// The key for TLS that the host has asked for, once it has proved itself: 32 or 48 bytes.
    /// Empty if it has not asked.
    [[nodiscard]] const Secret& generated_psk() const { return generated_psk_; }
    [[nodiscard]] Secret take_generated_psk() { return std::move(generated_psk_); }

    /// A message of the host. The exchange is neither done nor failed.
    void apply(ByteView message, const TargetMeans& means);

    /// How long the message is that the host shall receive now, and the message itself: `out` holds
    /// that much. If nothing lies ready it is a Failure1: the host has lost its way.
    [[nodiscard]] size_t pending_bytes();
    void receive(std::span<std::byte> out);

  private:
    [[nodiscard]] static constexpr bool is_valid_transition(State from, State to);
    void set_state(State to);
    void fail(AuthFailure failure);
    void apply_negotiate(ByteView message, const TargetMeans& means);
    void choose(AuthAlgorithms common);
    void make_challenge(const TargetMeans& means);
    void apply_reply(ByteView message, const TargetSecrets& secrets);
    [[nodiscard]] bool prove(const ReplyFields& reply, const TargetSecrets& secrets);
    [[nodiscard]] std::optional<Secret> share(const ReplyFields& reply);
    [[nodiscard]] bool make_psk(const ReplyFields& reply, const Secret& shared);

    const AuthNames names_;
    const SecureChannel channel_offered_;
    SecureChannel channel_ = SecureChannel::kNone;  // What the host has asked for.
    State state_ = State::kAwaitingNegotiate;
    AuthFailure failure_ = AuthFailure::kNone;
    uint16_t transaction_ = 0;
    AuthHash hash_ = AuthHash::kSha256;
    DhGroup group_ = DhGroup::kNull;
    uint32_t sequence_ = 0;
    bool proves_itself_ = false;  // The host has asked for it.
    std::array<std::byte, kHashBytesMax> challenge_{};
    std::optional<DhKey> dh_key_;
    Secret generated_psk_;
    std::array<std::byte, kAuthMessageBytesMax> pending_{};
    size_t pending_bytes_ = 0;
};

}  // namespace basalt::nvmf
