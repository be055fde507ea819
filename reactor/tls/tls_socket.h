#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "reactor/io/network.h"
#include "reactor/msg/owned_event.h"
#include "reactor/reactor.h"
#include "reactor/tls/psk.h"
#include "reactor/tls/tls_context.h"

struct ssl_st;
struct ssl_session_st;
struct ssl_cipher_st;
struct bio_st;

namespace basalt::tls {

/// What a client offers: one identity and its key.
struct ClientOptions {
    std::string identity;
    Psk psk;
    uint64_t handshake_timeout_ns = kHandshakeTimeoutNs;
};

/// What a server takes.
struct ServerOptions {
    /// A connection that does not begin as TLS does is handed to the user in clear (is_secure() is
    /// false then) rather than closed. For ports where both are welcome.
    bool allows_clear = false;
    uint64_t handshake_timeout_ns = kHandshakeTimeoutNs;
};

/// A stream socket that speaks TLS 1.3 with a pre-shared key over any other stream socket, real or
/// simulated. For its user it is a Socket as any other: plaintext in, plaintext out, backpressure
/// both ways, on_connected() when the handshake is done.
///
///   kConnecting -> kHandshaking -> kOpen -> kClosing -> kEnding -> kClosed
///   kDetecting --> kHandshaking    kOpen -> kDraining -> kClosed
///   kDetecting --> kClear -> kEnding; any -> kEnding, kClosed
///
/// Receiving: records are decrypted one by one as their bytes arrive; what the user does not take
/// of one is kept here (one record at most), and the bytes behind it stay in the socket below.
/// Sending: pieces are gathered into records of 16 KiB, these into one send of the socket below;
/// on_sent() comes when all ciphertext is with the network.
/// Ending: close() sends close_notify and gives the peer kCloseTimeoutNs to take it. An end without
/// close_notify is told as kConnectionClosed, too: whoever needs to know where its stream ends has
/// lengths in it.
///
/// Once established it allocates nothing of its own beyond its Context's buffers, and OpenSSL keeps
/// one record's buffer each way. Owner: its user. Core: the context's.
class TlsSocket final : public Socket, private SocketHandler {
  public:
    enum class State : uint8_t {
        kDetecting,    ///< The first byte moves it on.
        kConnecting,   ///< The socket below, when it is connected.
        kHandshaking,  ///< OpenSSL, or the timer.
        kOpen,         ///< Either side, by closing.
        kClear,        ///< Either side, by closing. Bytes just pass, by all shortcuts of below.
        kClosing,      ///< The socket below, when it has sent our last record; or the timer.
        kEnding,       ///< The socket below, in its on_closed().
        kDraining,     ///< The user, by taking the last plaintext; the socket below is gone.
        kClosed,       ///< Final.
    };

    /// Takes an accepted connection over. `keys` outlives the socket. Errors: those of
    /// Network::adopt; kNoMemory.
    [[nodiscard]] static Result<std::unique_ptr<TlsSocket>> adopt(Context& context,
                                                                  AcceptedSocket accepted,
                                                                  const SocketOptions& options,
                                                                  const ServerOptions& server,
                                                                  PskSource& keys,
                                                                  SocketHandler& handler);

    /// Starts to connect; on_connected() comes after the handshake. on_closed() says
    /// kPermissionDenied if the peer refused the key or the identity, kProtocol if it does not
    /// speak TLS as it should, kTimedOut. Errors at once: those of Network::connect; kNoMemory;
    /// kInvalidArgument: no identity, one that is too long, or no key.
    [[nodiscard]] static Result<std::unique_ptr<TlsSocket>> connect(Context& context,
                                                                    const SocketAddress& address,
                                                                    const SocketOptions& options,
                                                                    ClientOptions client,
                                                                    SocketHandler& handler);

    TlsSocket(const TlsSocket&) = delete;
    TlsSocket& operator=(const TlsSocket&) = delete;
    ~TlsSocket() override;

    void send(std::span<const iovec> pieces) override;
    void send_at_once(std::span<const iovec> pieces) override;
    [[nodiscard]] std::optional<KeptMemory> keep_received() override;
    void resume_receive() override;
    void close() override;
    [[nodiscard]] SocketAddress local_address() const override { return local_; }
    [[nodiscard]] SocketAddress peer_address() const override { return peer_; }

    [[nodiscard]] State state() const { return state_; }
    /// True once the handshake is done: what the user sees went through TLS.
    [[nodiscard]] bool is_secure() const { return has_shaken_hands_; }
    /// Whose key both sides proved to have; empty before is_secure().
    [[nodiscard]] std::string_view identity() const {
        return has_shaken_hands_ ? std::string_view(identity_) : std::string_view();
    }
    /// The suite that was agreed on. Only when is_secure().
    [[nodiscard]] CipherSuite suite() const { return psk_.suite(); }

  private:
    friend struct Callbacks;

    TlsSocket(Context& context, SocketHandler& handler, PskSource* keys, uint64_t timeout_ns);
    [[nodiscard]] Status make_session();

    // SocketHandler, for the socket below.
    void on_connected() override;
    size_t on_receive(std::span<const std::byte> data) override;
    [[nodiscard]] std::span<std::byte> receive_memory() override;
    void on_received(size_t size_bytes) override;
    void on_sent() override;
    void on_closed(Error reason) override;

    [[nodiscard]] size_t on_ciphertext(std::span<const std::byte> data);
    [[nodiscard]] size_t detect(std::span<const std::byte> data);
    void shake_hands();
    void read_records();
    void deliver(std::span<const std::byte> plain);
    void resume();

    void pump();
    [[nodiscard]] std::span<const std::byte> gather();
    void advance(size_t bytes);
    void flush();

    void fail();
    void begin_close(Error reason);
    void end_below();
    void finish(Error reason);
    static void on_timer(Timer& timer, void* self);

    [[nodiscard]] bool has_held() const { return held_ != nullptr; }
    void release_held();
    [[nodiscard]] size_t out_room() const { return kOutBytes - out_end_; }
    [[nodiscard]] bool is_open() const {
        return state_ == State::kHandshaking || state_ == State::kOpen;
    }

    // What OpenSSL asks for, from inside its calls (tls_callbacks.cc).
    [[nodiscard]] int bio_read(std::span<std::byte> out);
    [[nodiscard]] int bio_write(std::span<const std::byte> data);
    /// Looks for an identity of the ClientHello that has a key. False if it offers some and none is
    /// known.
    [[nodiscard]] bool choose_identity(std::span<const std::byte> extension);
    /// The session that stands for our key, or null. OpenSSL owns the result.
    [[nodiscard]] ssl_session_st* make_psk_session();

    Context& context_;
    SocketHandler& handler_;
    PskSource* const keys_;  // Null for a client.
    State state_;
    bool has_shaken_hands_ = false;
    bool allows_clear_ = false;
    Error close_reason_;
    std::unique_ptr<Socket> below_;
    ssl_st* ssl_ = nullptr;
    std::string identity_;  // Offered or chosen.
    Psk psk_;
    Timer timer_;
    const uint64_t handshake_timeout_ns_;
    OwnedEvent<TlsSocket, &TlsSocket::resume> resume_event_{*this};

    std::span<const std::byte> in_;  // Ciphertext of the on_receive() that is running.
    bool is_read_blocked_ = false;   // OpenSSL must write before it reads on.

    std::unique_ptr<Context::Buffer> held_;  // Plaintext that the user did not take.
    std::span<const std::byte> held_rest_;

    std::unique_ptr<Context::Buffer> out_;  // Ciphertext [0, out_end_), of which [0, out_sending_)
    size_t out_end_ = 0;                    // is with the socket below.
    size_t out_sending_ = 0;
    iovec out_piece_{};

    std::span<const iovec> pieces_;  // What is left of the user's send.
    size_t piece_offset_bytes_ = 0;
    bool is_user_sending_ = false;

    SocketAddress local_;
    SocketAddress peer_;
};

}  // namespace basalt::tls
