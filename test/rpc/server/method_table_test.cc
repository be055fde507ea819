#include "rpc/server/method_table.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "rpc/proto/bdev.pb.h"

namespace basalt::rpc {
namespace {

// A sink that remembers the last answer.
class RecordingSink : public CallSink {
  public:
    void call_done(const Call& call, const RpcError* error) override {
        ++answers;
        last_tag = call.tag();
        code = error != nullptr ? error->code : 0;
        message = error != nullptr ? error->message : call.response().ShortDebugString();
    }
    int answers = 0;
    uint64_t last_tag = 0;
    int32_t code = 0;
    std::string message;
};

class Handlers {
  public:
    void bdev_malloc_create(const v1::BdevMallocCreateRequest& request,
                            Reply<v1::BdevMallocCreateResponse> reply) {
        reply.result().set_name(request.name());
        reply.send();
    }
};

// Names are a promise to scripts: this list changes only on purpose.
const std::vector<std::string> kApiMethods = {
    "bdev_aio_create",
    "bdev_aio_delete",
    "bdev_aio_rescan",
    "bdev_delay_create",
    "bdev_delay_delete",
    "bdev_delay_update_latency",
    "bdev_enable_histogram",
    "bdev_error_create",
    "bdev_error_delete",
    "bdev_error_inject_error",
    "bdev_examine",
    "bdev_get_bdevs",
    "bdev_get_histogram",
    "bdev_get_iostat",
    "bdev_lvol_clone",
    "bdev_lvol_create",
    "bdev_lvol_create_lvstore",
    "bdev_lvol_decouple_parent",
    "bdev_lvol_delete",
    "bdev_lvol_delete_lvstore",
    "bdev_lvol_get_lvols",
    "bdev_lvol_get_lvstores",
    "bdev_lvol_grow_lvstore",
    "bdev_lvol_inflate",
    "bdev_lvol_receive",
    "bdev_lvol_rename",
    "bdev_lvol_resize",
    "bdev_lvol_send",
    "bdev_lvol_set_read_only",
    "bdev_lvol_snapshot",
    "bdev_lvol_stop_inflate",
    "bdev_malloc_create",
    "bdev_malloc_delete",
    "bdev_null_create",
    "bdev_null_delete",
    "bdev_null_resize",
    "bdev_nvme_attach_controller",
    "bdev_nvme_attach_passthrough",
    "bdev_nvme_detach_controller",
    "bdev_nvme_get_controllers",
    "bdev_nvme_get_discovery_info",
    "bdev_nvme_get_io_paths",
    "bdev_nvme_reset_controller",
    "bdev_nvme_set_keys",
    "bdev_nvme_set_multipath_policy",
    "bdev_nvme_set_options",
    "bdev_nvme_set_preferred_path",
    "bdev_nvme_start_discovery",
    "bdev_nvme_stop_discovery",
    "bdev_passthru_create",
    "bdev_passthru_delete",
    "bdev_qos_get_groups",
    "bdev_qos_group_create",
    "bdev_qos_group_delete",
    "bdev_qos_group_set_limit",
    "bdev_replicated_create",
    "bdev_replicated_delete",
    "bdev_replicated_delete_snapshot",
    "bdev_replicated_get",
    "bdev_replicated_get_scrub",
    "bdev_replicated_get_snapshots",
    "bdev_replicated_replace_replica",
    "bdev_replicated_scrub",
    "bdev_replicated_snapshot",
    "bdev_replicated_stop_scrub",
    "bdev_replicated_take_over",
    "bdev_reset_iostat",
    "bdev_set_qos_limit",
    "bdev_store_check",
    "bdev_store_close",
    "bdev_store_get_changed_ranges",
    "bdev_store_get_progress",
    "bdev_store_get_stats",
    "bdev_store_get_transfers",
    "bdev_store_open",
    "bdev_store_rollback",
    "bdev_store_scrub",
    "bdev_store_set_low_space",
    "bdev_store_snapshot_group",
    "bdev_store_stop_scrub",
    "bdev_store_stop_transfer",
    "bdev_uring_create",
    "bdev_uring_delete",
    "bdev_uring_rescan",
    "bdev_wait_for_examine",
    "cluster_add_drive",
    "cluster_attach_volume",
    "cluster_create_volume",
    "cluster_delete_volume",
    "cluster_detach_volume",
    "cluster_explain_placement",
    "cluster_get_chunks",
    "cluster_get_drives",
    "cluster_get_nodes",
    "cluster_get_settings",
    "cluster_get_status",
    "cluster_get_volumes",
    "cluster_register_node",
    "cluster_remove_drive",
    "cluster_remove_node",
    "cluster_rename_volume",
    "cluster_set_drive",
    "cluster_set_node",
    "cluster_set_setting",
    "framework_get_config",
    "framework_get_reactors",
    "framework_get_scheduler",
    "framework_get_subsystems",
    "framework_set_scheduler",
    "framework_wait_init",
    "keyring_file_add_key",
    "keyring_file_remove_key",
    "keyring_get_keys",
    "load_config",
    "log_get_level",
    "log_set_level",
    "node_get_info",
    "nvmf_create_subsystem",
    "nvmf_create_transport",
    "nvmf_delete_subsystem",
    "nvmf_discovery_add_referral",
    "nvmf_discovery_get_referrals",
    "nvmf_discovery_remove_referral",
    "nvmf_get_stats",
    "nvmf_get_subsystems",
    "nvmf_get_transports",
    "nvmf_ns_add_host",
    "nvmf_ns_remove_host",
    "nvmf_set_config",
    "nvmf_subsystem_add_host",
    "nvmf_subsystem_add_listener",
    "nvmf_subsystem_add_ns",
    "nvmf_subsystem_allow_any_host",
    "nvmf_subsystem_get_controllers",
    "nvmf_subsystem_get_listeners",
    "nvmf_subsystem_get_qpairs",
    "nvmf_subsystem_listener_set_ana_state",
    "nvmf_subsystem_move_qpair",
    "nvmf_subsystem_remove_host",
    "nvmf_subsystem_remove_listener",
    "nvmf_subsystem_remove_ns",
    "nvmf_subsystem_set_host_qos_limit",
    "nvmf_subsystem_set_keys",
    "nvmf_subsystem_set_ns_ana_group",
    "nvmf_subsystem_set_qos_limit",
    "replication_add_drive",
    "replication_create_replica",
    "replication_delete_replica",
    "replication_get_replicas",
    "replication_get_server",
    "replication_remove_drive",
    "replication_start_server",
    "replication_stop_server",
    "rpc_get_methods",
    "save_config",
    "spdk_get_version",
    "spdk_kill_instance",
    "thread_get_stats",
};

TEST(MethodTable, DeclaresExactlyTheMethodsOfTheApi) {
    const MethodTable table;
    EXPECT_EQ(table.unhandled(), kApiMethods);
}

TEST(MethodTable, FindsAMethodByBothNamesOnceItHasAHandler) {
    MethodTable table;
    Handlers handlers;
    EXPECT_EQ(table.find("bdev_malloc_create"), nullptr);
    EXPECT_EQ(table.find_grpc("/basalt.v1.Bdev/BdevMallocCreate"), nullptr);
    table.add("bdev_malloc_create", handlers, &Handlers::bdev_malloc_create);
    ASSERT_NE(table.find("bdev_malloc_create"), nullptr);
    EXPECT_EQ(table.find("bdev_malloc_create"),
              table.find_grpc("/basalt.v1.Bdev/BdevMallocCreate"));
    EXPECT_EQ(table.find("BdevMallocCreate"), nullptr);
    EXPECT_EQ(table.find("bdev_malloc"), nullptr);
}

TEST(MethodTable, DispatchesToTheHandlerAndReturnsTheTag) {
    MethodTable table;
    Handlers handlers;
    table.add("bdev_malloc_create", handlers, &Handlers::bdev_malloc_create);
    RecordingSink sink;
    auto request = std::make_unique<v1::BdevMallocCreateRequest>();
    request->set_name("Malloc7");
    request->set_num_blocks(1);
    request->set_block_size(512);
    MethodTable::dispatch(*table.find("bdev_malloc_create"), std::move(request), sink, 99);
    EXPECT_EQ(sink.answers, 1);
    EXPECT_EQ(sink.last_tag, 99U);
    EXPECT_EQ(sink.message, "name: \"Malloc7\"");
    EXPECT_EQ(sink.outstanding(), 0U);
}

TEST(MethodTable, RefusesARequestThatBreaksItsRulesBeforeTheHandlerSeesIt) {
    MethodTable table;
    Handlers handlers;
    table.add("bdev_malloc_create", handlers, &Handlers::bdev_malloc_create);
    RecordingSink sink;
    auto request = std::make_unique<v1::BdevMallocCreateRequest>();
    request->set_num_blocks(1);
    request->set_block_size(511);
    MethodTable::dispatch(*table.find("bdev_malloc_create"), std::move(request), sink, 1);
    EXPECT_EQ(sink.code, -32602);
    EXPECT_EQ(sink.message, "parameter 'block_size' must be from 512 to 65536");
}

TEST(MethodTableDeathTest, AbortsOnAHandlerForAMethodThatTheFilesDoNotDeclare) {
    MethodTable table;
    Handlers handlers;
    EXPECT_DEATH(table.add("bdev_malloc_make", handlers, &Handlers::bdev_malloc_create),
                 "methods_");
    EXPECT_DEATH(table.add("bdev_null_create", handlers, &Handlers::bdev_malloc_create),
                 "input_type");
    table.add("bdev_malloc_create", handlers, &Handlers::bdev_malloc_create);
    EXPECT_DEATH(table.add("bdev_malloc_create", handlers, &Handlers::bdev_malloc_create),
                 "handler == nullptr");
}

TEST(SnakeCase, PutsAnUnderscoreBeforeEachCapital) {
    EXPECT_EQ(snake_case("BdevNvmeAttachPassthrough"), "bdev_nvme_attach_passthrough");
    EXPECT_EQ(snake_case("SaveConfig"), "save_config");
    EXPECT_EQ(snake_case(""), "");
}

}  // namespace
}  // namespace basalt::rpc
