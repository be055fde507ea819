#include "test/sim/nvmf/mix_host.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace basalt::nvmf {

namespace {

constexpr uint32_t kBlockBytes = TargetWorld::kBlockBytes;
constexpr uint32_t kEnable = 1U | (6U << 16U) | (4U << 20U);
constexpr uint32_t kQueueEntries = 24;
constexpr size_t kAdminCommandsAtOnce = 8;
constexpr uint32_t kCommandsAtOnce = 12;  // A fused pair takes two entries of the queue.
constexpr uint32_t kBlocksMax = 40;       // 20 KiB: some in the capsule, most by R2T.
constexpr uint32_t kCapsuleBytes = 4096;
constexpr uint32_t kQuietTurns = 20;
constexpr uint16_t kFirstCid = 2;

bool moves_data_in(uint8_t opcode) {
    return opcode == nvme_cmd_write || opcode == nvme_cmd_compare;
}

}  // namespace

// --- The model.

std::optional<MixModel::Range> MixModel::take(Random& random, uint32_t count_max) {
    for (int tries = 0; tries < 40; ++tries) {
        const auto count = static_cast<uint32_t>(1 + random.below(count_max));
        const uint64_t first = random.below(blocks() - count);
        const auto begin = states_.begin() + static_cast<std::ptrdiff_t>(first);
        if (std::all_of(begin, begin + count, [](State state) { return state == State::kFree; })) {
            std::fill_n(begin, count, State::kBusy);
            return Range{first, count};
        }
    }
    return std::nullopt;
}

void MixModel::give(const Range& range, State state) {
    std::fill_n(states_.begin() + static_cast<std::ptrdiff_t>(range.first), range.count, state);
}

void MixModel::fill(const Range& range, uint64_t value) {
    std::fill_n(values_.begin() + static_cast<std::ptrdiff_t>(range.first), range.count, value);
}

Bytes MixModel::content(const Range& range) const {
    Bytes out;
    for (uint64_t block = range.first; block < range.first + range.count; ++block) {
        const Bytes one = content({block, 1}, values_[block]);
        out.insert(out.end(), one.begin(), one.end());
    }
    return out;
}

Bytes MixModel::content(const Range& range, uint64_t value) {
    Bytes out(size_t{range.count} * kBlockBytes);
    for (size_t at = 0; at < out.size(); at += sizeof(value)) {
        std::memcpy(&out[at], &value, sizeof(value));
    }
    return out;
}

// --- Connecting, and the end of connections.

MixHost::MixHost(TargetWorld& world, uint64_t seed, const Options& options)
    : world_(world), random_(seed * 7 + options.number), options_(options) {}

void MixHost::turn() {
    const bool has_ended = (admin_ && admin_->is_closed) || (io_ && io_->is_closed);
    if (has_ended && phase_ != Phase::kResetting && phase_ != Phase::kReset) {
        go_down();
    }
    switch (phase_) {
        case Phase::kDown: connect_admin(); return;
        case Phase::kAdmin:
            if (const auto cqe = admin_->answer(CommandId(0))) {
                cntlid_ = ControllerId(static_cast<uint16_t>(cqe->dw0.get()));
                admin_->expect(CommandId(1));
                admin_->push_capsule(make_property_set(CommandId(1), NVME_REG_CC, kEnable));
                phase_ = Phase::kEnabling;
            }
            return;
        case Phase::kEnabling:
            if (admin_->answer(CommandId(1))) {
                connect_io();
            }
            return;
        case Phase::kIo:
            if (const auto cqe = io_->answer(CommandId(0))) {
                io_seen_ = 1;
                phase_ = Phase::kRunning;
                if (!cqe->status().ok()) {
                    go_down();
                }
            }
            return;
        case Phase::kRunning:
            take_answers();
            answer_r2ts();
            do_something();
            return;
        case Phase::kResetting:
            if (admin_->is_closed) {
                go_down();
            } else if (admin_->answer(reset_cid_)) {
                io_seen_ = io_->answers.size();
                quiet_turns_ = 0;
                phase_ = Phase::kReset;
            }
            return;
        case Phase::kReset:
            if (options_.network_is_exact && io_->answers.size() != io_seen_) {
                fail("an answer after a reset");
            }
            if (admin_->answers.back().cid() != reset_cid_) {
                fail("an answer to an admin command after a reset");
            }
            if (++quiet_turns_ == kQuietTurns) {
                ++counts_.resets;
                go_down();
            }
            return;
    }
}

void MixHost::connect_admin() {
    if (issued_ >= options_.commands) {
        is_over_ = true;
        return;
    }
    ++counts_.connections;
    admin_.emplace(world_);
    admin_->host_number = static_cast<uint8_t>(options_.number);
    admin_->push_ic_req(random_.chance(1, 3), random_.chance(1, 3));
    admin_->push_connect(kAdminQueueId, kControllerIdAny);
    admin_seen_ = 0;
    phase_ = Phase::kAdmin;
}

void MixHost::connect_io() {
    admin_seen_ = admin_->answers.size();
    io_.emplace(world_);
    io_->host_number = static_cast<uint8_t>(options_.number);
    io_->push_ic_req(random_.chance(1, 3), random_.chance(1, 3));
    io_->push_connect(QueueId(1), cntlid_, random_.chance(1, 2), kQueueEntries);
    phase_ = Phase::kIo;
}

void MixHost::go_down() {
    if (io_) {
        take_answers();
    }
    for (const auto& pending : pending_) {
        // Never answered: it may be done, or not, or half of it.
        ++counts_.unanswered;
        const bool changes = pending->kind != Kind::kRead && pending->kind != Kind::kCompare &&
                             pending->kind != Kind::kVerify;
        for (const MixModel::Range& range : pending->ranges) {
            models_[pending->space].give(
                range, changes ? MixModel::State::kUnknown : MixModel::State::kFree);
        }
    }
    pending_.clear();
    aborts_.clear();
    aborted_.clear();
    asked_.clear();
    for (std::optional<RawHost>* host : {&io_, &admin_}) {
        if (*host && (*host)->strays > 0) {
            fail("an answer that nobody waited for");
        }
        host->reset();
    }
    phase_ = Phase::kDown;
    ++steps_;
}

// --- Answers.

void MixHost::take_answers() {
    for (; io_seen_ < io_->answers.size(); ++io_seen_) {
        ++steps_;
        take_io_answer(io_->answers[io_seen_]);
    }
    for (; admin_seen_ < admin_->answers.size(); ++admin_seen_) {
        take_admin_answer(admin_->answers[admin_seen_]);
    }
}

MixHost::Pending* MixHost::find(CommandId cid) {
    for (const auto& pending : pending_) {
        if (pending->cid == cid || (pending->kind == Kind::kFused && pending->second == cid)) {
            return pending.get();
        }
    }
    return nullptr;
}

void MixHost::take_io_answer(const Cqe& cqe) {
    Pending* pending = find(cqe.cid());
    if (pending == nullptr) {
        fail("an answer to no command");
        return;
    }
    if (pending->kind == Kind::kFused) {
        // Each has an answer of its own; which comes first is not said.
        (cqe.cid() == pending->cid ? pending->first_status : pending->second_status) = cqe.status();
        if (!pending->first_status || !pending->second_status) {
            return;
        }
    }
    finish(*pending, pending->second_status.value_or(cqe.status()));
    std::erase_if(pending_, [&](const auto& one) { return one.get() == pending; });
}

void MixHost::take_admin_answer(const Cqe& cqe) {
    if (asked_.erase(cqe.cid().raw()) != 0) {
        if (!cqe.status().ok()) {
            fail("an admin command has failed");
        }
        return;
    }
    const auto found = std::find_if(
        aborts_.begin(), aborts_.end(), [&](const auto& pair) { return pair.first == cqe.cid(); });
    if (found == aborts_.end()) {
        return;
    }
    // The victim's own answer may come before this one or after it.
    if (cqe.status().ok() && (cqe.dw0.get() & 1U) == 0) {
        if (Pending* pending = find(found->second)) {
            pending->is_aborted = true;
        } else if (aborted_.count(found->second.raw()) == 0) {
            fail("said to be aborted, and was not");
        }
    }
    aborts_.erase(found);
}

void MixHost::finish(Pending& pending, NvmeStatus status) {
    ++counts_.answered;
    MixModel& model = models_[pending.space];
    if (!is_right(pending, status)) {
        fail("kind " + std::to_string(static_cast<int>(pending.kind)) + ": status " +
             std::to_string(status.raw()) + ", first " +
             std::to_string(pending.first_status.value_or(NvmeStatus()).raw()) +
             (pending.is_abort_sent ? ", to be aborted" : "") +
             (pending.is_aborted ? ", said to be aborted" : "") +
             (pending.must_mismatch ? ", must differ" : ""));
    }
    MixModel::State left = MixModel::State::kFree;
    const bool is_success = status.ok() && (!pending.first_status || pending.first_status->ok());
    if (is_success) {
        apply(pending);
    } else if (status.is(status::kAbortRequested) ||
               (pending.first_status && pending.first_status->is(status::kAbortRequested))) {
        ++counts_.aborted;
        aborted_.insert(pending.cid.raw());
        // What goes in several steps may have done some of them; all else has not begun.
        if (pending.kind == Kind::kCopy || pending.kind == Kind::kDeallocate ||
            pending.kind == Kind::kZero) {
            left = MixModel::State::kUnknown;
        }
    }
    for (const MixModel::Range& range : pending.ranges) {
        model.give(range, left);
    }
}

bool MixHost::is_right(const Pending& pending, NvmeStatus status) const {
    if (pending.is_abort_sent && status.is(status::kAbortRequested)) {
        return true;
    }
    if (pending.kind == Kind::kFused) {
        const NvmeStatus first = *pending.first_status;
        if (pending.is_abort_sent && first.is(status::kAbortRequested)) {
            return !status.ok();
        }
        // Segments that get lost may keep the two apart for longer than the target waits.
        if (!options_.network_is_exact && first.is(status::kAbortedMissingFused)) {
            return status.is(status::kAbortedMissingFused);
        }
    }
    if (pending.is_aborted) {
        return false;
    }
    if (pending.kind == Kind::kFused) {
        const NvmeStatus first = *pending.first_status;
        return pending.must_mismatch
                   ? first.is(status::kCompareFailure) && status.is(status::kAbortedFailedFused)
                   : first.ok() && status.ok();
    }
    return pending.must_mismatch ? status.is(status::kCompareFailure) : status.ok();
}

void MixHost::apply(const Pending& pending) {
    MixModel& model = models_[pending.space];
    switch (pending.kind) {
        case Kind::kWrite:
        case Kind::kFused: model.fill(pending.ranges[0], pending.value); return;
        case Kind::kZero:
        case Kind::kDeallocate:
            for (const MixModel::Range& range : pending.ranges) {
                model.fill(range, 0);
            }
            return;
        case Kind::kCopy: {
            uint64_t to = pending.ranges[0].first;
            for (size_t i = 1; i < pending.ranges.size(); ++i) {
                for (uint32_t block = 0; block < pending.ranges[i].count; ++block) {
                    model.fill({to++, 1}, model.value(pending.ranges[i].first + block));
                }
            }
            return;
        }
        case Kind::kRead: check_data(pending); return;
        case Kind::kCompare:
        case Kind::kVerify:
        case Kind::kFlush:
        case Kind::kRegister:
        case Kind::kReport:
        case Kind::kCount: return;
    }
}

void MixHost::check_data(const Pending& pending) {
    const auto found = io_->received.find(pending.cid.raw());
    if (found == io_->received.end() ||
        found->second != models_[pending.space].content(pending.ranges[0])) {
        fail("wrong data");
    }
    io_->received.erase(pending.cid.raw());
}

void MixHost::answer_r2ts() {
    for (; !io_->r2ts.empty(); io_->r2ts.pop_front()) {
        const R2t r2t = io_->r2ts.front();
        const Pending* pending = find(CommandId(r2t.command_id.get()));
        if (pending == nullptr) {
            continue;
        }
        // In a few pieces.
        const uint32_t offset = r2t.offset.get();
        const uint32_t end = offset + r2t.length_bytes.get();
        for (uint32_t at = offset; at < end;) {
            const auto bytes =
                static_cast<uint32_t>(std::min<uint64_t>(end - at, 4 * (1 + random_.below(4096))));
            io_->push_h2c_data({.cid = CommandId(r2t.command_id.get()),
                                .tag = TransferTag(r2t.transfer_tag.get()),
                                .offset = at,
                                .length_bytes = bytes,
                                .last = at + bytes == end},
                               std::span(pending->payload).subspan(at, bytes));
            at += bytes;
        }
    }
}

// --- What it does.

void MixHost::do_something() {
    if (options_.breaks_off && random_.chance(1, 150)) {
        RawHost& victim = random_.chance(3, 4) ? *io_ : *admin_;
        if (random_.chance(1, 2)) {
            victim.vanish();
        } else {
            victim.vanish_after_receiving(random_.below(2000));
        }
        return;
    }
    if (random_.chance(1, 200)) {
        begin_reset();
        return;
    }
    if (random_.chance(1, 20)) {
        ask_admin();
        return;
    }
    if (!pending_.empty() && random_.chance(1, 8)) {
        begin_abort();
        return;
    }
    if (issued_ < options_.commands) {
        begin_command();
    } else if (pending_.empty()) {
        go_down();
    }
}

void MixHost::begin_abort() {
    Pending& victim = *pending_[random_.below(pending_.size())];
    if (std::exchange(victim.is_abort_sent, true)) {
        return;
    }
    ++steps_;
    const CommandId cid = next_cid();
    Sqe sqe = make_command(nvme_admin_abort_cmd, cid, Nsid(0));
    sqe.cdw10.set(1U | (uint32_t{victim.cid.raw()} << 16U));
    aborts_.emplace_back(cid, victim.cid);
    admin_->expect(cid);
    admin_->push_capsule(sqe);
}

void MixHost::ask_admin() {
    if (asked_.size() >= kAdminCommandsAtOnce) {
        return;
    }
    const CommandId cid = next_cid();
    Sqe sqe;
    switch (random_.below(4)) {
        case 0: sqe = make_get_log_page(cid, NVME_LOG_LID_SMART, 0, 512); break;
        case 1: sqe = make_identify(cid, NVME_IDENTIFY_CNS_CTRL_LIST, Nsid(0)); break;
        case 2: sqe = make_set_features(cid, NVME_FEAT_FID_VOLATILE_WC, 1); break;
        default:
            sqe = make_set_features(cid, NVME_FEAT_FID_WRITE_PROTECT, 0);
            sqe.namespace_id.set(options_.namespaces[0].raw());
            break;
    }
    asked_.insert(cid.raw());
    admin_->expect(cid);
    admin_->push_capsule(sqe);
    ++steps_;
}

void MixHost::begin_reset() {
    ask_admin();
    reset_cid_ = next_cid();
    admin_->expect(reset_cid_);
    admin_->push_capsule(make_property_set(reset_cid_, NVME_REG_CC, kEnable & ~1U));
    phase_ = Phase::kResetting;
}

void MixHost::begin_command() {
    if (pending_.size() >= kCommandsAtOnce) {
        return;
    }
    Pending pending;
    pending.kind = static_cast<Kind>(random_.below(static_cast<uint64_t>(Kind::kCount)));
    pending.cid = next_cid();
    pending.space = static_cast<uint32_t>(random_.below(kNamespaces));
    Sqe sqe;
    if (!fill_in(pending, sqe)) {
        for (const MixModel::Range& range : pending.ranges) {
            models_[pending.space].give(range, MixModel::State::kFree);
        }
        return;
    }
    if (pending.kind == Kind::kFused) {
        submit_fused(pending);
    } else {
        submit(std::move(pending), sqe);
    }
}

bool MixHost::fill_in(Pending& pending, Sqe& sqe) {
    MixModel& model = models_[pending.space];
    const Nsid nsid = options_.namespaces[pending.space];
    const auto transfer = [&](uint8_t opcode, uint32_t count_max) {
        const auto range = model.take(random_, count_max);
        if (range) {
            sqe = make_command(opcode, pending.cid, nsid);
            set_range(sqe,
                      Lba(base() + range->first),
                      BlockCount(range->count),
                      random_.chance(1, 8) ? Fua::kYes : Fua::kNo);
            pending.ranges.push_back(*range);
        }
        return range.has_value();
    };
    pending.value = ++last_value_ + options_.number * 1'000'000;
    switch (pending.kind) {
        case Kind::kWrite:
            if (!transfer(nvme_cmd_write, kBlocksMax)) {
                return false;
            }
            pending.payload = MixModel::content(pending.ranges[0], pending.value);
            return true;
        case Kind::kRead: return transfer(nvme_cmd_read, kBlocksMax);
        case Kind::kCompare:
            pending.must_mismatch = random_.chance(1, 4);
            if (!transfer(nvme_cmd_compare, kBlocksMax)) {
                return false;
            }
            pending.payload = model.content(pending.ranges[0]);
            if (pending.must_mismatch) {
                pending.payload[random_.below(pending.payload.size())] ^= std::byte{1};
                ++counts_.mismatches;
            }
            return true;
        case Kind::kZero:
            if (!transfer(nvme_cmd_write_zeroes, kBlocksMax)) {
                return false;
            }
            sqe.cdw12.set(sqe.cdw12.get() | (random_.chance(1, 2) ? 1U << 25U : 0U));
            return true;
        case Kind::kVerify: return transfer(nvme_cmd_verify, kBlocksMax);
        case Kind::kFused: return transfer(nvme_cmd_compare, 1);
        case Kind::kDeallocate:
        case Kind::kCopy: return prepare_ranges(pending, sqe);
        case Kind::kFlush: sqe = make_command(nvme_cmd_flush, pending.cid, nsid); return true;
        case Kind::kRegister:
            sqe = make_command(nvme_cmd_resv_register, pending.cid, nsid);
            pending.payload.assign(16, std::byte{0});
            pending.payload[8] = static_cast<std::byte>(options_.number);
            return true;
        case Kind::kReport:
            sqe = make_command(nvme_cmd_resv_report, pending.cid, nsid);
            sqe.cdw10.set(63);
            sqe.cdw11.set(1);
            set_transport_data(sqe, 256);
            return true;
        case Kind::kCount: break;
    }
    return false;
}

bool MixHost::prepare_ranges(Pending& pending, Sqe& sqe) {
    MixModel& model = models_[pending.space];
    const Nsid nsid = options_.namespaces[pending.space];
    const auto wanted = static_cast<uint32_t>(1 + random_.below(4));
    std::vector<MixModel::Range> ranges;
    uint32_t blocks = 0;
    for (uint32_t i = 0; i < wanted; ++i) {
        if (const auto range = model.take(random_, 8)) {
            ranges.push_back(*range);
            blocks += range->count;
        }
    }
    pending.ranges = ranges;
    if (ranges.empty()) {
        return false;
    }
    const bool is_copy = pending.kind == Kind::kCopy;
    const uint32_t entry_bytes = is_copy ? 32 : 16;
    pending.payload.assign(ranges.size() * entry_bytes, std::byte{0});
    for (size_t i = 0; i < ranges.size(); ++i) {
        const uint64_t first = base() + ranges[i].first;
        const uint32_t count = ranges[i].count;
        std::byte* entry = pending.payload.data() + i * entry_bytes;
        if (is_copy) {
            const auto count_0based = static_cast<uint16_t>(count - 1);
            std::memcpy(entry + 8, &first, sizeof(first));
            std::memcpy(entry + 16, &count_0based, sizeof(count_0based));
        } else {
            std::memcpy(entry + 4, &count, sizeof(count));
            std::memcpy(entry + 8, &first, sizeof(first));
        }
    }
    if (!is_copy) {
        sqe = make_deallocate(pending.cid, nsid, static_cast<uint32_t>(ranges.size()));
        return true;
    }
    // Somewhere else, of the same length.
    std::optional<MixModel::Range> to;
    for (int tries = 0; tries < 40 && !(to && to->count == blocks); ++tries) {
        if (to) {
            model.give(*to, MixModel::State::kFree);
        }
        to = model.take(random_, blocks);
    }
    if (!to) {
        return false;
    }
    pending.ranges.insert(pending.ranges.begin(), *to);
    if (to->count != blocks) {
        return false;
    }
    sqe = make_command(nvme_cmd_copy, pending.cid, nsid);
    sqe.cdw10.set(static_cast<uint32_t>(base() + to->first));
    sqe.cdw12.set(static_cast<uint32_t>(ranges.size() - 1));
    return true;
}

void MixHost::submit_fused(Pending& pending) {
    const MixModel::Range range = pending.ranges[0];
    const MixModel& model = models_[pending.space];
    pending.second = next_cid();
    pending.must_mismatch = random_.chance(1, 4);
    Bytes expected = model.content(range);
    if (pending.must_mismatch) {
        expected[random_.below(expected.size())] ^= std::byte{1};
        ++counts_.mismatches;
    }
    const Bytes written = MixModel::content(range, pending.value);
    for (const bool is_first : {true, false}) {
        Sqe sqe = make_command(is_first ? nvme_cmd_compare : nvme_cmd_write,
                               is_first ? pending.cid : pending.second,
                               options_.namespaces[pending.space]);
        set_range(sqe, Lba(base() + range.first), BlockCount(range.count));
        sqe.flags = static_cast<uint8_t>(sqe.flags | (is_first ? 1U : 2U));
        set_in_capsule_data(sqe, kBlockBytes);
        io_->expect(sqe.cid());
        io_->push_capsule(sqe, is_first ? expected : written);
    }
    ++issued_;
    ++steps_;
    pending_.push_back(std::make_unique<Pending>(std::move(pending)));
}

void MixHost::submit(Pending pending, const Sqe& command) {
    Sqe sqe = command;
    const auto bytes = static_cast<uint32_t>(pending.payload.size());
    std::span<const std::byte> in_capsule;
    if (bytes > 0) {
        const bool may_wait = moves_data_in(sqe.opcode);
        if (bytes <= kCapsuleBytes && (!may_wait || random_.chance(1, 2))) {
            set_in_capsule_data(sqe, bytes);
            in_capsule = pending.payload;
        } else {
            set_transport_data(sqe, bytes);
        }
    } else if (pending.kind == Kind::kRead) {
        set_transport_data(sqe, pending.ranges[0].count * kBlockBytes);
    }
    io_->expect(sqe.cid());
    io_->push_capsule(sqe, in_capsule);
    ++issued_;
    ++steps_;
    pending_.push_back(std::make_unique<Pending>(std::move(pending)));
}

// --- The end.

void MixHost::check_all() {
    is_over_ = false;
    ScriptedHost admin(world_);
    admin.host_number = static_cast<uint8_t>(options_.number);
    const ControllerId cntlid = admin.become_admin();
    ScriptedHost io(world_);
    io.host_number = admin.host_number;
    BASALT_ASSERT(io.handshake());
    BASALT_ASSERT(io.connect(QueueId(1), cntlid).status().ok());
    for (uint32_t space = 0; space < kNamespaces; ++space) {
        const MixModel& model = models_[space];
        for (uint64_t block = 0; block < kAreaBlocks; ++block) {
            if (model.state(block) == MixModel::State::kUnknown) {
                continue;
            }
            if (model.state(block) == MixModel::State::kBusy) {
                fail("a block is still busy");
            }
            Sqe sqe = make_command(nvme_cmd_read, CommandId(kFirstCid), options_.namespaces[space]);
            set_range(sqe, Lba(base() + block), BlockCount(1));
            set_transport_data(sqe, kBlockBytes);
            Bytes got;
            const bool is_read = io.command(sqe, {}, &got).status().ok();
            if (!is_read || got != model.content({block, 1})) {
                fail("block " + std::to_string(block) + " is wrong in the end");
            }
        }
    }
}

void MixHost::fail(std::string what) {
    errors_.push_back("host " + std::to_string(options_.number) + ": " + std::move(what));
}

}  // namespace basalt::nvmf
