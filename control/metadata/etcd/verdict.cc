#include "control/metadata/etcd/verdict.h"

#include <grpcpp/support/status_code_enum.h>

namespace basalt::metadata::etcd {
namespace {

bool says(std::string_view message, std::string_view what) {
    return message.find(what) != std::string_view::npos;
}

Verdict unavailable(std::string_view message) {
    // gRPC's own words for a call that found no connection to go over; and etcd's before it looks
    // at a request (server/etcdserver/api/v3rpc/interceptor.go).
    const bool was_refused = message.starts_with("failed to connect to all addresses") ||
                             says(message, "etcdserver: no leader");
    return {.error = Error(was_refused ? Errc::kUnreachable : Errc::kTimedOut),
            .is_elsewhere = true,
            .was_refused = was_refused};
}

Errc exhausted(std::string_view message) {
    if (says(message, "database space exceeded")) {
        return Errc::kNoSpace;
    }
    return says(message, "too many requests") ? Errc::kTryAgain : Errc::kInvalidArgument;
}

Errc invalid(std::string_view message) {
    const bool is_about_rights = says(message, "user name is empty") ||
                                 says(message, "authentication failed") ||
                                 says(message, "permission");
    return is_about_rights ? Errc::kPermissionDenied : Errc::kInvalidArgument;
}

Verdict precondition(std::string_view message) {
    const bool is_members = says(message, "not leader") || says(message, "learner");
    return {.error = Error(is_members ? Errc::kUnreachable : Errc::kNotSupported),
            .is_elsewhere = is_members,
            .was_refused = is_members};
}

}  // namespace

Verdict judge(int grpc_code, std::string_view message) {
    const auto final = [](Errc code) { return Verdict{.error = Error(code)}; };
    switch (grpc_code) {
        case grpc::UNAVAILABLE: return unavailable(message);
        case grpc::RESOURCE_EXHAUSTED: return final(exhausted(message));
        case grpc::INVALID_ARGUMENT: return final(invalid(message));
        case grpc::FAILED_PRECONDITION: return precondition(message);
        case grpc::OUT_OF_RANGE: return final(Errc::kOutOfRange);
        case grpc::NOT_FOUND: return final(Errc::kNotFound);
        case grpc::PERMISSION_DENIED:
        case grpc::UNAUTHENTICATED: return final(Errc::kPermissionDenied);
        case grpc::DATA_LOSS: return final(Errc::kDataCorrupt);
        case grpc::UNIMPLEMENTED: return final(Errc::kNotSupported);
        // No answer, a broken stream, or words that we don't know: whatever became of it.
        default: return {.error = Error(Errc::kTimedOut), .is_elsewhere = true};
    }
}

}  // namespace basalt::metadata::etcd
