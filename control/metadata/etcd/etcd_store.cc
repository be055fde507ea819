#include "control/metadata/etcd/etcd_store.h"

#include <algorithm>
#include <utility>

#include "control/metadata/etcd/etcd.pb.h"
#include "control/metadata/etcd/messages.h"
#include "control/metadata/etcd/watch_stream.h"
#include "control/metadata/state.h"
#include "reactor/base/assert.h"
#include "reactor/base/log.h"

namespace basalt::metadata {

using etcd::Repeat;

/// A watch, from one stream to the next. Owner: the store.
class EtcdStore::Watch final : public etcd::WatchListener {
  public:
    Watch(EtcdStore& store, WatchUser& user, std::string prefix, Revision after)
        : store_(store), user_(user), prefix_(std::move(prefix)), after_(after) {
        retry_timer_.set([](Timer& /*timer*/, void* self) { static_cast<Watch*>(self)->begin(); },
                         this);
        begin();
    }
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    ~Watch() override {
        store_.link_.reactor().stop_timer(retry_timer_);
        if (stream_ != nullptr) {
            stream_->leave();
        }
    }

    [[nodiscard]] bool is_of(const WatchUser& user) const { return &user_ == &user; }

    void on_response(const etcd::WatchResponse& response) override {
        if (response.compact_revision() != 0) {
            WatchUser& user = user_;
            store_.unwatch(user);  // Destroys this.
            user.lost();
            return;
        }
        if (response.canceled()) {
            stream_->leave();
            stream_ = nullptr;
            begin_again(response.cancel_reason());
            return;
        }
        store_.link_.praise(endpoint_);
        const std::vector<WatchEvent> events = etcd::from_etcd(response, after_, store_.root_);
        if (!events.empty()) {
            after_ = events.back().revision;
            user_.changed(events);  // May destroy this.
        } else if (!response.created() && response.events().empty()) {
            // It has told us all up to there (rpc.proto, ResponseHeader).
            after_ =
                std::max(after_, Revision(static_cast<uint64_t>(response.header().revision())));
        }
    }
    void on_end(const grpc::Status& status) override {
        stream_ = nullptr;
        begin_again(status.error_message());
    }

  private:
    void begin() {
        endpoint_ = store_.link_.current();
        stream_ = new etcd::WatchStream(
            store_.link_, endpoint_, *this, etcd::to_watch(prefix_, after_, store_.root_));
    }
    void begin_again(const std::string& why) {
        store_.link_.leave(endpoint_, "a watch ended: " + why);
        store_.link_.reactor().start_timer(retry_timer_, etcd::kRetryPauseNs);
    }

    EtcdStore& store_;
    WatchUser& user_;
    const std::string prefix_;
    Revision after_;
    size_t endpoint_ = 0;
    etcd::WatchStream* stream_ = nullptr;  // Destroys itself after on_end() or leave().
    Timer retry_timer_;
};

Result<std::unique_ptr<EtcdStore>> EtcdStore::make(Reactor& here,
                                                   const etcd::EtcdOptions& options) {
    const bool has_endpoints = !options.endpoints.empty() &&
                               options.endpoints.size() <= etcd::kEndpointsMax &&
                               std::ranges::none_of(options.endpoints, &std::string::empty);
    const bool has_pair = options.tls.certificate.empty() == options.tls.key.empty();
    if (!has_endpoints || !has_pair || options.root.empty() || options.call_timeout_ns == 0 ||
        options.attempt_timeout_ns == 0) {
        return Errc::kInvalidArgument;
    }
    return std::unique_ptr<EtcdStore>(new EtcdStore(here, options));
}

EtcdStore::EtcdStore(Reactor& here, const etcd::EtcdOptions& options)
    : root_(options.root), link_(here, options) {}

EtcdStore::~EtcdStore() {
    BASALT_ASSERT(watches_.empty());
}

Task<Result<KeyValue>> EtcdStore::get(std::string key) {
    etcd::RangeRequest request;
    request.set_key(root_ + key);
    etcd::RangeResponse response;
    const Status asked =
        co_await link_.call("/etcdserverpb.KV/Range", request, response, Repeat::kSafe);
    if (!asked) {
        co_return asked.error();
    }
    if (response.kvs().empty() || key.empty()) {
        co_return Errc::kNotFound;
    }
    co_return etcd::from_etcd(response.kvs(0), root_);
}

Task<Result<Page>> EtcdStore::list(ListRequest request) {
    if (request.limit == 0 || request.limit > kPageKeysMax) {
        co_return Errc::kInvalidArgument;
    }
    const etcd::RangeRequest range = etcd::to_range(request, root_);
    etcd::RangeResponse response;
    const Status asked =
        co_await link_.call("/etcdserverpb.KV/Range", range, response, Repeat::kSafe);
    if (!asked) {
        co_return asked.error();
    }
    Page page{.keys = {},
              .has_more = response.more(),
              .revision = request.at != Revision()
                              ? request.at
                              : Revision(static_cast<uint64_t>(response.header().revision()))};
    page.keys.reserve(static_cast<size_t>(response.kvs_size()));
    for (const etcd::KeyValue& one : response.kvs()) {
        page.keys.push_back(etcd::from_etcd(one, root_));
    }
    co_return page;
}

Task<Result<Outcome>> EtcdStore::commit(Transaction transaction) {
    if (const Status sound = MetadataState::check(transaction); !sound) {
        co_return sound.error();
    }
    const etcd::TxnRequest request = etcd::to_txn(transaction, root_);
    const Repeat repeat = transaction.changes.empty() ? Repeat::kSafe : Repeat::kOnlyIfRefused;
    etcd::TxnResponse response;
    const Status done = co_await link_.call("/etcdserverpb.KV/Txn", request, response, repeat);
    if (!done) {
        co_return done.error();
    }
    co_return Outcome{.is_applied = response.succeeded(),
                      .revision = Revision(static_cast<uint64_t>(response.header().revision()))};
}

Task<Result<LeaseId>> EtcdStore::grant(uint64_t ttl_ns) {
    if (const Status sound = MetadataState::check_ttl(ttl_ns); !sound) {
        co_return sound.error();
    }
    etcd::LeaseGrantRequest request;
    request.set_ttl(static_cast<int64_t>((ttl_ns + kNsPerSecond - 1) / kNsPerSecond));
    etcd::LeaseGrantResponse response;
    // One that was granted and not heard of ends by itself.
    const Status done =
        co_await link_.call("/etcdserverpb.Lease/LeaseGrant", request, response, Repeat::kSafe);
    if (!done) {
        co_return done.error();
    }
    co_return LeaseId(static_cast<uint64_t>(response.id()));
}

Task<Status> EtcdStore::keep_alive(LeaseId lease) {
    etcd::LeaseKeepAliveRequest request;
    request.set_id(static_cast<int64_t>(lease.raw()));
    etcd::LeaseKeepAliveResponse response;
    // A stream in etcd's API. One request, its answer and the end look the same on the wire.
    const Status done =
        co_await link_.call("/etcdserverpb.Lease/LeaseKeepAlive", request, response, Repeat::kSafe);
    if (!done) {
        co_return done;
    }
    co_return response.ttl() > 0 ? kOk : Status(Errc::kNotFound);
}

Task<Status> EtcdStore::revoke(LeaseId lease) {
    etcd::LeaseRevokeRequest request;
    request.set_id(static_cast<int64_t>(lease.raw()));
    etcd::LeaseRevokeResponse response;
    co_return co_await link_.call(
        "/etcdserverpb.Lease/LeaseRevoke", request, response, Repeat::kOnlyIfRefused);
}

void EtcdStore::watch(WatchUser& user, std::string prefix, Revision after) {
    BASALT_ASSERT(
        std::ranges::none_of(watches_, [&](const auto& one) { return one->is_of(user); }));
    watches_.push_back(std::make_unique<Watch>(*this, user, std::move(prefix), after));
}

void EtcdStore::unwatch(WatchUser& user) {
    std::erase_if(watches_, [&user](const auto& one) { return one->is_of(user); });
}

Task<Status> EtcdStore::forget(Revision until) {
    // Asked for what is now, so that one of the future is told from one that is forgotten already:
    // etcd has one code for both.
    ListRequest probe{.prefix = "", .after = "", .limit = 1, .at = {}};
    const Result<Page> now = co_await list(std::move(probe));
    if (!now) {
        co_return now.error();
    }
    if (until > now->revision) {
        co_return Errc::kOutOfRange;
    }
    etcd::CompactionRequest request;
    request.set_revision(static_cast<int64_t>(until.raw()));
    etcd::CompactionResponse response;
    const Status done =
        co_await link_.call("/etcdserverpb.KV/Compact", request, response, Repeat::kSafe);
    co_return !done && done.error().code == Errc::kOutOfRange ? kOk : done;
}

Task<Result<EtcdHealth>> EtcdStore::health() {
    const etcd::StatusRequest request;
    etcd::StatusResponse status;
    const Status asked =
        co_await link_.call("/etcdserverpb.Maintenance/Status", request, status, Repeat::kSafe);
    if (!asked) {
        co_return asked.error();
    }
    const etcd::AlarmRequest which;
    etcd::AlarmResponse alarms;
    const Status heard =
        co_await link_.call("/etcdserverpb.Maintenance/Alarm", which, alarms, Repeat::kSafe);
    if (!heard) {
        co_return heard.error();
    }
    EtcdHealth health{.version = status.version(),
                      .member = status.header().member_id(),
                      .leader = status.leader(),
                      .size_bytes = static_cast<uint64_t>(status.dbsize()),
                      .size_in_use_bytes = static_cast<uint64_t>(status.dbsizeinuse()),
                      .alarms = {}};
    for (const etcd::AlarmMember& one : alarms.alarms()) {
        health.alarms.push_back({.member = one.memberid(),
                                 .kind = one.alarm() == etcd::NOSPACE
                                             ? EtcdHealth::Alarm::Kind::kNoSpace
                                             : EtcdHealth::Alarm::Kind::kCorrupt});
    }
    co_return health;
}

}  // namespace basalt::metadata
