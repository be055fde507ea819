#include "control/config/load.h"

#include <cstdlib>
#include <fstream>

#include <gtest/gtest.h>
#include <unistd.h>

#include "control/config/file.h"

namespace basalt::control {
namespace {

using Json = nlohmann::json;

Config parse(std::string_view text) {
    std::string problem;
    auto config = parse_config(text, "b.toml", problem);
    EXPECT_TRUE(config) << problem;
    return config ? std::move(*config) : Config();
}

std::string refusal(std::string_view text) {
    std::string problem;
    const auto config = parse_config(text, "b.toml", problem);
    if (config) {
        return "accepted";
    }
    EXPECT_EQ(config.error().code, Errc::kInvalidArgument);
    return problem;
}

TEST(LoadConfig, AnEmptyFileIsTheDefaults) {
    const Config config = parse("");
    EXPECT_EQ(config.rpc_socket, "/var/tmp/basalt.sock");
    EXPECT_TRUE(config.rpc_tcp.empty());
    EXPECT_FALSE(config.grpc_port);
    EXPECT_TRUE(config.cores.empty());
    EXPECT_EQ(config.hugepages, 0U);
    EXPECT_EQ(config.poll, PollMode::kAdaptive);
    EXPECT_EQ(config.log.level, LogLevel::kInfo);
    EXPECT_FALSE(config.log.is_json);
    EXPECT_TRUE(config.calls.empty());
}

TEST(LoadConfig, ReadsPoolsAndTheirVolumes) {
    const Config config = parse(R"(
        [[bdev]]
        name = "disk"
        type = "file"
        path = "/d"
        [[pool]]
        name = "p"
        bdev = "disk"
        create = true
        partitions = 2
        low_space_percent = 20
        [[pool.volume]]
        name = "v"
        size = "10GiB"
        block_size = 512
        rw_ios_per_sec = 1000
        [[pool.volume]]
        name = "w"
        size = "1MiB"
    )");
    ASSERT_EQ(config.calls.size(), 6U);
    EXPECT_EQ(config.calls[1].method, "bdev_store_open");
    EXPECT_EQ(
        config.calls[1].params,
        (Json{{"bdev_name", "disk"}, {"lvs_name", "p"}, {"create", true}, {"partitions", 2}}));
    EXPECT_FALSE(config.calls[1].may_exist);
    EXPECT_EQ(config.calls[2].method, "bdev_store_set_low_space");
    EXPECT_EQ(config.calls[2].params, (Json{{"lvs_name", "p"}, {"percent", 20}}));
    EXPECT_EQ(config.calls[3].method, "bdev_lvol_create");
    EXPECT_EQ(
        config.calls[3].params,
        (Json{{"lvs_name", "p"}, {"lvol_name", "v"}, {"size_in_mib", 10240}, {"block_size", 512}}));
    EXPECT_TRUE(config.calls[3].may_exist);
    EXPECT_EQ(config.calls[4].method, "bdev_set_qos_limit");
    EXPECT_EQ(config.calls[4].params, (Json{{"name", "p/v"}, {"rw_ios_per_sec", 1000}}));
    EXPECT_EQ(config.calls[5].params,
              (Json{{"lvs_name", "p"}, {"lvol_name", "w"}, {"size_in_mib", 1}}));
}

TEST(LoadConfig, RefusesWhatIsWrongInAPool) {
    const auto pool = [](const std::string& rest) {
        return refusal("[[pool]]\nname = \"p\"\n" + rest);
    };
    EXPECT_NE(pool("").find("bdev: is missing"), std::string::npos);
    EXPECT_NE(pool("bdev = \"d\"\ncreat = true").find("creat"), std::string::npos);
    EXPECT_NE(pool("bdev = \"d\"\nlow_space_percent = 100").find("low_space_percent"),
              std::string::npos);
    const std::string volume = "bdev = \"d\"\n[[pool.volume]]\nname = \"v\"\n";
    EXPECT_NE(pool(volume).find("size: is missing"), std::string::npos);
    EXPECT_NE(pool(volume + "size = 1000").find("multiple of 1048576"), std::string::npos);
    EXPECT_NE(pool(volume + "size = \"1MiB\"\nthin = true").find("thin"), std::string::npos);
}

TEST(LoadConfig, ReadsEveryKeyOfTheProcess) {
    const Config config = parse(R"(
        uuid = "00000000-0000-0000-0000-000000000001"
        grpc_port = 9101
        rpc_socket = "/run/basalt.sock"
        rpc_tcp = "[::1]:5260"
        cores = "0,2-3"
        hugepages = 512
        poll = "busy"
        idle_before_sleep_us = 250
        [log]
        level = "debug"
        json = true
        [nvmf]
        discovery_port = 8010
    )");
    EXPECT_EQ(config.uuid, "00000000-0000-0000-0000-000000000001");
    EXPECT_EQ(config.grpc_port, 9101);
    EXPECT_EQ(config.rpc_socket, "/run/basalt.sock");
    EXPECT_EQ(config.rpc_tcp, "[::1]:5260");
    EXPECT_EQ(config.cores, std::vector<uint32_t>({0, 2, 3}));
    EXPECT_EQ(config.hugepages, 512U);
    EXPECT_EQ(config.poll, PollMode::kBusy);
    EXPECT_EQ(config.idle_before_sleep_ns, 250'000U);
    EXPECT_EQ(config.log.level, LogLevel::kDebug);
    EXPECT_TRUE(config.log.is_json);
    EXPECT_EQ(config.discovery_port, 8010);
}

TEST(LoadConfig, TurnsTheTablesOfAVolumeIntoCallsInTheirOrder) {
    const Config config = parse(R"(
nvme_tcp_port = 4421
[nvmf]
max_io_size = "64KiB"
handshake_timeout_ms = 500
max_connections_per_host = 20
[[subsystem]]
nqn = "nqn.2026-01.io.basalt:vol1"
serial_number = "B1"
hosts = ["nqn.host:a"]
[[subsystem.namespace]]
bdev = "vol1"
nsid = 5
[[bdev]]
name = "vol1"
type = "malloc"
size = "64MiB"
block_size = 512
)");
    ASSERT_EQ(config.calls.size(), 6U);
    EXPECT_EQ(config.calls[0].method, "bdev_malloc_create");
    EXPECT_EQ(config.calls[0].params,
              Json({{"name", "vol1"}, {"block_size", 512}, {"num_blocks", 131072}}));
    EXPECT_EQ(config.calls[0].origin, "b.toml:14: bdev");
    EXPECT_EQ(config.calls[1].method, "nvmf_create_transport");
    EXPECT_EQ(config.calls[1].params,
              Json({{"trtype", "TCP"},
                    {"max_io_size", 65536},
                    {"handshake_timeout_ms", 500},
                    {"max_connections_per_host", 20}}));
    EXPECT_EQ(config.calls[2].method, "nvmf_create_subsystem");
    EXPECT_EQ(config.calls[2].params,
              Json({{"nqn", "nqn.2026-01.io.basalt:vol1"},
                    {"allow_any_host", false},
                    {"serial_number", "B1"}}));
    EXPECT_EQ(config.calls[3].method, "nvmf_subsystem_add_host");
    EXPECT_EQ(config.calls[3].params,
              Json({{"nqn", "nqn.2026-01.io.basalt:vol1"}, {"host", "nqn.host:a"}}));
    EXPECT_EQ(config.calls[4].method, "nvmf_subsystem_add_ns");
    EXPECT_EQ(config.calls[4].params,
              Json({{"nqn", "nqn.2026-01.io.basalt:vol1"},
                    {"namespace", {{"bdev_name", "vol1"}, {"nsid", 5}}}}));
    EXPECT_EQ(config.calls[5].method, "nvmf_subsystem_add_listener");
    EXPECT_EQ(
        config.calls[5].params["listen_address"],
        Json({{"trtype", "TCP"}, {"adrfam", "IPv4"}, {"traddr", "0.0.0.0"}, {"trsvcid", "4421"}}));
}

TEST(LoadConfig, ListensWhenAllSubsystemsAreThere) {
    const Config config = parse(R"(
[[subsystem]]
nqn = "nqn.2026-01.io.basalt:a"
allow_any_host = true
[[subsystem]]
nqn = "nqn.2026-01.io.basalt:b"
allow_any_host = true
[[referral]]
address = "192.0.2.1"
)");
    std::vector<std::string> methods;
    for (const StartupCall& call : config.calls) {
        methods.push_back(call.method);
    }
    EXPECT_EQ(methods,
              (std::vector<std::string>{"nvmf_create_transport",
                                        "nvmf_create_subsystem",
                                        "nvmf_create_subsystem",
                                        "nvmf_discovery_add_referral",
                                        "nvmf_subsystem_add_listener",
                                        "nvmf_subsystem_add_listener"}));
}

TEST(LoadConfig, NamesKeysBeforeTheHostsThatHaveThem) {
    const Config config = parse(R"(
[[subsystem]]
nqn = "nqn.2026-01.io.basalt:vol1"
secure_channel = true
[[subsystem.host]]
nqn = "nqn.host:a"
psk = "host-a"
[[key]]
name = "host-a"
path = "/etc/basalt/host-a.key"
)");
    ASSERT_EQ(config.calls.size(), 5U);
    EXPECT_EQ(config.calls[0].method, "keyring_file_add_key");
    EXPECT_EQ(config.calls[0].params,
              Json({{"name", "host-a"}, {"path", "/etc/basalt/host-a.key"}}));
    EXPECT_EQ(config.calls[3].method, "nvmf_subsystem_add_host");
    EXPECT_EQ(
        config.calls[3].params,
        Json({{"nqn", "nqn.2026-01.io.basalt:vol1"}, {"host", "nqn.host:a"}, {"psk", "host-a"}}));
    EXPECT_EQ(config.calls[4].params["secure_channel"], true);
}

TEST(LoadConfig, ReadsPathsVisibilityAndReferrals) {
    const Config config = parse(R"(
[[subsystem]]
nqn = "nqn.2026-01.io.basalt:vol1"
allow_any_host = true
ana_reporting = true
max_namespaces = 8
min_cntlid = 1
max_cntlid = 1000
ana_state = "non_optimized"
[[subsystem.namespace]]
bdev = "vol1"
nsid = 5
anagrpid = 2
hosts = ["nqn.host:a", "nqn.host:b"]
[[referral]]
address = "192.0.2.2"
[[referral]]
address = "[2001:db8::2]:4420"
nqn = "nqn.2026-01.io.basalt:vol2"
secure_channel = true
)");
    ASSERT_EQ(config.calls.size(), 8U);
    EXPECT_EQ(config.calls[1].params,
              Json({{"nqn", "nqn.2026-01.io.basalt:vol1"},
                    {"allow_any_host", true},
                    {"max_namespaces", 8},
                    {"ana_reporting", true},
                    {"min_cntlid", 1},
                    {"max_cntlid", 1000}}));
    EXPECT_EQ(
        config.calls[2].params["namespace"],
        Json({{"bdev_name", "vol1"}, {"nsid", 5}, {"anagrpid", 2}, {"no_auto_visible", true}}));
    EXPECT_EQ(config.calls[3].method, "nvmf_ns_add_host");
    EXPECT_EQ(config.calls[4].params,
              Json({{"nqn", "nqn.2026-01.io.basalt:vol1"}, {"nsid", 5}, {"host", "nqn.host:b"}}));
    EXPECT_EQ(config.calls[5].method, "nvmf_discovery_add_referral");
    EXPECT_EQ(config.calls[5].params["address"]["trsvcid"], "8009");
    EXPECT_FALSE(config.calls[5].params.contains("subnqn"));
    EXPECT_EQ(config.calls[6].params["address"]["trsvcid"], "4420");
    EXPECT_EQ(config.calls[6].params["subnqn"], "nqn.2026-01.io.basalt:vol2");
    EXPECT_EQ(config.calls[6].params["secure_channel"], true);
    EXPECT_EQ(config.calls[7].params["ana_state"], "non_optimized");
    const std::string subsystem = "[[subsystem]]\nnqn = \"n\"\nallow_any_host = true\n";
    EXPECT_EQ(refusal(subsystem + "[[subsystem.namespace]]\nbdev = \"a\"\nhosts = [\"h\"]"),
              "b.toml:4: subsystem.namespace.nsid: is missing; a namespace with hosts needs it");
    EXPECT_EQ(refusal("[[referral]]\naddress = \"there\""),
              "b.toml:2: referral.address: 'there' is no address; write for example "
              "\"0.0.0.0:4420\" or \"[::]:4420\"");
}

TEST(LoadConfig, ReadsEachKindOfDevice) {
    const Config config = parse(R"(
[[bdev]]
name = "n"
type = "null"
size = "1GiB"
[[bdev]]
name = "f"
type = "file"
path = "/srv/f.img"
size = "1.5G"
readonly = true
[[bdev]]
name = "d"
type = "nvme"
nguid = "0123456789ABCDEF0123456789ABCDEF"
)");
    ASSERT_EQ(config.calls.size(), 3U);
    EXPECT_EQ(config.calls[0].params["num_blocks"], 262144);
    EXPECT_EQ(config.calls[1].method, "bdev_aio_create");
    EXPECT_EQ(config.calls[1].params,
              Json({{"name", "f"}, {"filename", "/srv/f.img"}, {"readonly", true}}));
    ASSERT_TRUE(config.calls[1].new_file);
    EXPECT_EQ(config.calls[1].new_file->path, "/srv/f.img");
    EXPECT_EQ(config.calls[1].new_file->size_bytes, 1'610'612'736U);
    ASSERT_TRUE(config.calls[1].file);
    EXPECT_EQ(config.calls[1].file->path, "/srv/f.img");
    EXPECT_EQ(config.calls[1].file->origin.substr(config.calls[1].file->origin.find(": ")),
              ": bdev.path");
    EXPECT_EQ(config.calls[2].method, "bdev_nvme_attach_passthrough");
    EXPECT_EQ(config.calls[2].params["nguid"], "0123456789ABCDEF0123456789ABCDEF");
}

TEST(LoadConfig, ASubsystemsOwnListenersComeBeforeThoseOfNvmf) {
    const Config config = parse(R"(
[nvmf]
listen = ["10.0.0.1", "[::1]:4425"]
[[subsystem]]
nqn = "nqn.2026-01.io.basalt:a"
allow_any_host = true
[[subsystem]]
nqn = "nqn.2026-01.io.basalt:b"
allow_any_host = true
listen = ["::"]
)");
    ASSERT_EQ(config.calls.size(), 6U);
    EXPECT_EQ(config.calls[3].params["listen_address"]["traddr"], "10.0.0.1");
    EXPECT_EQ(config.calls[3].params["listen_address"]["trsvcid"], "4420");
    EXPECT_EQ(config.calls[4].params["listen_address"]["traddr"], "::1");
    EXPECT_EQ(config.calls[4].params["listen_address"]["trsvcid"], "4425");
    EXPECT_EQ(config.calls[5].params["listen_address"]["traddr"], "::");
    EXPECT_EQ(config.calls[5].params["listen_address"]["adrfam"], "IPv6");
}

TEST(LoadConfig, AnUnknownKeyIsAnErrorWithItsLineAndTheKeyThatWasMeant) {
    EXPECT_EQ(refusal("\nhugepage = 5\n"),
              "b.toml:2: hugepage: unknown key; did you mean 'hugepages'?");
    EXPECT_EQ(refusal("[log]\nlevle = \"info\"\n"),
              "b.toml:2: log.levle: unknown key; did you mean 'level'?");
    EXPECT_EQ(refusal("zebra = 1"), "b.toml:1: zebra: unknown key");
    EXPECT_EQ(refusal("[nvmf]\n\nlisen = []"),
              "b.toml:3: nvmf.lisen: unknown key; did you mean 'listen'?");
    EXPECT_EQ(refusal("[[bdev]]\nname = \"a\"\ntype = \"null\"\nsize = 4096\npath = \"x\""),
              "b.toml:5: bdev.path: unknown key");
}

TEST(LoadConfig, AWrongTypeIsAnErrorThatSaysWhichTypeIsRight) {
    EXPECT_EQ(refusal("uuid = 1"), "b.toml:1: uuid: must be text, not a whole number");
    EXPECT_EQ(refusal("\n\nhugepages = \"5\""),
              "b.toml:3: hugepages: must be a whole number, not text");
    EXPECT_EQ(refusal("hugepages = 1.5"),
              "b.toml:1: hugepages: must be a whole number, not a fraction");
    EXPECT_EQ(refusal("[log]\njson = \"yes\""),
              "b.toml:2: log.json: must be true or false, not text");
    EXPECT_EQ(refusal("log = 5"),
              "b.toml:1: log: must be a table, as in [log], not a whole number");
    EXPECT_EQ(refusal("bdev = {name = \"x\"}"),
              "b.toml:1: bdev: must be a list of tables, as in [[bdev]], not a table");
    EXPECT_EQ(refusal("[nvmf]\nlisten = \"::\""),
              "b.toml:2: nvmf.listen: must be a list of texts, not text");
    EXPECT_EQ(refusal("[nvmf]\nlisten = [\"::\",\n 5]"),
              "b.toml:3: nvmf.listen: each element must be text, not a whole number");
}

TEST(LoadConfig, AnImpossibleValueIsAnErrorThatSaysWhatIsPossible) {
    EXPECT_EQ(refusal("grpc_port = 65536"),
              "b.toml:1: grpc_port: must be from 1 to 65535, not 65536");
    EXPECT_EQ(refusal("hugepages = -1"), "b.toml:1: hugepages: must be from 0 to 524288, not -1");
    EXPECT_EQ(refusal("poll = \"never\""),
              "b.toml:1: poll: must be one of \"adaptive\", \"busy\", not \"never\"");
    EXPECT_NE(refusal("cores = \"3-1\"").find("b.toml:1: cores: '3-1' is no set of processors"),
              std::string::npos);
    EXPECT_NE(refusal("cores = \"0-63\"").find("at most 63 reactors"), std::string::npos);
    EXPECT_EQ(refusal("uuid = \"5\""), "b.toml:1: uuid: '5' is no UUID");
    EXPECT_EQ(refusal("rpc_socket = \"\""),
              "b.toml:1: rpc_socket: must be the path of a Unix socket");
    EXPECT_NE(refusal("rpc_tcp = \"0.0.0.0:5260\"").find("loopback"), std::string::npos);
    EXPECT_NE(refusal("rpc_tcp = \"127.0.0.1\"").find("is no address"), std::string::npos);
    EXPECT_NE(refusal("rpc_tcp = \"localhost:80\"").find("is no address"), std::string::npos);
    EXPECT_NE(refusal("[log]\nlevel = \"loud\"").find("b.toml:2: log.level: must be one of"),
              std::string::npos);
    EXPECT_NE(refusal("[nvmf]\nlisten = [\"host\"]").find("b.toml:2: nvmf.listen: 'host' is no"),
              std::string::npos);
}

TEST(LoadConfig, ADeviceThatCanNotBeIsAnError) {
    const auto device = [](const std::string& lines) { return refusal("[[bdev]]\n" + lines); };
    EXPECT_NE(device("name = \"a\"").find("b.toml:1: bdev.type: is missing"), std::string::npos);
    EXPECT_EQ(device("type = \"null\""), "b.toml:1: bdev.name: is missing");
    EXPECT_EQ(device("type = \"null\"\nname = \"a\""), "b.toml:1: bdev.size: is missing");
    EXPECT_NE(device("type = \"tape\"\nname = \"a\"").find("must be one of \"null\""),
              std::string::npos);
    const std::string malloc = "type = \"malloc\"\nname = \"a\"\n";
    EXPECT_EQ(device(malloc + "size = 5000"),
              "b.toml:4: bdev.size: must be a multiple of 4096 bytes");
    EXPECT_EQ(device(malloc + "size = \"5 apples\""),
              "b.toml:4: bdev.size: '5 apples' is no size; write for example \"64MiB\" or "
              "\"1.5GiB\"");
    EXPECT_NE(device(malloc + "size = \"0MiB\"").find("no whole number of bytes"),
              std::string::npos);
    EXPECT_NE(device(malloc + "size = \"99999999T\"").find("no whole number of bytes"),
              std::string::npos);
    EXPECT_NE(device(malloc + "size = \"iB\"").find("is no size"), std::string::npos);
    EXPECT_EQ(device(malloc + "size = 8192\nblock_size = 600"),
              "b.toml:5: bdev.block_size: must be a power of two");
    EXPECT_EQ(device("type = \"file\"\nname = \"a\""), "b.toml:1: bdev.path: is missing");
    EXPECT_NE(device("type = \"nvme\"\nname = \"a\"").find("exactly one of nguid"),
              std::string::npos);
}

TEST(LoadConfig, ASubsystemThatNobodyCouldUseIsAnError) {
    EXPECT_EQ(refusal("[[subsystem]]\nnqn = \"nqn.x:y\""),
              "b.toml:1: subsystem.hosts: nobody could connect: list the hosts' NQNs, or set "
              "allow_any_host = true");
    EXPECT_EQ(refusal("[[subsystem]]\nallow_any_host = true"),
              "b.toml:1: subsystem.nqn: is missing");
    EXPECT_EQ(refusal("[[subsystem]]\nnqn = \"n\"\nallow_any_host = true\n"
                      "[[subsystem.namespace]]"),
              "b.toml:4: subsystem.namespace.bdev: is missing");
    EXPECT_EQ(refusal("[[subsystem]]\nnqn = \"n\"\nallow_any_host = true\n"
                      "[[subsystem.namespace]]\nbdev = \"a\"\nnsid = 0"),
              "b.toml:6: subsystem.namespace.nsid: must be from 1 to 4294967294, not 0");
}

TEST(LoadConfig, LimitsOfADeviceAreACallBehindTheOneThatMakesIt) {
    const Config config = parse(R"(
[[bdev]]
name = "d"
type = "null"
size = "1MiB"
rw_ios_per_sec = 1000
rw_ios_per_sec_max = 2000
burst_seconds = 5
w_mbytes_per_sec = 10
qos_group = "g"
rw_mbytes_per_sec_min = 3
weight = 50
[[qos_group]]
name = "g"
rw_mbytes_per_sec = 100
)");
    ASSERT_EQ(config.calls.size(), 3U);
    EXPECT_EQ(config.calls[0].method, "bdev_qos_group_create");
    EXPECT_EQ(config.calls[0].params, Json({{"name", "g"}, {"rw_mbytes_per_sec", 100}}));
    EXPECT_EQ(config.calls[1].method, "bdev_null_create");
    EXPECT_EQ(config.calls[2].method, "bdev_set_qos_limit");
    EXPECT_EQ(config.calls[2].params,
              Json({{"name", "d"},
                    {"rw_ios_per_sec", 1000},
                    {"rw_ios_per_sec_max", 2000},
                    {"burst_seconds", 5},
                    {"w_mbytes_per_sec", 10},
                    {"qos_group", "g"},
                    {"rw_mbytes_per_sec_min", 3},
                    {"weight", 50}}));
    EXPECT_NE(refusal("\n[[qos_group]]\nrw_ios_per_sec = 5").find("name: is missing"),
              std::string::npos);
}

TEST(LoadConfig, LimitsOfHostsFollowTheirSubsystem) {
    const Config config = parse(R"(
[[subsystem]]
nqn = "nqn.2026-01.io.basalt:vol1"
rw_ios_per_sec = 1000
[[subsystem.host]]
nqn = "nqn.host:a"
rw_ios_per_sec_min = 100
)");
    ASSERT_EQ(config.calls.size(), 6U);
    EXPECT_EQ(config.calls[2].method, "nvmf_subsystem_add_host");
    EXPECT_EQ(config.calls[3].method, "nvmf_subsystem_set_qos_limit");
    EXPECT_EQ(config.calls[3].params,
              Json({{"nqn", "nqn.2026-01.io.basalt:vol1"}, {"rw_ios_per_sec", 1000}}));
    EXPECT_EQ(config.calls[4].method, "nvmf_subsystem_set_host_qos_limit");
    EXPECT_EQ(config.calls[4].params,
              Json({{"nqn", "nqn.2026-01.io.basalt:vol1"},
                    {"host", "nqn.host:a"},
                    {"rw_ios_per_sec_min", 100}}));
}

TEST(LoadConfig, ReplicationBecomesCallsInTheOrderInWhichTheyNeedEachOther) {
    const Config config = parse(R"(
[replication]
listen = "10.0.0.1:4500"
cluster = "c"
[[bdev]]
name = "vol1"
type = "replicated"
uuid = "u"
volume = 7
size = "1GiB"
replicas = ["10.0.0.1:4500/a", "10.0.0.2:4500/b"]
map_file = "/m"
write_quorum = 2
drop_timeout_ms = 1000
[[pool]]
name = "p"
bdev = "d"
replicas = true
[[pool.replica]]
volume = 7
size = "1GiB"
)");
    ASSERT_EQ(config.calls.size(), 5U);
    EXPECT_EQ(config.calls[0].method, "replication_start_server");
    EXPECT_EQ(config.calls[0].params, Json({{"address", "10.0.0.1:4500"}, {"cluster", "c"}}));
    EXPECT_EQ(config.calls[1].method, "bdev_replicated_create");
    EXPECT_EQ(config.calls[1].params,
              Json({{"name", "vol1"},
                    {"uuid", "u"},
                    {"volume", 7},
                    {"size_in_mib", 1024},
                    {"cluster", "c"},
                    {"replicas", {"10.0.0.1:4500/a", "10.0.0.2:4500/b"}},
                    {"map_file", "/m"},
                    {"write_quorum", 2},
                    {"drop_timeout_ms", 1000}}));
    EXPECT_EQ(config.calls[2].method, "bdev_store_open");
    EXPECT_EQ(config.calls[3].method, "replication_add_drive");
    EXPECT_EQ(config.calls[3].params, Json({{"lvs_name", "p"}}));
    EXPECT_EQ(config.calls[4].method, "replication_create_replica");
    EXPECT_EQ(config.calls[4].params,
              Json({{"lvs_name", "p"}, {"volume", 7}, {"size_in_mib", 1024}}));
    EXPECT_TRUE(config.calls[4].may_exist);
}

TEST(LoadConfig, ReplicationThatCanNotBeIsRefused) {
    EXPECT_EQ(refusal("[replication]\nlisten = \"10.0.0.1:4500\""),
              "b.toml:1: replication.cluster: is missing");
    EXPECT_NE(refusal("[[pool]]\nname = \"p\"\nbdev = \"d\"\n[[pool.replica]]\nvolume = 7")
                  .find("set replicas = true"),
              std::string::npos);
    const std::string head =
        "[[bdev]]\nname = \"v\"\ntype = \"replicated\"\nuuid = \"u\"\n"
        "size = \"1GiB\"\n";
    EXPECT_NE(refusal(head).find("volume: is missing"), std::string::npos);
    EXPECT_NE(refusal(head + "volume = 7").find("cluster: is missing"), std::string::npos);
    EXPECT_NE(refusal(head + "volume = 7\ncluster = \"c\"").find("replicas: is missing"),
              std::string::npos);
    EXPECT_NE(refusal(head + "volume = 7\nsiez = 1\ncluster = \"c\"\nreplicas = [\"r\"]\n"
                             "map_file = \"/m\"")
                  .find("siez"),
              std::string::npos);
}

TEST(LoadConfig, TablesOfOthersAreRefusedByName) {
    EXPECT_EQ(refusal("\n[[storage]]\nid = \"x\""),
              "b.toml:2: storage: is not known here: a drive is [[bdev]], and [[pool]] with "
              "replicas = true");
    EXPECT_NE(refusal("\n[raft]\nnode_id = 1").find("b.toml:2: raft: is not supported"),
              std::string::npos);
}

TEST(LoadConfig, TheControlRoleIsATable) {
    EXPECT_FALSE(parse("").control_plane);
    const Config plain = parse("[control_plane]");
    ASSERT_TRUE(plain.control_plane);
    EXPECT_EQ(plain.control_plane->cluster, "");
    EXPECT_EQ(plain.control_plane->metadata.path, "/var/lib/basalt/cluster.db");
    EXPECT_TRUE(plain.control_plane->metadata.endpoints.empty());
    const Config file = parse(R"(
        grpc_listen = "::1"
        [control_plane]
        grpc_port = 9001
        cluster = "0b5f8c3e-6f0a-4d59-9d1b-54d1f7c1a2aa"
        [metadata]
        path = "/srv/cluster.db"
    )");
    EXPECT_EQ(file.grpc_port, 9001);
    EXPECT_EQ(file.grpc_listen, "::1");
    EXPECT_EQ(file.control_plane->cluster, "0b5f8c3e-6f0a-4d59-9d1b-54d1f7c1a2aa");
    EXPECT_EQ(file.control_plane->metadata.path, "/srv/cluster.db");
    const Config etcd = parse(R"(
        [control_plane]
        [metadata]
        endpoints = ["etcd1:2379", "[::1]:2379"]
        root = "here/"
        tls = true
        ca_file = "/ca"
        cert_file = "/cert"
        key_file = "/key"
    )");
    const MetadataConfig& metadata = etcd.control_plane->metadata;
    EXPECT_EQ(metadata.endpoints, (std::vector<std::string>{"etcd1:2379", "[::1]:2379"}));
    EXPECT_EQ(metadata.root, "here/");
    EXPECT_TRUE(metadata.has_tls);
    EXPECT_EQ(metadata.ca_file + metadata.cert_file + metadata.key_file, "/ca/cert/key");
}

TEST(LoadConfig, RefusesWhatIsWrongWithTheControlRole) {
    const auto control = [](const std::string& rest) {
        return refusal("[control_plane]\n" + rest);
    };
    const auto metadata = [](const std::string& rest) {
        return refusal("[control_plane]\n[metadata]\n" + rest);
    };
    EXPECT_NE(refusal("[metadata]\npath = \"/p\"").find("add [control_plane]"), std::string::npos);
    EXPECT_NE(control("clutser = \"x\"").find("clutser"), std::string::npos);
    EXPECT_NE(control("cluster = \"x\"").find("'x' is no UUID"), std::string::npos);
    EXPECT_NE(refusal("grpc_port = 1\n[control_plane]\ngrpc_port = 2").find("another one"),
              std::string::npos);
    EXPECT_NE(metadata("path = \"\"").find("path of a file"), std::string::npos);
    EXPECT_NE(metadata("paht = \"/p\"").find("paht"), std::string::npos);
    EXPECT_NE(metadata("path = \"/p\"\nendpoints = [\"a:1\"]").find("one of the two"),
              std::string::npos);
    EXPECT_NE(metadata("endpoints = [\"etcd1\"]").find("is no HOST:PORT"), std::string::npos);
    EXPECT_NE(metadata("endpoints = [\"http://a:1\"]").find("is no HOST:PORT"), std::string::npos);
    EXPECT_NE(metadata("tls = true").find("is of an etcd"), std::string::npos);
    EXPECT_NE(metadata("endpoints = [\"a:1\"]\nca_file = \"/c\"").find("set tls = true"),
              std::string::npos);
    EXPECT_NE(metadata("endpoints = [\"a:1\"]\ntls = true\ncert_file = \"/c\"")
                  .find("key_file: is missing"),
              std::string::npos);
    EXPECT_NE(refusal("grpc_listen = \"node1\"").find("grpc_listen"), std::string::npos);
}

TEST(LoadConfig, WhatIsNoTomlIsAnErrorWithItsLine) {
    EXPECT_EQ(refusal("uuid = \"x\"\ncores = [\n").find("b.toml:"), 0U);
    EXPECT_EQ(refusal("\nuuid == 5").find("b.toml:2: "), 0U);
    EXPECT_EQ(refusal("hugepages = 1\nhugepages = 2").find("b.toml:2: "), 0U);
    EXPECT_EQ(refusal("\xff\xfe").find("b.toml:1: "), 0U);
}

TEST(LoadConfig, AFileThatCanNotBeReadIsNamed) {
    std::string problem;
    const auto absent = load_config("/nonexistent/b.toml", problem);
    ASSERT_FALSE(absent);
    EXPECT_EQ(absent.error().code, Errc::kNotFound);
    EXPECT_EQ(problem, "/nonexistent/b.toml: No such file or directory");
    const auto directory = load_config("/tmp", problem);
    ASSERT_FALSE(directory);
    EXPECT_EQ(problem, "/tmp: Is a directory");
}

TEST(ParseLogLevel, KnowsTheLevelsAndNothingElse) {
    EXPECT_EQ(*parse_log_level("trace"), LogLevel::kTrace);
    EXPECT_EQ(*parse_log_level("off"), LogLevel::kOff);
    EXPECT_FALSE(parse_log_level("INFO"));
    EXPECT_FALSE(parse_log_level(""));
}

TEST(MakeSparseFile, MakesAMissingFileAndLeavesAnExistingOne) {
    std::string directory = "/tmp/basalt-file-XXXXXX";
    ASSERT_NE(mkdtemp(directory.data()), nullptr);
    const std::string path = directory + "/a.img";
    std::string problem;
    EXPECT_TRUE(make_sparse_file(path, 1 << 20, problem)) << problem;
    EXPECT_EQ(std::ifstream(path, std::ios::ate).tellg(), 1 << 20);
    EXPECT_TRUE(make_sparse_file(path, 1 << 21, problem)) << problem;
    EXPECT_EQ(std::ifstream(path, std::ios::ate).tellg(), 1 << 20);
    EXPECT_FALSE(make_sparse_file(directory + "/no/b.img", 1, problem));
    EXPECT_NE(problem.find("No such file"), std::string::npos);
    unlink(path.c_str());
    rmdir(directory.c_str());
}

}  // namespace
}  // namespace basalt::control
