#pragma once

#include <memory>
#include <string>

#include "control/config/config.h"
#include "control/metadata/embedded_store.h"
#include "control/metadata/etcd/etcd_store.h"
#include "control/plane/store_source.h"
#include "reactor/io/uring_driver.h"

namespace basalt::cluster {

/// The store that a configuration names: a file, or an etcd. Owner: the daemon. Core: the control
/// thread's.
class MetadataSource final : public StoreSource {
  public:
    /// Reads the files of TLS. Errors, explained in `problem`: those of reading.
    [[nodiscard]] static Result<std::unique_ptr<MetadataSource>> make(
        Reactor& here,
        UringDriver& driver,
        const control::MetadataConfig& config,
        std::string& problem);
    MetadataSource(const MetadataSource&) = delete;
    MetadataSource& operator=(const MetadataSource&) = delete;
    ~MetadataSource() override = default;

    [[nodiscard]] Result<metadata::MetadataStore*> open(std::string& problem) override;
    void close() override;
    [[nodiscard]] std::string kind() const override;
    [[nodiscard]] std::string address() const override;

  private:
    /// Lets an etcd's store work when its descriptor is ready.
    class Watcher final : public FdWatcher {
      public:
        Watcher(UringDriver& driver, metadata::EtcdStore& store);
        Watcher(const Watcher&) = delete;
        Watcher& operator=(const Watcher&) = delete;
        ~Watcher() override;
        void on_ready(uint32_t /*events*/) override { store_.process_ready(); }

      private:
        UringDriver& driver_;
        metadata::EtcdStore& store_;
    };

    MetadataSource(Reactor& here, UringDriver& driver, const control::MetadataConfig& config);

    Reactor& here_;
    UringDriver& driver_;
    const control::MetadataConfig config_;
    metadata::etcd::TlsOptions tls_;
    std::unique_ptr<metadata::EmbeddedStore> file_;  // One of the two, while it is open.
    std::unique_ptr<metadata::EtcdStore> etcd_;
    std::unique_ptr<Watcher> watcher_;
};

}  // namespace basalt::cluster
