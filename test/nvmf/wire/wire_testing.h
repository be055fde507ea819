#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nvmf/wire/pdu_codec.h"
#include "nvmf/wire/pdu_receiver.h"

namespace basalt::nvmf::testing {

using ByteVector = std::vector<std::byte>;

/// The bytes that `text` spells in hexadecimal; white space separates as it likes.
inline ByteVector from_hex(std::string_view text) {
    const auto nibble = [](char c) {
        return static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10);
    };
    ByteVector bytes;
    std::string digits;
    std::copy_if(text.begin(), text.end(), std::back_inserter(digits), [](char c) {
        return c != ' ' && c != '\n';
    });
    for (size_t i = 0; i + 1 < digits.size(); i += 2) {
        bytes.push_back(static_cast<std::byte>((nibble(digits[i]) << 4U) | nibble(digits[i + 1])));
    }
    return bytes;
}

inline std::string to_hex(std::span<const std::byte> bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text;
    for (const std::byte b : bytes) {
        const auto value = static_cast<unsigned>(b);
        text += kDigits[value >> 4U];
        text += kDigits[value & 15U];
    }
    return text;
}

/// `count` bytes that differ from their neighbours.
inline ByteVector pattern(size_t count, unsigned seed = 1) {
    ByteVector bytes(count);
    for (size_t i = 0; i < count; ++i) {
        bytes[i] = static_cast<std::byte>((i * 7 + i / 251 + seed) & 0xffU);
    }
    return bytes;
}

/// What an encoder writes.
template <typename Encode>
ByteVector encoded(Encode&& encode) {
    ByteVector out(kPduHeadBytesMax);
    out.resize(encode(std::span<std::byte>(out)));
    return out;
}

/// A PDU with its payload and, if the format has one, its data digest.
inline ByteVector with_payload(ByteVector head,
                               std::span<const std::byte> payload,
                               const PduFormat& format) {
    head.insert(head.end(), payload.begin(), payload.end());
    if (format.data_digest && !payload.empty()) {
        std::byte digest[kDigestBytes];
        encode_data_digest(digest, crc32c(payload));
        head.insert(head.end(), std::begin(digest), std::end(digest));
    }
    return head;
}

/// A handler that writes down what it is told. Payloads go to pieces of `piece_bytes`.
class RecordingHandler final : public PduHandler {
  public:
    struct Pdu {
        ByteVector header;
        ByteVector data;
        DataDigest digest = DataDigest::kAbsent;
        bool complete = false;
        bool operator==(const Pdu&) const = default;
    };

    explicit RecordingHandler(size_t piece_bytes = 1000) : piece_bytes_(piece_bytes) {}

    PayloadPlan on_header(const PduHeader& header) override {
        ++calls;
        if (stop_at_header) {
            receiver_to_stop->stop();
        }
        if (later_answers > 0) {
            --later_answers;
            return PayloadPlan::later();
        }
        const auto bytes = header.bytes();
        pdus.push_back({.header = {bytes.begin(), bytes.end()}, .data = {}, .digest = {}});
        if (reject != Fes::kNone) {
            return PayloadPlan::reject(reject, 12);
        }
        if (discard) {
            return PayloadPlan::discard();
        }
        storage_.assign(header.data_bytes(), std::byte{0xee});
        pieces_.assign(1, iovec{});  // An empty piece is legal and skipped, here and below.
        for (size_t at = 0; at < storage_.size(); at += piece_bytes_) {
            const size_t bytes_here = std::min(piece_bytes_, storage_.size() - at);
            pieces_.push_back({.iov_base = storage_.data() + at, .iov_len = bytes_here});
            pieces_.push_back({});
        }
        return PayloadPlan::store(pieces_);
    }

    void on_pdu_complete(DataDigest digest) override {
        ++calls;
        pdus.back().data = storage_;
        pdus.back().digest = digest;
        pdus.back().complete = true;
        storage_.clear();
        if (receiver_to_stop != nullptr) {
            receiver_to_stop->stop();
        }
    }

    void on_violation(const Violation& what, std::span<const std::byte> header) override {
        ++calls;
        ++violation_count;
        violation = what;
        violation_header.assign(header.begin(), header.end());
    }

    std::vector<Pdu> pdus;
    Violation violation;
    ByteVector violation_header;
    int violation_count = 0;
    int calls = 0;
    int later_answers = 0;
    bool discard = false;
    bool stop_at_header = false;
    Fes reject = Fes::kNone;
    PduReceiver* receiver_to_stop = nullptr;

  private:
    size_t piece_bytes_;
    ByteVector storage_;
    std::vector<iovec> pieces_;
};

/// The rules of an established connection.
inline PduRules established(Side side, bool header_digest, bool data_digest, uint8_t align = 4) {
    return {.side = side,
            .phase = ConnectionPhase::kEstablished,
            .header_digest = header_digest,
            .data_digest = data_digest,
            .data_align_bytes = align};
}

inline std::span<const std::byte> bytes_of(const auto& object) {
    return std::as_bytes(std::span(&object, 1));
}

}  // namespace basalt::nvmf::testing
