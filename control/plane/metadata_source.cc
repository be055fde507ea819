#include "control/plane/metadata_source.h"

#include "control/config/file.h"

namespace basalt::cluster {

using metadata::EmbeddedStore;
using metadata::EtcdStore;

MetadataSource::Watcher::Watcher(UringDriver& driver, EtcdStore& store)
    : driver_(driver), store_(store) {
    driver_.watch(store_.poll_fd(), *this);
}

MetadataSource::Watcher::~Watcher() {
    driver_.unwatch(*this);
}

MetadataSource::MetadataSource(Reactor& here,
                               UringDriver& driver,
                               const control::MetadataConfig& config)
    : here_(here), driver_(driver), config_(config) {}

Result<std::unique_ptr<MetadataSource>> MetadataSource::make(Reactor& here,
                                                             UringDriver& driver,
                                                             const control::MetadataConfig& config,
                                                             std::string& problem) {
    std::unique_ptr<MetadataSource> source(new MetadataSource(here, driver, config));
    const auto read = [&problem](const std::string& path, std::string& contents) -> Status {
        if (!path.empty()) {
            BASALT_TRY(contents, control::read_file(path, problem));
        }
        return kOk;
    };
    BASALT_CHECK(read(config.ca_file, source->tls_.authority));
    BASALT_CHECK(read(config.cert_file, source->tls_.certificate));
    BASALT_CHECK(read(config.key_file, source->tls_.key));
    return source;
}

Result<metadata::MetadataStore*> MetadataSource::open(std::string& problem) {
    if (config_.endpoints.empty()) {
        Result<std::unique_ptr<EmbeddedStore>> opened = EmbeddedStore::open(here_, config_.path);
        if (!opened) {
            problem = config_.path + ": " + std::string(describe(opened.error().code));
            return opened.error();
        }
        file_ = std::move(*opened);
        return file_.get();
    }
    metadata::etcd::EtcdOptions options{
        .endpoints = config_.endpoints, .has_tls = config_.has_tls, .tls = tls_};
    if (!config_.root.empty()) {
        options.root = config_.root;
    }
    Result<std::unique_ptr<EtcdStore>> made = EtcdStore::make(here_, options);
    if (!made) {
        problem = "[metadata]: " + std::string(describe(made.error().code));
        return made.error();
    }
    etcd_ = std::move(*made);
    watcher_ = std::make_unique<Watcher>(driver_, *etcd_);
    return etcd_.get();
}

void MetadataSource::close() {
    watcher_.reset();
    etcd_.reset();
    file_.reset();
}

std::string MetadataSource::kind() const {
    return config_.endpoints.empty() ? "embedded" : "etcd";
}

std::string MetadataSource::address() const {
    if (config_.endpoints.empty()) {
        return config_.path;
    }
    std::string list;
    for (const std::string& one : config_.endpoints) {
        list += (list.empty() ? "" : ",") + one;
    }
    return list;
}

}  // namespace basalt::cluster
