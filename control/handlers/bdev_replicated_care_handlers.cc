#include "control/handlers/bdev_replicated_care_handlers.h"

#include <string>

#include "control/handlers/replication_convert.h"

namespace basalt::control {

namespace {

using replication::Finding;
using replication::Findings;
using replication::ReplicaScrubReport;
using replication::ScrubState;
using rpc::Reply;

constexpr uint64_t kBytesAMbyte = 1'000'000;
constexpr uint32_t kScrubMbytes = 50;

std::string volume_words(const std::string& name) {
    return "replicated volume '" + name + "'";
}

Task<void> scrub(Context& context,
                 const v1::BdevReplicatedScrubRequest& request,
                 Reply<v1::Done> reply) {
    const std::string& name = request.name();
    const uint64_t mbytes = request.has_mbytes_per_sec() ? request.mbytes_per_sec() : kScrubMbytes;
    const Status started = co_await context.replicated.start_scrub(name, mbytes * kBytesAMbyte);
    if (started) {
        reply.send();
    } else if (started.error().code == Errc::kBusy) {
        reply.fail(started.error(), volume_words(name) + ", which is being scrubbed");
    } else {
        reply.fail(started.error(), volume_words(name));
    }
}

Task<void> stop_scrub(Context& context,
                      const v1::BdevReplicatedStopScrubRequest& request,
                      Reply<v1::Done> reply) {
    const std::string& name = request.name();
    const Status stopped = co_await context.replicated.stop_scrub(name);
    if (stopped) {
        reply.send();
    } else {
        reply.fail(stopped.error(), volume_words(name));
    }
}

const char* state_word(const ScrubState& scrub) {
    if (scrub.is_running) {
        return "running";
    }
    if (scrub.is_finished) {
        return "done";
    }
    return scrub.was_started ? "stopped" : "none";
}

const char* problem_word(Finding::Kind kind) {
    switch (kind) {
        case Finding::Kind::kUnreadable: return "unreadable";
        case Finding::Kind::kDifferent: return "different";
        case Finding::Kind::kUndecided: break;
    }
    return "undecided";
}

void fill(const replication::ReplicatedVolumeOptions& options,
          const Findings& findings,
          v1::BdevReplicatedGetScrubResponse& out) {
    out.set_unreadable_blocks(findings.unreadable());
    out.set_different_blocks(findings.different());
    out.set_undecided_blocks(findings.undecided());
    out.set_mended_blocks(findings.mended());
    for (const Finding& finding : findings.kept()) {
        v1::ReplicatedScrubFinding& one = *out.add_findings();
        one.set_problem(problem_word(finding.kind));
        one.set_replica(replica_place_text(options.replicas[finding.replica]));
        one.set_first_block(finding.range.first);
        one.set_num_blocks(finding.range.count);
        one.set_mended(finding.is_mended);
        one.set_found_by(finding.is_of_scrub ? "scrub" : "read");
    }
}

Task<void> get_scrub(Context& context,
                     const v1::BdevReplicatedGetScrubRequest& request,
                     Reply<v1::BdevReplicatedGetScrubResponse> reply) {
    const std::string& name = request.name();
    const Result<ReplicaScrubReport> report = co_await context.replicated.scrub_report(name);
    const replication::ReplicatedVolume* volume = context.replicated.find(name);
    if (!report || volume == nullptr) {
        reply.fail(Error(Errc::kNotFound), volume_words(name));
        co_return;
    }
    const ScrubState& scrub = report->scrub;
    v1::BdevReplicatedGetScrubResponse& out = reply.result();
    out.set_state(state_word(scrub));
    out.set_mbytes_per_sec(static_cast<uint32_t>(scrub.bytes_per_second / kBytesAMbyte));
    out.set_num_blocks(volume->options().settings.blocks);
    out.set_blocks_done(scrub.blocks_done);
    out.set_blocks_skipped(scrub.blocks_skipped);
    out.set_blocks_found(scrub.blocks_found);
    fill(volume->options(), report->findings, out);
    reply.send();
}

}  // namespace

void BdevReplicatedCareHandlers::add_to(rpc::MethodTable& table) {
    add<&scrub>(table, "bdev_replicated_scrub", &scrub);
    add<&stop_scrub>(table, "bdev_replicated_stop_scrub", &stop_scrub);
    add<&get_scrub>(table, "bdev_replicated_get_scrub", &get_scrub);
}

}  // namespace basalt::control
