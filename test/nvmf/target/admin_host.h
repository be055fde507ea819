#pragma once

#include <gtest/gtest.h>

#include "test/nvmf/target/scripted_host.h"

namespace basalt::nvmf {

/// A host on the admin queue of a controller of its own, which asks and sets what a test wants.
class AdminHost : public ScriptedHost {
  public:
    explicit AdminHost(TargetWorld& target_world,
                       std::string_view nqn = TargetWorld::kNqn,
                       uint32_t keep_alive_ms = 0)
        : ScriptedHost(target_world), cntlid(become_admin(nqn, keep_alive_ms)) {}

    enum class Select : uint8_t { kCurrent, kDefault, kSaved, kCapabilities };

    Cqe get_feature(uint8_t fid,
                    Select select = Select::kCurrent,
                    uint32_t value = 0,
                    uint32_t data_bytes = 0,
                    Bytes* data = nullptr) {
        Sqe sqe = make_command(nvme_admin_get_features, next_cid(), Nsid(0));
        sqe.cdw10.set(fid | (static_cast<uint32_t>(select) << 8U));
        sqe.cdw11.set(value);
        set_transport_data(sqe, data_bytes);
        return command(sqe, {}, data);
    }
    NvmeStatus set_feature(uint8_t fid, uint32_t value) {
        return command(make_set_features(next_cid(), fid, value)).status();
    }
    NvmeStatus set_feature_data(uint8_t fid, std::span<const std::byte> data) {
        Sqe sqe = make_set_features(next_cid(), fid, 0);
        set_in_capsule_data(sqe, static_cast<uint32_t>(data.size()));
        return command(sqe, data).status();
    }
    /// The first `bytes` of a log page.
    Bytes log_page(uint8_t lid, uint32_t bytes, Nsid nsid = kNsidAll, uint64_t offset = 0) {
        Sqe sqe = make_get_log_page(next_cid(), lid, offset, bytes);
        sqe.namespace_id.set(nsid.raw());
        Bytes data;
        EXPECT_TRUE(command(sqe, {}, &data).status().ok());
        return data;
    }
    template <typename T>
    T log(uint8_t lid, Nsid nsid = kNsidAll) {
        return as<T>(log_page(lid, sizeof(T), nsid));
    }
    template <typename T>
    T identify(uint8_t cns, uint32_t nsid = 0) {
        Bytes data;
        EXPECT_TRUE(command(make_identify(next_cid(), cns, Nsid(nsid)), {}, &data).status().ok());
        return as<T>(data);
    }

    CommandId next_cid() { return CommandId(next_cid_++); }

    const ControllerId cntlid;

  private:
    uint16_t next_cid_ = 100;
};

}  // namespace basalt::nvmf
