#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "control/cluster/chunk_map.h"
#include "control/cluster/cluster.pb.h"
#include "control/cluster/keys.h"
#include "control/cluster/records.h"
#include "control/metadata/store.h"
#include "control/placement/topology.h"

namespace basalt::cluster {

/// What a control process knows of the cluster: a copy of the records, kept up to date by a watch.
/// Decisions are made on it; each is a transaction whose conditions name the versions that it was
/// made on, so that an old copy costs a try and never does harm.
///
/// Life: load(), again whenever it is not current any more, then stop(). Owner: the process. Core:
/// the control thread's.
class ClusterView final : private metadata::WatchUser {
  public:
    template <typename Record>
    using Records = std::map<Uuid, Versioned<Record>>;

    explicit ClusterView(MetadataStore& store) : store_(store) {}
    ClusterView(const ClusterView&) = delete;
    ClusterView& operator=(const ClusterView&) = delete;
    ~ClusterView() override;

    /// Reads all there is, and watches from there. What was known stays until it is read. Not while
    /// another load() is under way. Errors: the store's; kDataCorrupt: a record makes no sense;
    /// kBusy: the store is being filled from a backup; kTryAgain: it changes too fast.
    [[nodiscard]] Task<Status> load();
    /// It follows the store. If not, load() again.
    [[nodiscard]] bool is_current() const { return is_current_; }
    void stop();

    /// Up to which all is known.
    [[nodiscard]] Revision revision() const { return revision_; }
    [[nodiscard]] const Records<Node>& nodes() const { return records_.nodes; }
    [[nodiscard]] const Records<Drive>& drives() const { return records_.drives; }
    [[nodiscard]] const Records<Volume>& volumes() const { return records_.volumes; }
    [[nodiscard]] const Records<Attachment>& attachments() const { return records_.attachments; }
    [[nodiscard]] const Records<Head>& heads() const { return records_.heads; }
    [[nodiscard]] const Records<TaskRecord>& tasks() const { return records_.tasks; }
    /// By name.
    [[nodiscard]] const std::map<std::string, Setting>& settings() const {
        return records_.settings;
    }
    /// Null: no such volume. One that is being created may not have all of it.
    [[nodiscard]] const ChunkMap* chunks(const Uuid& volume) const;

    /// Drives where they are; those where nothing may be put have no weight.
    [[nodiscard]] Result<placement::Topology> topology() const;

  private:
    struct All {
        Records<Node> nodes;
        Records<Drive> drives;
        Records<Volume> volumes;
        Records<Attachment> attachments;
        Records<Head> heads;
        Records<TaskRecord> tasks;
        std::map<std::string, Setting> settings;
        std::map<Uuid, ChunkMap> chunks;

        [[nodiscard]] Status put(const metadata::KeyValue& entry);
        [[nodiscard]] Status put_volume(const metadata::KeyValue& entry);
        [[nodiscard]] Status put_setting(const metadata::KeyValue& entry);
        [[nodiscard]] Status put_chunks(const metadata::KeyValue& entry);
        void erase(std::string_view key);
    };

    void changed(std::span<const metadata::WatchEvent> events) override;
    void lost() override { is_current_ = false; }
    [[nodiscard]] Task<Result<Revision>> read(All& all, std::string prefix, Revision at);

    MetadataStore& store_;
    All records_;
    Revision revision_;
    bool is_current_ = false;
};

}  // namespace basalt::cluster
