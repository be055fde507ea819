#include "nvmf/target/io/write_protection.h"

#include <memory>
#include <vector>

#include "nvmf/target/connection.h"
#include "nvmf/target/io/range_fence.h"
#include "nvmf/target/poll_group.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/wire/command.h"

namespace basalt::nvmf {

NvmeStatus WriteProtection::change(WriteProtect to) {
    const auto wanted = static_cast<uint8_t>(to);
    uint8_t seen = state_.load(std::memory_order_acquire);
    do {
        if (seen == static_cast<uint8_t>(WriteProtect::kUntilPowerCycle) && seen != wanted) {
            return status::kFeatureNotChangeable.with_dnr();
        }
    } while (!state_.compare_exchange_weak(seen, wanted, std::memory_order_acq_rel));
    return status::kSuccess;
}

namespace {

Namespace* find_visible(Request& request) {
    const ControllerLink& link = request.connection().link;
    const Nsid nsid = request.sqe.nsid();
    return link.access.is_visible(nsid) ? link.subsystem->find_namespace(nsid) : nullptr;
}

/// A change of the state: a fence around the whole namespace waits for what was let through before,
/// a flush makes it durable, and only then the state changes, before anything more is let through.
/// Then every core tells its hosts. Of two changes at once the second waits for the first one's
/// fence, so neither is answered before it is true, and after a failed flush all is as it was.
/// Rare, so allocated. Owner: itself, until the command is complete. Core: the command's.
class ProtectionChange {
  public:
    ProtectionChange(Request& request, Namespace& space, WriteProtect wanted)
        : request_(request),
          space_(space),
          wanted_(wanted),
          group_(request.connection().group()),
          fence_(
              group_,
              [](void* self) { static_cast<ProtectionChange*>(self)->flush(); },
              [](void* self) { static_cast<ProtectionChange*>(self)->announce(); },
              this),
          notices_(group_.peers().size()) {}
    ProtectionChange(const ProtectionChange&) = delete;
    ProtectionChange& operator=(const ProtectionChange&) = delete;
    ~ProtectionChange() = default;

    void begin() {
        space_.acquire();
        group_.begin_errand();
        // All blocks, also those by which it grows meanwhile.
        fence_.acquire(*space_.config().bdev, space_.config().nsid, {0, UINT64_MAX});
    }

  private:
    /// To one core: tell the hosts there. Then home again.
    struct Notice : Event {
        ProtectionChange* change = nullptr;
        PollGroup* there = nullptr;
    };

    void flush() {
        if (protection().state() == wanted_ || !space_.info().can(bdev::IoOp::kFlush)) {
            change(kOk);
            return;
        }
        bdev::IoRequest& io = request_.io;
        io.op = bdev::IoOp::kFlush;
        io.pieces = nullptr;
        io.piece_count = 0;
        io.push_completion(
            [](bdev::IoRequest& done, void* self) {
                static_cast<ProtectionChange*>(self)->change(done.status);
            },
            this);
        space_.channel().submit(io);
    }

    void change(Status flushed) {
        const WriteProtect before = protection().state();
        outcome_ = flushed ? protection().change(wanted_)
                           : to_nvme_status(flushed.error(), MediaAccess::kWrite);
        has_changed_ = protection().state() != before;
        fence_.release();
    }

    void announce() {
        if (!has_changed_) {
            end();
            return;
        }
        away_ = notices_.size();
        for (size_t core = 0; core < notices_.size(); ++core) {
            Notice& notice = notices_[core];
            notice.change = this;
            notice.there = group_.peers()[core];
            notice.set_run([](Event& event, Reactor& here) {
                static_cast<Notice&>(event).change->arrive(static_cast<Notice&>(event), here);
            });
            group_.reactor().post(CoreId(static_cast<uint32_t>(core)), notice);
        }
    }

    void arrive(Notice& notice, Reactor& here) {
        const Nsid nsid = request_.sqe.nsid();
        notice.there->announce_namespaces(subsystem_, std::span(&nsid, 1));
        notice.set_run([](Event& event, Reactor&) {
            ProtectionChange& change = *static_cast<Notice&>(event).change;
            if (--change.away_ == 0) {
                change.end();
            }
        });
        here.post(group_.reactor().core(), notice);
    }

    void end() {
        const std::unique_ptr<ProtectionChange> owned(this);
        space_.release();
        group_.end_errand();
        request_.connection().complete(request_, outcome_);
    }

    [[nodiscard]] WriteProtection& protection() { return *space_.config().protection; }

    Request& request_;
    Namespace& space_;
    const WriteProtect wanted_;
    PollGroup& group_;
    const SubsystemId subsystem_ = request_.connection().link.subsystem->config().id;
    RangeFence fence_;
    std::vector<Notice> notices_;  // By core.
    size_t away_ = 0;
    NvmeStatus outcome_;
    bool has_changed_ = false;
};

}  // namespace

NvmeStatus get_write_protection(Request& request, bool wants_default) {
    const Namespace* found = find_visible(request);
    if (found == nullptr) {
        return status::kInvalidNamespace.with_dnr();
    }
    const WriteProtect state =
        wants_default ? WriteProtect::kNone : found->config().protection->state();
    request.cqe.dw0.set(static_cast<uint32_t>(state));
    return status::kSuccess;
}

NvmeStatus set_write_protection(Request& request) {
    Namespace* found = find_visible(request);
    if (found == nullptr) {
        return status::kInvalidNamespace.with_dnr();
    }
    const uint32_t value = FeaturesView(request.sqe).value() & 7U;
    if (value > static_cast<uint32_t>(WriteProtect::kUntilPowerCycle)) {
        return status::kInvalidField.with_dnr();
    }
    const auto wanted = static_cast<WriteProtect>(value);
    request.completes_later = true;
    std::make_unique<ProtectionChange>(request, *found, wanted).release()->begin();  // Owns itself.
    return status::kSuccess;
}

}  // namespace basalt::nvmf
