#pragma once

#include <string>

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include "control/metadata/etcd/endpoint.h"
#include "control/metadata/etcd/etcd.pb.h"
#include "control/metadata/etcd/inbox.h"

namespace basalt::metadata::etcd {

/// Who wants the answers of a WatchStream. On the control thread.
class WatchListener {
  public:
    virtual ~WatchListener() = default;
    /// May leave the stream, and be destroyed with that.
    virtual void on_response(const WatchResponse& response) = 0;
    /// The last call.
    virtual void on_end(const grpc::Status& status) = 0;
};

/// One watch over one stream of one member. The next answer is only read when the one before has
/// been taken, so that a slow listener holds the stream up instead of filling memory.
///
/// Destroys itself when gRPC has let go of it. Core: the control thread's, but for what gRPC calls.
class WatchStream final : public grpc::ClientBidiReactor<WatchRequest, WatchResponse> {
  public:
    /// Begins the watch. `listener` lives until on_end() or leave().
    WatchStream(EtcdLink& link, size_t endpoint, WatchListener& listener, WatchRequest request);

    /// `listener` is not called any more.
    void leave();

    void OnReadDone(bool is_ok) override;
    void OnDone(const grpc::Status& status) override;

  private:
    class Read final : public Arrival {
      public:
        explicit Read(WatchStream& stream) : stream_(stream) {}
        void arrived() override { stream_.read_done(); }

      private:
        WatchStream& stream_;
    };
    class Done final : public Arrival {
      public:
        explicit Done(WatchStream& stream) : stream_(stream) {}
        void arrived() override { stream_.all_done(); }

      private:
        WatchStream& stream_;
    };

    ~WatchStream() override = default;
    void read_next();
    void read_done();
    void all_done();

    EtcdLink& link_;
    WatchListener* listener_;
    const WatchRequest request_;
    grpc::ClientContext context_;
    WatchResponse response_;
    bool is_read_ = false;
    grpc::Status status_;
    Read read_{*this};
    Done done_{*this};
};

}  // namespace basalt::metadata::etcd
