// The messages of DH-HMAC-CHAP: the decoders, and both sides' exchanges under whatever the other
// says. Input: a byte that says which, then messages, each behind its length in two bytes.

#include <algorithm>
#include <array>
#include <span>

#include "nvmf/auth/host_exchange.h"
#include "nvmf/auth/target_exchange.h"
#include "reactor/base/assert.h"
#include "test/fuzz/fuzz_target.h"

namespace basalt::nvmf {
namespace {

using Input = std::vector<uint8_t>;

constexpr uint8_t kToTarget = 1;
constexpr uint8_t kToHost = 2;
// No Diffie-Hellman: an exponentiation takes as long as a thousand runs.
constexpr AuthAlgorithms kAlgorithms{0b0010, 0b000001};

/// The same "random" bytes in each run.
class FixedRandom final : public AuthRandom {
  public:
    void fill(std::span<std::byte> out) override {
        std::fill(out.begin(), out.end(), std::byte{0x5a});
    }
};

DhchapSecret secret() {
    constexpr std::array<std::byte, 32> kBytes{std::byte{1}};
    return {Secret(ByteView(kBytes)), std::nullopt};
}

AuthNames names() {
    return {.host_nqn = "nqn.2026-01.io.basalt:host",
            .subsystem_nqn = "nqn.2026-01.io.basalt:vol1"};
}

void decode_all(ByteView message) {
    static_cast<void>(decode_header(message));
    static_cast<void>(decode_negotiate(message));
    static_cast<void>(decode_challenge(message));
    static_cast<void>(decode_reply(message, AuthHash::kSha512, DhGroup::kFfdhe2048));
    static_cast<void>(decode_success1(message, AuthHash::kSha384));
    static_cast<void>(check_success2(message));
    static_cast<void>(decode_failure(message));
}

/// Calls visit(message) for each message until it returns false.
template <typename Visit>
void for_each_message(ByteView stream, Visit visit) {
    while (stream.size() >= 2) {
        const size_t wanted =
            std::to_integer<size_t>(stream[0]) + 256 * std::to_integer<size_t>(stream[1]);
        const size_t size = std::min(wanted, stream.size() - 2);
        if (!visit(stream.subspan(2, size))) {
            return;
        }
        stream = stream.subspan(2 + size);
    }
}

void talk_to_target(ByteView stream) {
    TargetSecrets secrets;
    secrets.host.emplace(secret());
    secrets.controller.emplace(secret());
    FixedRandom random;
    TargetExchange exchange(names());
    const auto is_over = [&] {
        return exchange.state() == TargetExchange::State::kDone ||
               exchange.state() == TargetExchange::State::kFailed;
    };
    for_each_message(stream, [&](ByteView message) {
        exchange.apply(message, {kAlgorithms, secrets, 1, random});
        if (is_over()) {
            return false;
        }
        std::vector<std::byte> out(exchange.pending_bytes());
        exchange.receive(out);
        return !is_over();
    });
}

void talk_to_host(ByteView stream) {
    const DhchapSecret own = secret();
    FixedRandom random;
    HostExchange exchange({.names = names(), .algorithms = kAlgorithms}, own, &own);
    std::array<std::byte, kAuthMessageBytesMax> out{};
    static_cast<void>(exchange.send(out));
    for_each_message(stream, [&](ByteView message) {
        exchange.apply(message, random);
        if (exchange.wants_to_send()) {
            static_cast<void>(exchange.send(out));
        }
        return exchange.wants_to_receive();
    });
}

void append(Input& input, ByteView message) {
    input.push_back(static_cast<uint8_t>(message.size() % 256));
    input.push_back(static_cast<uint8_t>(message.size() / 256));
    for (const std::byte byte : message) {
        input.push_back(std::to_integer<uint8_t>(byte));
    }
}

}  // namespace
}  // namespace basalt::nvmf

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace basalt::nvmf;
    if (size < 1) {
        return 0;
    }
    const ByteView rest = std::as_bytes(std::span(data, size)).subspan(1);
    if (data[0] == kToTarget) {
        talk_to_target(rest);
    } else if (data[0] == kToHost) {
        talk_to_host(rest);
    } else {
        decode_all(rest);
    }
    return 0;
}

/// What both sides of a whole exchange say, for each side and for the decoders.
std::vector<std::vector<uint8_t>> fuzz_seeds() {
    using namespace basalt::nvmf;
    const DhchapSecret own = secret();
    TargetSecrets secrets;
    secrets.host.emplace(secret());
    secrets.controller.emplace(secret());
    FixedRandom random;
    HostExchange host({.names = names(), .algorithms = kAlgorithms}, own, &own);
    TargetExchange target(names());
    Input to_target{kToTarget};
    Input to_host{kToHost};
    std::vector<Input> seeds;
    while (!host.is_done()) {
        std::vector<std::byte> message(kAuthMessageBytesMax);
        if (host.wants_to_send()) {
            message.resize(host.send(message));
            append(to_target, message);
            target.apply(message, {kAlgorithms, secrets, 1, random});
        } else {
            message.resize(target.pending_bytes());
            target.receive(message);
            append(to_host, message);
            host.apply(message, random);
        }
        Input alone{0};
        for (const std::byte byte : message) {
            alone.push_back(std::to_integer<uint8_t>(byte));
        }
        seeds.push_back(alone);
    }
    seeds.push_back(to_target);
    seeds.push_back(to_host);
    return seeds;
}
